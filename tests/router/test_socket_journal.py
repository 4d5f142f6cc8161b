"""The journal of sockets that a process holds, and the objects that are told when it is dead."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import Overloaded, SocketUnknown
from perdure.engine.socket_calls import CLOSED, SocketRef
from perdure.router import socket_journal
from perdure.router.bereaved import Bereaved
from perdure.router.held_socket import LAST
from perdure.router.socket_journal import SocketJournal, journals, path_of, read_journal

from .test_sockets_hand_off import ID, KEY, Browser, Scene, ref, run

DISK = LocalDisk()


def folder(tmp_path: Path) -> str:
    os.makedirs(tmp_path / "sockets", exist_ok=True)
    return str(tmp_path)


def numbered(number: int) -> SocketRef:
    return SocketRef(KEY.unique, ID, "a" if number % 2 else None, number.to_bytes(8, "big"), True)


def test_what_was_opened_and_not_closed_is_read(tmp_path: Path) -> None:
    path = path_of(folder(tmp_path), "keeper 0 abc")
    assert os.path.basename(path) == "keeper-0-abc"
    journal = SocketJournal(DISK, path, list)
    for number in (1, 2, 3):
        journal.opened(numbered(number))
    journal.closed(numbered(2))
    assert read_journal(DISK, path) == [numbered(1), numbered(3)]
    assert journals(DISK, str(tmp_path)) == [path]
    journal.end()
    assert journals(DISK, str(tmp_path)) == []


@given(st.data())
def test_a_file_that_is_cut_off_or_damaged_gives_what_is_whole_before_that(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        path = f"{made}/j"
        journal = SocketJournal(DISK, path, list)
        ends = [0]
        for number in range(1, 6):
            journal.opened(numbered(number))
            ends.append(os.path.getsize(path))
        cut = data.draw(st.integers(0, ends[-1]))
        with open(path, "r+b") as file:
            if data.draw(st.booleans()):
                file.truncate(cut)
            elif cut < ends[-1]:
                file.seek(cut)
                byte = file.read(1)
                file.seek(cut)
                file.write(bytes([byte[0] ^ 0x55]))
        whole = sum(end <= cut for end in ends[1:])
        assert read_journal(DISK, path) == [numbered(number) for number in range(1, whole + 1)]


def test_a_file_that_is_mostly_struck_out_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_journal, "_DEAD_LEAST", 10)
    live: dict[int, SocketRef] = {}
    journal = SocketJournal(DISK, path_of(folder(tmp_path), "k"), live.values)
    largest = 0
    for number in range(300):
        live[number] = numbered(number)
        journal.opened(numbered(number))
        if number >= 3:
            journal.closed(live.pop(number - 3))
        largest = max(largest, os.path.getsize(journal.path))
        assert read_journal(DISK, journal.path) == list(live.values())
    assert largest < 3_000
    assert journals(DISK, str(tmp_path)) == [journal.path]


def test_a_process_notes_its_sockets(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        sockets, old = scene.client.sockets, scene.old
        journal = sockets.journal = SocketJournal(DISK, path_of(folder(tmp_path), sockets.identity), sockets.refs)
        first = scene.open(1)
        scene.open(2)
        scene.open(3, hibernates=False)
        assert read_journal(DISK, journal.path) == [ref(1), ref(2)] == list(sockets.refs())
        first.close(1000, "bye")
        await old.messages(1)
        assert read_journal(DISK, journal.path) == [ref(1), ref(2)], "its object has not heard it"
        old.acknowledge(old.calls[0])
        await scene.browser.until(1)
        assert read_journal(DISK, journal.path) == [ref(2)]

    run(tmp_path, body)


def test_a_full_disk_stops_the_notes_and_nothing_else(tmp_path: Path) -> None:
    class Full:
        def opened(self, ref: SocketRef) -> None:
            raise OSError(28, "No space left on device")

        closed = opened

    async def body(scene: Scene) -> None:
        scene.client.sockets.journal = Full()
        line = scene.open()
        line.send("x")
        assert await scene.old.messages(1) == ["x"]
        assert scene.reports == ["socket_journal_failed"]

    run(tmp_path, body)


def test_objects_are_told_that_a_dead_process_s_sockets_are_gone(tmp_path: Path) -> None:
    """Each until it has acknowledged it, whatever it had of the socket before; then the journal goes."""

    async def body(scene: Scene) -> None:
        journal = SocketJournal(DISK, path_of(folder(tmp_path), "dead"), list)
        for number in (1, 2, 3):
            journal.opened(ref(number))
        old, loop = scene.old, asyncio.get_running_loop()
        bereaved = Bereaved(DISK, journal.path, scene.client.sockets, loop)
        assert bereaved.begin() == 3
        await old.messages(3)
        lost = (1006, "disconnected without sending Close frame", False)
        assert [(c.socket, c.what, c.number, c.after, c.data) for c in old.calls] == [
            (ref(number).socket, CLOSED, LAST, 0, lost) for number in (1, 2, 3)
        ]
        first, second, third = old.calls
        old.acknowledge(first)
        second.answer(second, SocketUnknown("it has closed before"))
        third.answer(third, Overloaded("later"))
        await old.messages(4)
        assert not bereaved.done.done()
        assert os.path.exists(journal.path)
        new = scene.next()
        old.acceptor.close()
        scene.tell(scene.client)
        await new.messages(1)
        new.acknowledge(new.calls[0])
        await asyncio.wait_for(bereaved.done, 10)
        assert not os.path.exists(journal.path)
        assert bereaved.told == 3
        assert scene.client.sockets.count == 0

    run(tmp_path, body)


def test_an_empty_journal_goes_at_once(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        path = path_of(folder(tmp_path), "dead")
        open(path, "wb").close()
        bereaved = Bereaved(DISK, path, scene.client.sockets, asyncio.get_running_loop())
        assert bereaved.begin() == 0
        await asyncio.wait_for(bereaved.done, 10)
        assert not os.path.exists(path)

    run(tmp_path, body)


def test_messages_from_before_an_object_has_heard_of_the_socket_come_after_its_rules(tmp_path: Path) -> None:
    """The rules come with the acknowledgement: what they answer is answered, the rest is delivered, in order, then the end."""

    async def body(scene: Scene) -> None:
        from perdure.engine.socket_calls import Rules

        old = scene.old
        old.answers = False
        line = scene.open()
        for text in ("ping", "one", "ping", "two"):
            line.send(text)
        await old.messages(1)
        opened = old.calls[0]
        old.acceptor.holders[0].rules(ID, Rules("ping", "pong"))
        old.acknowledge(opened)
        assert (await old.messages(3))[1:] == ["one", "two"]
        assert scene.browser.got == ["pong", "pong"]
        assert old.calls[1].auto_ms is not None or old.calls[2].auto_ms is not None
        other = scene.client.sockets.open(ref(2), Browser())
        other.send("last words")
        other.close(1000, "")
        await old.messages(4)
        old.acknowledge(old.calls[3])
        assert (await old.messages(6))[4:] == ["last words", (1000, "", True)]

    run(tmp_path, body)
