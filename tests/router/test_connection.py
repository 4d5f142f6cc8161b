"""A connection between a stream of bytes and its far end: in time that the test passes, without sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from perdure.router.connection import CLOSE_S_MAX, Connection, Connections, Stage
from perdure.router.deflate import inflate
from perdure.router.descriptors import DescriptorStream

from .test_frames import BINARY, CLOSE, PING, PONG, TEXT, sent


class Pipe:
    """A stream that takes what `room` says."""

    def __init__(self) -> None:
        self.out = b""
        self.room = 1 << 30
        self.said: list[str] = []

    def send(self, data: bytes) -> int:
        taken = min(self.room, len(data))
        self.out += data[:taken]
        self.room -= taken
        return taken

    def __getattr__(self, name: str):  # pause, resume, finish, close, abort
        return lambda: self.said.append(name)

    def frames(self) -> list[tuple[int, bytes]]:
        """What was sent; the last may not be whole."""
        found, data, self.out = [], self.out, b""
        while len(data) >= 2:
            length, at = data[1], 2
            if length >= 126:
                width = 2 if length == 126 else 8
                length, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
            found.append((data[0], data[at : at + length]))
            data = data[at + length :]
        return found


class Heard:
    """A far end."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.wants_more = True

    def send(self, data: object) -> bool:
        self.heard.append(data)
        return self.wants_more

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self.heard.append((code, reason, clean))

    def failed(self, text: str) -> None:
        self.heard.append(text)

    def buffers(self, size: int) -> None:
        self.heard.append(size)


LOST = (1006, "disconnected without sending Close frame", False)


class Rig:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.now_s = 100.0
        self.all = Connections(self.loop, outbox_bytes_max=1000, ping_s=2, clock=lambda: self.now_s)

    def connection(self, **options: object) -> tuple[Connection, Pipe, Heard]:
        pipe, far = Pipe(), Heard()
        connection = Connection(self.all, pipe, **options)  # pyright: ignore
        connection.far = far
        return connection, pipe, far

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.all.look()
        self.turn()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.loop.close()


def test_messages_both_ways_and_pings_answered(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.data(sent(TEXT, b"hi") + sent(PING, b"p") + sent(BINARY, b"") + sent(PONG, b""))
    connection.message("yes")
    connection.message(b"")
    rig.turn()
    assert far.heard == ["hi", b""]
    assert pipe.frames() == [(0x8A, b"p"), (0x81, b"yes"), (0x82, b"")]


def test_the_peer_closes_and_the_far_end_answers(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.data(sent(CLOSE, b"\x0f\xa0why") + sent(TEXT, b"late"))
    rig.turn()
    assert far.heard == [(4000, "why", True)]
    assert pipe.frames() == [], "whether and how it is answered is the far end's"
    connection.closed(1000, "bye")
    connection.message("after")
    rig.turn()
    assert pipe.frames() == [(0x88, b"\x03\xe8bye")]
    assert connection.stage is Stage.ENDING
    assert pipe.said == ["finish"]
    connection.eof()
    assert far.heard == [(4000, "why", True)], "the end is told once"
    assert len(rig.all) == 0


def test_who_answers_by_itself(rig: Rig) -> None:
    connection, pipe, _ = rig.connection(answers=True)
    connection.data(sent(CLOSE, b"\x0f\xa0why"))
    rig.turn()
    assert pipe.frames() == [(0x88, b"\x0f\xa0")]
    connection, pipe, _ = rig.connection(answers=True)
    connection.data(sent(CLOSE, b""))
    rig.turn()
    assert pipe.frames() == [(0x88, b"")]


def test_the_far_end_closes_and_the_peer_answers(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.closed(1001, "")
    connection.data(sent(TEXT, b"still under way") + sent(CLOSE, b"\x03\xe9"))
    rig.turn()
    assert far.heard == ["still under way", (1001, "", True)]
    assert pipe.frames() == [(0x88, b"\x03\xe9")]


def test_a_peer_that_never_answers_a_close_is_cut_off(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.closed(1000, "")
    rig.later(CLOSE_S_MAX - 1)
    assert connection.stage is Stage.CLOSING
    rig.later(2)
    assert connection.stage is Stage.ENDED
    assert pipe.said == ["abort"]
    assert far.heard == [LOST]


def test_a_lost_connection_and_a_dropped_one(rig: Rig) -> None:
    connection, _, far = rig.connection()
    connection.eof()
    connection.lost()
    assert far.heard == [LOST]
    connection, pipe, far = rig.connection()
    connection.drop()
    assert (pipe.said, far.heard) == (["abort"], []), "who drops it knows"
    connection, pipe, far = rig.connection()
    connection.closed(1006, "x", False)
    assert (pipe.said, far.heard) == (["abort"], [])


def test_a_violation_is_told_to_both(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.data(sent(TEXT, b"ok") + sent(TEXT, b"\xff") + sent(TEXT, b"never"))
    rig.turn()
    assert far.heard == ["ok", "a text message is not UTF-8"]
    assert pipe.frames() == [(0x88, b"\x03\xefa text message is not UTF-8")]
    connection.data(sent(TEXT, b"never"))
    rig.later(CLOSE_S_MAX + 1)
    assert far.heard[2:] == []
    assert connection.stage is Stage.ENDED


def test_a_half_open_peer_is_found_by_pings(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    rig.later(1)
    rig.later(1)
    assert pipe.frames() == [(0x89, b"")]
    connection.data(sent(PONG, b""))
    rig.later(1)
    rig.later(1)
    assert pipe.frames() == [(0x89, b"")]
    assert connection.stage is Stage.OPEN
    rig.later(1)
    rig.later(1)
    assert far.heard == [LOST]


def test_the_far_end_has_enough(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    far.wants_more = False
    connection.data(sent(TEXT, b"1"))
    assert pipe.said == ["pause"]
    for _ in range(10):
        rig.later(1)
    assert connection.stage is Stage.OPEN, "who is not read cannot answer pings"
    connection.resume()
    assert pipe.said == ["pause", "resume"]


def test_a_slow_reader_is_closed_with_1013(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    pipe.room = 10
    connection.message(b"x" * 100)
    rig.turn()
    connection.message(b"y" * 2000)
    assert connection.stage is Stage.OPEN, "a burst is no slow reader"
    rig.now_s += 1.5
    connection.message(b"z")
    rig.turn()
    assert connection.stage is Stage.CLOSING
    assert far.heard[-1] == (1013, "the client reads too slowly", False)
    assert connection.buffered < 200, "what waited is gone"
    pipe.room = 1 << 20
    connection.writable()
    assert pipe.frames() == [(0x82, b"x" * 100), (0x88, b"\x03\xf5the client reads too slowly")]


def test_a_burst_has_a_bound_too(rig: Rig) -> None:
    connection, pipe, _ = rig.connection()
    pipe.room = 0
    connection.message(b"x")
    rig.turn()
    for _ in range(40):
        connection.message(b"y" * 1000)
    assert connection.stage is Stage.CLOSING


def test_a_slow_reader_loses_its_oldest_messages_whole(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    connection.overflows("drop")
    pipe.room = 10
    connection.message(b"first" * 20)
    rig.turn()
    for number in range(100):
        connection.message(b"%03d" % number * 30)
    assert connection.buffered <= 1100
    pipe.room = 1 << 20
    connection.writable()
    frames = [payload for _, payload in pipe.frames()]
    assert frames[0] == b"first" * 20
    assert frames[1:] == [b"%03d" % number * 30 for number in range(100 - len(frames) + 1, 100)]
    assert connection.stage is Stage.OPEN
    assert far.heard == []


def test_who_sends_hears_of_what_waits(rig: Rig) -> None:
    connection, pipe, far = rig.connection()
    pipe.room = 0
    connection.message(bytes(100_000))
    rig.turn()
    pipe.room = 1 << 20
    connection.writable()
    assert far.heard == [100_010, 0]


def test_one_message_to_many_is_encoded_once(rig: Rig) -> None:
    many = [rig.connection(window_bits=15 if number % 2 else 0) for number in range(10)]
    text = "abc" * 1000
    before = rig.all.encoded(text)
    for connection, _, _ in many:
        connection.message(text)
    assert rig.all.encoded(text) is before
    rig.turn()
    for number, (_, pipe, _) in enumerate(many):
        ((first, payload),) = pipe.frames()
        assert (first, inflate(payload, 9999) if number % 2 else payload) == (
            0xC1 if number % 2 else 0x81,
            text.encode(),
        )
    assert rig.all.encoded(text) is not before, "it is not kept"


def test_a_flood_of_pings_to_one_who_does_not_read_is_bounded(rig: Rig) -> None:
    connection, pipe, _ = rig.connection()
    pipe.room = 0
    for _ in range(100):
        connection.data(sent(PING, b"x" * 125) * 10)
        rig.turn()
    assert connection.buffered < 1300


def test_all_are_closed_over_a_time(rig: Rig) -> None:
    many = [rig.connection() for _ in range(4)]

    async def leave() -> None:
        leaving = asyncio.ensure_future(rig.all.close_all(1012, "restart", 0.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for connection, pipe, far in many:
            assert pipe.frames() == [(0x88, b"\x03\xf4restart")]
            assert far.heard == [(1012, "restart", False)]
            connection.data(sent(CLOSE, b"\x03\xf4"))
            connection.eof()
        await leaving

    rig.loop.run_until_complete(leave())


def test_another_process_goes_on_in_the_middle_of_everything(rig: Rig) -> None:
    connection, pipe, far = rig.connection(window_bits=15)
    pipe.room = 3
    connection.message("torn" * 10)
    connection.message("waits")
    rig.turn()
    message = sent(TEXT, b"in two parts")
    connection.data(message[:9])
    state = connection.state()
    successor, onward, _ = rig.connection()
    successor.far = far
    successor.go_on(state)
    successor.data(message[9:])
    rig.turn()
    assert far.heard == ["in two parts"]
    pipe.out += onward.out
    assert pipe.frames() == [(0x81, b"torn" * 10), (0x81, b"waits")]
    assert successor.window_bits == 15
    assert len(rig.all) == 1


def test_over_real_descriptors(rig: Rig) -> None:
    """A stream reads, writes what the kernel takes, and is given away between two bytes."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        stream = DescriptorStream(loop, ours)
        connections = Connections(loop)
        connection = stream.connection = Connection(connections, stream)
        far = connection.far = Heard()
        stream.begin()
        await loop.sock_sendall(theirs, sent(TEXT, b"one") + sent(TEXT, b"two")[:4])
        while far.heard != ["one"]:
            await asyncio.sleep(0)
        big = bytes(3_000_000)
        connection.message(big)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < connection.buffered < len(big)
        stream.let_go()
        state = connection.state()
        second = DescriptorStream(loop, socket.socket(fileno=ours.detach()))
        successor = second.connection = Connection(connections, second)
        successor.far = far
        successor.go_on(state)
        second.begin()
        await loop.sock_sendall(theirs, sent(TEXT, b"two")[4:])
        got = b""
        while len(got) < len(big) + 10:
            got += await loop.sock_recv(theirs, 1 << 20)
        assert got[10:] == big
        assert [heard for heard in far.heard if isinstance(heard, str)] == ["one", "two"]
        theirs.close()
        while len(connections):
            await asyncio.sleep(0)
        assert far.heard[-1] == LOST

    asyncio.run(run())
