"""The sockets of objects whose connections this process holds: the keeper's, and what Workers and objects have accepted.

What always holds: what a client sends is kept until its object has acknowledged it, and sent again to whoever owns the object
then; what an object sends is passed on once, however often it arrives; while a shard is away everything waits, within bounds,
and the client is not read. `held_socket.py` says what is sent when, `held_line.py` is one socket, this module all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Protocol, cast

from ..engine.closing_codes import ABNORMAL, NOT_CLEAN
from ..engine.errors import PerdureError
from ..engine.socket_calls import Rules, SocketRef
from .held_line import Connection, HeldObject, HeldSocket, Route, Way
from .wire import SOCKET_ACK, SOCKET_EFFECTS, SOCKETS_ASKED, SOCKETS_HELD, SOCKETS_RULES, SOCKETS_SEEN, Frame

NUMBERS_MAX = 4_096
"""Recorded effects of one object that are remembered."""
CAUSES_ELSEWHERE_MAX = 1_024
FORGET_S = 600.0
"""How long an object is remembered whose last socket has closed."""
Report = Callable[[str, str, dict[str, object]], None]


class Journal(Protocol):
    """What outlives this process: which sockets it has."""

    def opened(self, ref: SocketRef) -> None: ...
    def closed(self, ref: SocketRef) -> None: ...


class HeldSockets:
    """All of one process. Implements the engine's Opener and the lanes' LaneSockets."""

    def __init__(self, loop: asyncio.AbstractEventLoop, route: Route, identity: str) -> None:
        """`identity`: of no other process that ever ran here."""
        self.identity = identity
        self.route = route
        self.journal: Journal | None = None
        self.report: Report = lambda _level, _event, _fields: None
        self.clock: Callable[[], float] = time.time
        self._loop = loop
        self._nobody = Context()
        """What is done later belongs to no code of a program that happens to run now."""
        self._objects: dict[bytes, HeldObject] = {}
        self._seen: dict[tuple[Way, bytes], list[int]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self.count = 0
        """Sockets."""

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    def later(self, seconds: float, then: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, then, context=self._nobody)

    # ------------------------------------------------------------------ opened, closed
    def open(self, ref: SocketRef, sink: Connection) -> HeldSocket:
        """The object's end is open from here on: what it sends goes to `sink`."""
        socket = self._add(ref, sink)
        if ref.hibernates:
            self._note(ref, opened=True)
        socket.go_on()
        return socket

    def lost(self, ref: SocketRef, sink: Connection) -> None:
        """Tell an object that its socket has ended with the process that held it; `sink.forgotten()` is called when it knows."""
        self._add(ref, sink).lose()

    def _add(self, ref: SocketRef, sink: Connection) -> HeldSocket:
        of = self._objects.get(ref.object_id)
        if of is None:
            of = self._objects[ref.object_id] = HeldObject(ref)
        socket = of.sockets[ref.socket] = HeldSocket(self, of, ref, sink)
        self.count += 1
        return socket

    def _note(self, ref: SocketRef, *, opened: bool) -> None:
        """In the journal. Without one objects hear of this process's death later: when they are loaded."""
        if self.journal is None:
            return
        try:
            if opened:
                self.journal.opened(ref)
            else:
                self.journal.closed(ref)
        except OSError as error:
            self.journal = None
            self.report("error", "socket_journal_failed", {"error": str(error), "hint": "is the disk full?"})

    def refs(self) -> Iterator[SocketRef]:
        """Of the sockets that hibernate: what the journal says."""
        for of in self._objects.values():
            for socket in of.sockets.values():
                if socket.ref.hibernates and not hasattr(socket.connection, "forgotten"):
                    yield socket.ref

    def connections(self) -> list[Connection]:
        """Of all sockets."""
        return [socket.connection for of in self._objects.values() for socket in of.sockets.values()]

    def forget(self, socket: HeldSocket) -> None:
        """It is over, for the client and for the object."""
        of = self._objects.get(socket.ref.object_id)
        if of is None or of.sockets.get(socket.ref.socket) is not socket:
            return
        del of.sockets[socket.ref.socket]
        self.count -= 1
        socket.give_up()
        forgotten = getattr(socket.connection, "forgotten", None)
        if forgotten is not None:
            forgotten()
        elif socket.ref.hibernates:
            self._note(socket.ref, opened=False)
        if not of.sockets:
            of.empty_s = self._loop.time()
            if self._looking is None:
                self._looking = self.later(FORGET_S, self._look)

    def _look(self) -> None:
        """Objects that have had no sockets for long are not remembered."""
        self._looking = None
        now_s = self._loop.time()
        empty = [(object_id, of) for object_id, of in self._objects.items() if not of.sockets]
        for object_id, of in empty:
            if now_s - of.empty_s >= FORGET_S:
                del self._objects[object_id]
        if len(empty):
            self._looking = self.later(FORGET_S, self._look)

    def drop(self, socket: HeldSocket) -> None:
        """End the connection without a handshake; the object is not told."""
        socket.end(ABNORMAL, NOT_CLEAN)
        self.forget(socket)

    def refused(self, socket: HeldSocket, error: PerdureError) -> None:
        """An event will never be handled."""
        self.report("warning", "socket_message_dropped", {**_fields(socket.ref), "error": error.message})

    def close(self) -> None:
        """The process ends: nothing is sent any more."""
        if self._looking is not None:
            self._looking.cancel()
        for of in self._objects.values():
            for socket in of.sockets.values():
                socket.give_up()

    # ------------------------------------------------------------------ the ways to shards
    def say(self, ref: SocketRef, frame: Frame) -> None:
        """What is of use only now."""
        way = self.route.way(ref.object_id)
        if way.ready:
            way.send_frame(frame)

    def _of_way(self, way: Way) -> list[HeldObject]:
        return [of for object_id, of in self._objects.items() if self.route.way(object_id) is way]

    def needs(self, way: Way) -> bool:
        return any(socket.waits for of in self._of_way(way) for socket in of.sockets.values())

    def ready(self, way: Way) -> None:
        for of in self._of_way(way):
            if not way.takes_sockets:
                for socket in list(of.sockets.values()):
                    self.drop(socket)
                continue
            of.causes = {cause: count for cause, count in of.causes.items() if cause[0] in of.sockets}
            held = of.held()
            if held:
                ref = of.ref
                way.send_frame([SOCKETS_HELD, ref.class_key, ref.object_id, ref.name, held, False])
            for socket in list(of.sockets.values()):
                if socket.waits:
                    socket.ready()

    def parted(self, way: Way, died: bool) -> None:
        for of in self._of_way(way):
            for socket in list(of.sockets.values()):
                socket.parted(died)

    # ------------------------------------------------------------------ from shards
    def receive_late(self, way: Way, frame: Frame) -> None:
        """From a session that has handed over: what its events still do is done by the next one, which has them again."""
        if frame[0] == SOCKET_EFFECTS and (frame[2] or frame[3] is None):
            self.receive(way, frame[:5])

    def receive(self, way: Way, frame: Frame) -> None:
        """A frame of `wire.SOCKET_FRAMES`."""
        kind = frame[0]
        if kind == SOCKET_EFFECTS:
            object_id, number, cause, effects = frame[1:5]
            of = self._objects.get(object_id)
            if number:
                self._have_seen(way, object_id, number)
            if of is not None:
                acknowledges = len(frame) > 5
                self._effects(of, number, cause, effects, acknowledges)
                if acknowledges:
                    socket = of.sockets.get(cause[0])
                    if socket is not None:
                        socket.acknowledged(cause[1], None)
        elif kind == SOCKET_ACK:
            _, object_id, id, number, fields = frame
            of = self._objects.get(object_id)
            socket = None if of is None else of.sockets.get(id)
            if socket is not None:
                socket.acknowledged(number, fields)
        elif kind == SOCKETS_RULES:
            _, object_id, told = frame
            of = self._objects.get(object_id)
            if of is not None:
                request, response, replies_to_close, overflow = told
                of.rules = Rules(request, response, bool(replies_to_close), overflow)
                self._overflows(of)
        elif kind == SOCKETS_ASKED:
            _, class_key, object_id = frame
            of = self._objects.get(object_id)
            name, held = (None, []) if of is None else (of.ref.name, of.held())
            way.send_frame([SOCKETS_HELD, class_key, object_id, name, held, True])

    def _overflows(self, of: HeldObject) -> None:
        for socket in of.sockets.values():
            tell = getattr(socket.connection, "overflows", None)
            if tell is not None:
                tell(of.rules.overflow)

    def _effects(
        self, of: HeldObject, number: int, cause: list[object] | None, effects: list[list[object]], last: bool
    ) -> None:
        """`last`: nothing more comes of the cause."""
        if number:
            if number in of.numbers:
                return
            of.numbers[number] = None
            if len(of.numbers) > NUMBERS_MAX:
                for old in sorted(of.numbers)[: NUMBERS_MAX // 2]:
                    del of.numbers[old]
        had = 0
        if cause is not None:
            if not last or of.causes_elsewhere:
                had = self._had(of, cause, len(effects))
            elif of.causes:
                source, event, ordinal = cast("tuple[bytes, int, int]", tuple(cause))
                had = max(of.causes.get((source, event), 0) - ordinal, 0)
        sockets = of.sockets
        for ids, what, data in effects[had:] if had else effects:
            for id in cast("list[bytes]", ids):
                found = sockets.get(id)
                if found is not None:
                    found.effect(cast("int", what), data)

    def _had(self, of: HeldObject, cause: list[object], count: int) -> int:
        """How many of so many effects have arrived before: the event's code runs again."""
        socket, event, ordinal = cast("tuple[bytes, int, int]", tuple(cause))
        key, source = (socket, event), of.sockets.get(socket)
        causes = of.causes_elsewhere if source is None else of.causes
        had, end = causes.get(key, 0), ordinal + count
        if end > had and (source is None or source.has(event)):
            causes[key] = end
            if len(of.causes_elsewhere) > CAUSES_ELSEWHERE_MAX:
                del of.causes_elsewhere[next(iter(of.causes_elsewhere))]
        return max(had - ordinal, 0)

    def _have_seen(self, way: Way, object_id: bytes, number: int) -> None:
        if not self._seen:
            self._loop.call_soon(self._say_seen, context=self._nobody)
        self._seen.setdefault((way, object_id), []).append(number)

    def _say_seen(self) -> None:
        seen, self._seen = self._seen, {}
        for (way, object_id), numbers in seen.items():
            if way.ready:
                for number in numbers:
                    way.send_frame([SOCKETS_SEEN, object_id, number])


def _fields(ref: SocketRef) -> dict[str, object]:
    return {"class": ref.class_key, "id": ref.object_id.hex(), "object": ref.name, "socket": ref.socket.hex()}
