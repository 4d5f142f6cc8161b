"""Many users of sockets, each of whom sends numbered messages at a steady pace and writes down all that it hears.

What always holds: a user counts only when it has seen its 101; one that was refused tries again under another name, so that two
connections never share a record. A latency is counted from the time when its message was to be sent.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from perdure.engine.errors import PerdureError
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .socket_history import Faults, Told, check
from .socket_rooms import rows_of

CONNECTING_AT_ONCE = 32
CONNECT_S_MAX = 20.0


class Line(Protocol):
    """A user's connection, as it sends."""

    def send(self, text: str) -> None: ...
    def close(self) -> None:
        """In order."""
        ...

    def cut(self) -> None:
        """At once."""
        ...


class User:
    """One connection and its record."""

    def __init__(self, room: str, who: str) -> None:
        self.room = room
        self.told = Told(who)
        self.line: Line | None = None
        """Once it has seen its 101."""
        self.due_s: dict[int, float] = {}
        """When the messages that have not come back were to be sent."""
        self.latencies_s: list[float] = []

    def hear(self, text: str) -> None:
        """The room has said something."""
        words, told = text.split(), self.told
        if words[0] == "answer":
            number = int(words[1])
            told.answers.append(number)
        else:
            number = int(words[2])
            told.heard.append((int(words[0]), words[1], number))
            if words[1] != told.who:
                return
        if (due := self.due_s.pop(number, None)) is not None:
            self.latencies_s.append(time.perf_counter() - due)

    def ended(self, how: str) -> None:
        """The connection has."""
        if not self.told.left:
            self.told.closed = self.told.closed or how

    def say(self, due_s: float) -> None:
        """Send the next message. `due_s`: when it was to be sent, by time.perf_counter()."""
        assert self.line is not None, "it is connected"
        if self.told.closed or self.told.left:
            return
        self.told.sent += 1
        self.due_s[self.told.sent] = due_s
        self.line.send(f"{self.told.who} {self.told.sent}")

    def leave(self) -> None:
        """Close in order; what has not come by now need not come."""
        self.told.left = True
        if self.line is not None:
            self.line.close()


class Client(WSListener):
    """A user's end over TCP. Implements Line."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self._user = user
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._user.line = self

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self._user.ended(f"closed with {int(frame.get_close_code())} {frame.get_close_message()!r}")
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._user.hear(frame.get_payload_as_utf8_text())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._user.ended("ended without a Close frame")

    def send(self, text: str) -> None:
        assert self._transport is not None, "it is connected"
        self._transport.send(WSMsgType.TEXT, text.encode())

    def close(self) -> None:
        assert self._transport is not None, "it is connected"
        self._transport.send_close(1000)
        self._transport.disconnect()

    def cut(self) -> None:
        assert self._transport is not None, "it is connected"
        self._transport.disconnect(graceful=False)


Connect = Callable[[User], Awaitable[None]]
"""Gives a user its line, or raises one of REFUSED."""
REFUSED = (OSError, WSError, TimeoutError, EOFError, PerdureError)


def over_tcp(url: str) -> Connect:
    """As clients connect. `url`: http://…, without a slash at its end."""

    async def connect(user: User) -> None:
        place = f"{url.replace('http', 'ws', 1)}/{user.room}/{user.told.who}"
        await ws_connect(lambda: Client(user), place, use_aiofastnet=False)
        if user.line is None:  # picows does not raise when the server has gone in the middle of its answer
            raise ConnectionResetError("no 101 came")

    return connect


@dataclasses.dataclass(frozen=True, slots=True)
class Pauses:
    """From when a message was to be sent until it came back, in milliseconds."""

    messages: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


class Crowd:
    """All users of all rooms of one runtime. `url`: http://…, without a slash at its end."""

    def __init__(self, url: str, rooms: int, connect: Connect | None = None) -> None:
        self.url = url
        self._connect = connect or over_tcp(url)
        self.rooms = [f"room{number}" for number in range(rooms)]
        self.users: list[User] = []
        self.refused = 0
        """Attempts to connect that saw no 101."""
        self._names = 0
        self._places = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def join(self, room: str) -> User:
        """A new user of that room, who tries until it is let in, under another name each time."""
        end = time.monotonic() + CONNECT_S_MAX
        while True:
            self._names += 1
            user = User(room, f"u{self._names}")
            try:
                async with self._places:
                    await self._connect(user)
                self.users.append(user)
                return user
            except REFUSED:
                self.refused += 1
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.05)

    async def fill(self, sockets: int) -> None:
        """So many users, evenly over the rooms."""
        await asyncio.gather(*[self.join(self.rooms[number % len(self.rooms)]) for number in range(sockets)])

    async def talk(self, each_per_s: float, stop: asyncio.Event) -> None:
        """Everybody sends so many messages a second, one after the other in a random order, until `stop`."""
        rng = random.Random(1)
        turn = list(self.users)
        rng.shuffle(turn)
        rate = each_per_s * len(turn)
        began, sent = time.perf_counter(), 0
        while not stop.is_set():
            until = int((time.perf_counter() - began) * rate)
            for number in range(sent, until):
                turn[number % len(turn)].say(began + number / rate)
            sent = max(sent, until)
            await asyncio.sleep(0.005)

    async def come_and_go(self, each_s: float, stop: asyncio.Event, seed: int = 1) -> None:
        """Every so many seconds somebody joins a room, says five things, stays a while and leaves."""
        rng = random.Random(seed)

        async def guest() -> None:
            user = await self.join(rng.choice(self.rooms))
            for _ in range(5):
                user.say(time.perf_counter())
                await asyncio.sleep(rng.uniform(0, 0.4))
            user.leave()

        guests: list[asyncio.Task[None]] = []
        while not stop.is_set():
            guests.append(asyncio.create_task(guest()))
            await asyncio.sleep(each_s)
        await asyncio.gather(*guests)

    async def settle(self, seconds: float) -> None:
        """Until everything that was sent has come back to who sent it and nothing comes any more, no longer than that."""
        end, before = time.monotonic() + seconds, -1
        while time.monotonic() < end:
            heard = sum(len(user.told.heard) for user in self.users)
            waiting = any(user.due_s and not (user.told.closed or user.told.left) for user in self.users)
            if not waiting and heard == before:
                return
            before = heard
            await asyncio.sleep(0.5)

    async def check(self) -> Faults:
        """What the users heard, beside what the objects have written down."""
        faults = Faults()
        by_room: dict[str, list[Told]] = {room: [] for room in self.rooms}
        for user in self.users:
            by_room[user.room].append(user.told)
        for room, users in by_room.items():
            rows = await asyncio.to_thread(rows_of, self.url, room)
            check(room, rows, users, faults)
        return faults

    def pauses(self) -> Pauses:
        """Of all messages that came back."""
        return _pauses(latency for user in self.users for latency in user.latencies_s)

    def leave(self) -> None:
        """End all connections."""
        for user in self.users:
            user.told.left = True
            if user.line is not None:
                user.line.cut()


def _pauses(latencies_s: Iterable[float]) -> Pauses:
    found = sorted(latencies_s)
    if not found:
        return Pauses(0, 0.0, 0.0, 0.0)
    p50, p99 = found[len(found) // 2], found[len(found) * 99 // 100]
    return Pauses(len(found), round(p50 * 1e3, 1), round(p99 * 1e3, 1), round(found[-1] * 1e3, 1))
