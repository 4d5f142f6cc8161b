"""Sessions of one shard, real links, sockets held by a client: what is sent again to whom, what is heard of it, what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from perdure.engine.errors import EventRefused, InvalidArgument, ObjectReset, Overloaded, SocketUnknown
from perdure.engine.ids import ClassKey
from perdure.engine.socket_calls import CLOSED, MESSAGE, OPENED, SEND, Cause, SocketCall, SocketRef
from perdure.router.client import Client
from perdure.router.held_line import HeldSocket
from perdure.router.server import Acceptor
from perdure.router.slots import GROUPS, ShardPlace, SlotMap

KEY = ClassKey("p-Room")
ID = KEY.id_from_name("a")


def ref(number: int = 1, *, hibernates: bool = True) -> SocketRef:
    return SocketRef(KEY.unique, ID, "a", bytes([number] * 8), hibernates)


def place(folder: Path, epoch: int, session: str, *, there: bool = True) -> SlotMap:
    return SlotMap(epoch, (0,) * GROUPS, {0: ShardPlace(session, f"ipc://{folder}/{session}" if there else None)})


class Session:
    """A shard that notes what it hears of sockets; what it says to that is for the test."""

    def __init__(self, folder: Path, name: str, epoch: int) -> None:
        self.calls: list[SocketCall] = []
        self.held_told: list[tuple[list[tuple[bytes, int | None]], bool]] = []
        self.numbers_seen: list[int] = []
        self.gone: list[str] = []
        self.changed = asyncio.Event()
        self.answers = True
        """OPENED by itself."""
        self.acceptor = Acceptor(
            f"ipc://{folder}/{name}",
            asyncio.get_running_loop(),
            index=0,
            session=name,
            slot_map=place(folder, epoch, name),
            classes={"Room": KEY.unique},
            deliver=lambda _: None,
            cancel=lambda _: None,
            operate=lambda _: None,
            stop_operation=lambda _: None,
            report=lambda *_: None,
            sockets=self,
        )

    # ------------------------------------------------------------------ SocketHost
    def deliver(self, call: object) -> None:
        assert isinstance(call, SocketCall)
        if call.what == OPENED and self.answers:
            call.answer(call, b"")
        else:
            self.calls.append(call)
        self.changed.set()

    def held(self, holder, class_key, object_id, name, sockets, asked) -> None:
        self.held_told.append(([tuple(each) for each in sockets], asked))
        self.changed.set()

    def seen(self, holder, object_id, number) -> None:
        self.numbers_seen.append(number)
        self.changed.set()

    def buffered(self, holder, object_id, socket, size) -> None: ...

    def holder_gone(self, holder) -> None:
        self.gone.append(holder.identity)
        self.changed.set()

    # ------------------------------------------------------------------ what a test does
    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)

    async def messages(self, count: int) -> list[object]:
        await self.until(lambda: len(self.calls) >= count)
        return [call.data for call in self.calls]

    def send(self, *texts: str, number: int = 0, cause: Cause | None = None) -> None:
        """What an object's turn sends."""
        effects = [[[ref().socket], SEND, text] for text in texts]
        for holder in self.acceptor.holders:
            holder.effects(ID, number, cause, cast("list[tuple[list[bytes], int, object]]", effects))

    def acknowledge(self, call: SocketCall) -> None:
        call.answer(call, b"")


class Browser:
    """The client of one socket."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.changed = asyncio.Event()
        self.resumed = 0

    def message(self, data: object) -> None:
        self.got.append(data)
        self.changed.set()

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self.got.append(code)
        self.changed.set()

    def failed(self, text: str) -> None: ...

    def resume(self) -> None:
        self.resumed += 1
        self.changed.set()

    async def until(self, count: int) -> list[object]:
        while len(self.got) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return self.got


class Scene:
    """A process that holds sockets, and the sessions of the one shard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions = [Session(folder, "s1", 1)]
        self.client = Client.in_process(
            asyncio.get_running_loop(), place(folder, 1, "s1"), {"Room": KEY.unique}, role="test"
        )
        self.reports: list[str] = []
        self.client.sockets.report = lambda _level, event, _fields: self.reports.append(event)
        self.browser = Browser()

    @property
    def old(self) -> Session:
        return self.sessions[0]

    def next(self) -> Session:
        """Another session; nobody has been told of it."""
        number = len(self.sessions) + 1
        made = Session(self.folder, f"s{number}", number)
        self.sessions.append(made)
        return made

    def tell(self, *who: Client | Acceptor) -> None:
        number = len(self.sessions)
        for each in who:
            each.adopt(place(self.folder, number, f"s{number}"), {})

    def open(self, number: int = 1, *, hibernates: bool = True) -> HeldSocket:
        return self.client.sockets.open(ref(number, hibernates=hibernates), self.browser)

    async def close(self) -> None:
        await self.client.close()
        for session in self.sessions:
            if not session.acceptor._socket.closed:
                session.acceptor.close()


async def until_none_is_held(scene: Scene, but: int = 0) -> None:
    async with asyncio.timeout(10):
        while scene.client.sockets.count > but:
            await asyncio.sleep(0)


def run(tmp_path: Path, body: Callable[[Scene], Awaitable[None]]) -> None:
    async def within() -> None:
        scene = Scene(tmp_path)
        try:
            await asyncio.wait_for(body(scene), 20)
        finally:
            await scene.close()

    asyncio.run(within())


def test_what_was_not_acknowledged_goes_to_the_next_session_when_the_old_one_has_told(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        for text in ("one", "two", "three"):
            line.send(text)
        assert await old.messages(3) == ["one", "two", "three"]
        new = scene.next()
        old.acceptor.hold(lambda _: False)
        line.send("four")
        scene.tell(scene.client)
        await asyncio.sleep(0)
        old.acknowledge(old.calls[0])  # it was under way: what it says until it has told counts
        scene.tell(old.acceptor)
        assert await new.messages(3) == ["two", "three", "four"]
        assert [(call.number, call.acknowledged, call.after) for call in new.calls] == [(2, 1, 0), (3, 1, 2), (4, 1, 3)]
        assert [(ids, asked) for ids, asked in new.held_told] == [([(ref().socket, None)], False)]
        assert old.calls == old.calls[:3]  # the fourth was dropped there, not delivered

    run(tmp_path, body)


def test_what_an_event_does_in_the_old_session_after_it_has_told_is_not_heard(tmp_path: Path) -> None:
    """The next session has the event again: heard twice it would be doubled. What belongs to no event is heard."""

    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("slow")
        await old.messages(1)
        slow = old.calls[0]
        old.send("begun", cause=Cause(ref().socket, 1, 0))
        await scene.browser.until(1)
        scene.client._lanes[0].link.port = Held()  # something else keeps the old link open
        new = scene.next()
        old.acceptor.hold(lambda _: False)
        scene.tell(scene.client, old.acceptor)
        await new.messages(1)
        new.send("begun", "ended", cause=Cause(ref().socket, 1, 0))
        new.acknowledge(new.calls[0])
        assert await scene.browser.until(2) == ["begun", "ended"]
        old.send("ended", cause=Cause(ref().socket, 1, 1))
        old.acknowledge(slow)
        old.send("of a call")
        assert (await scene.browser.until(3))[2:] == ["of a call"]

    run(tmp_path, body)


class Held:
    """A port of a link that is needed."""

    needed = True

    def receive(self, frame: object) -> None: ...
    def lost(self) -> None: ...


def test_what_a_new_session_sends_waits_for_what_the_old_one_has_sent(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("x")
        await old.messages(1)
        new = scene.next()
        old.acceptor.hold(lambda _: False)
        scene.tell(scene.client)
        while not new.acceptor.holders:  # the client has said hello, and the old session has not told
            await asyncio.sleep(0.001)
        new.send("second", number=2)
        await asyncio.sleep(0.05)
        old.send("first", number=1)
        old.acceptor.flush()
        scene.tell(old.acceptor)
        assert await scene.browser.until(2) == ["first", "second"]

    run(tmp_path, body)


def test_recorded_effects_are_heard_once_and_said_to_be_seen_each_time(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("x")
        await old.messages(1)
        old.send("seven", number=7)
        old.send("six", number=6)
        old.send("seven", number=7)
        old.send("plain")
        assert await scene.browser.until(3) == ["seven", "six", "plain"]
        await old.until(lambda: len(old.numbers_seen) == 3)
        assert sorted(old.numbers_seen) == [6, 7, 7]

    run(tmp_path, body)


def test_a_killed_session_s_events_run_again_and_what_they_did_before_is_dropped(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("x")
        await old.messages(1)
        old.send("a", "b", cause=Cause(ref().socket, 1, 0))
        elsewhere = Cause(bytes(8), 5, 0)  # of a socket that another process holds
        old.send("c", cause=elsewhere)
        assert await scene.browser.until(3) == ["a", "b", "c"]
        new = scene.next()
        old.acceptor.close()
        scene.tell(scene.client)
        await new.messages(1)
        new.send("a", "b", "d", cause=Cause(ref().socket, 1, 0))
        new.send("c", "e", cause=elsewhere)
        assert (await scene.browser.until(5))[3:] == ["d", "e"]
        new.acknowledge(new.calls[0])

    run(tmp_path, body)


def test_however_often_processes_die_nobody_is_convicted_for_it(tmp_path: Path) -> None:
    """A kill from outside says nothing against what ran."""

    async def body(scene: Scene) -> None:
        line = scene.open()
        line.send("one")
        line.send("two")
        for _ in range(4):
            session = scene.sessions[-1]
            await session.messages(2)
            assert [call.data for call in session.calls] == ["one", "two"]
            scene.next()
            session.acceptor.close()
            scene.tell(scene.client)
        await scene.sessions[-1].messages(2)
        assert scene.browser.got == []

    run(tmp_path, body)


def test_a_message_that_is_refused_for_good_closes_its_socket_with_1011_and_the_object_hears_of_it(
    tmp_path: Path,
) -> None:
    async def body(scene: Scene) -> None:
        session, line = scene.old, scene.open()
        other, browser = scene.open(2), scene.browser
        line.send("poison")
        line.send("after")
        other.send("another's")
        await session.messages(3)
        poison, after, _ = session.calls
        error = EventRefused("Room/r.webSocketMessage has ended its shard's process again and again")
        poison.answer(poison, error)
        after.answer(after, error)
        await session.until(lambda: len(session.calls) >= 4)
        assert session.calls[3].data[0] == 1006
        assert (session.calls[3].socket, session.calls[3].number) == (line.ref.socket, 3)
        session.acknowledge(session.calls[3])
        assert await browser.until(1) == [1011]
        assert scene.reports == ["socket_message_dropped"]
        await until_none_is_held(scene, but=1)  # the other one stays

    run(tmp_path, body)


def test_a_socket_that_does_not_hibernate_ends_with_the_session(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open(hibernates=False)
        line.send("x")
        await old.messages(1)
        new = scene.next()
        old.acceptor.close()
        scene.tell(scene.client)
        assert await scene.browser.until(1) == [1006]
        assert not new.calls
        assert scene.client.sockets.count == 0

    run(tmp_path, body)


def test_what_an_object_cannot_take_is_sent_again_in_order(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        for text in ("one", "two", "three"):
            line.send(text)
        await old.messages(3)
        one, two, three = old.calls
        two.answer(two, Overloaded("too much"))
        three.answer(three, Overloaded("too much"))
        old.acknowledge(one)
        assert (await old.messages(5))[3:] == ["two", "three"]
        assert [(call.number, call.after) for call in old.calls[3:]] == [(2, 0), (3, 2)]

    run(tmp_path, body)


def test_what_ends_a_connection(tmp_path: Path) -> None:
    """The object was reset for its own fault, or has no such socket: 1006. An event that never can be handled: 1011."""

    async def body(scene: Scene) -> None:
        old = scene.old
        errors = [ObjectReset("broken"), SocketUnknown("no such socket"), InvalidArgument("never")]
        for number, error in enumerate(errors, 1):
            line = scene.open(number)
            line.send("x")
            await old.messages(number)
            old.calls[-1].answer(old.calls[-1], error)
            await scene.browser.until(number)
        assert scene.browser.got == [1006, 1006, 1011]
        await old.messages(4)
        assert old.calls[-1].what == CLOSED
        old.calls[-1].answer(old.calls[-1], InvalidArgument("never"))
        await scene.browser.until(3)
        await until_none_is_held(scene)

    run(tmp_path, body)


def test_a_client_that_is_faster_than_its_object_is_not_read_for_a_while(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        count = 0
        while line.send(f"{count}"):
            count += 1
        count += 1
        assert count < 2_000
        done = 0
        while done < count:
            await old.messages(done + 1)
            assert len(old.calls) - done <= 64, "so many at most are under way"
            old.acknowledge(old.calls[done])
            done += 1
        assert [call.data for call in old.calls] == [f"{number}" for number in range(count)]
        while not scene.browser.resumed:
            scene.browser.changed.clear()
            await asyncio.wait_for(scene.browser.changed.wait(), 10)
        assert line.send("more")

    run(tmp_path, body)


def test_a_shard_hears_that_a_holder_is_gone(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("x")
        await old.messages(1)
        identity = scene.client.sockets.identity
        await scene.client.close()
        await old.until(lambda: bool(old.gone))
        assert old.gone == [identity]
        assert not old.acceptor.holders
        old.send("to nobody")
        old.acknowledge(old.calls[0])

    run(tmp_path, body)


def test_frames_that_are_malformed_raise_nothing(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, line = scene.old, scene.open()
        line.send("x")
        await old.messages(1)
        peer = next(iter(old.acceptor._peers.values()))
        good = [21, 1, KEY.unique, ID, "a", ref().socket, MESSAGE, 1, 0, 0, "x", None]
        for at, value in {1: "x", 3: b"short", 5: b"id", 6: 9, 7: -1, 8: "n", 9: None, 10: None}.items():
            old.acceptor._on_frames(peer, [[*good[:at], value, *good[at + 1 :]]])
        for kind in (21, 26, 27, 28):
            for frame in ([kind], [kind, None], [kind, 1, 2], [kind, *[b""] * 11], [kind, *[None] * 5]):
                old.acceptor._on_frames(peer, [frame])
        assert len(old.calls) == 1
        line.send("still there")
        assert await old.messages(2) == ["x", "still there"]

    run(tmp_path, body)
