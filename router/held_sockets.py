"""The sockets of objects whose connections this process holds: the keeper's, and what Workers and objects have accepted.

What always holds: what a client sends is kept until its object has acknowledged it, and sent again to whoever owns the object
then; what an object sends is passed on once, however often it arrives; while a shard is away everything waits, within bounds,
and the client is not read. `held_socket.py` says what is sent when, this module to whom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Protocol, cast

from ..engine.closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN
from ..engine.errors import PerdureError, from_wire
from ..engine.socket_calls import (
    CLOSE,
    CLOSED,
    FAILED,
    MESSAGE,
    OPENED,
    SEND,
    Data,
    Rules,
    SocketRef,
)
from .held_socket import WAITING_BYTES_MAX, WAITING_MAX, Kept, Numbered
from .socket_peers import MOVED_NAME
from .wire import (
    SOCKET_ACK,
    SOCKET_BUFFERED,
    SOCKET_EFFECTS,
    SOCKET_EVENT,
    SOCKETS_ASKED,
    SOCKETS_HELD,
    SOCKETS_RULES,
    SOCKETS_SEEN,
    Frame,
)

AGAIN_S, AGAIN_S_MAX = 0.05, 2.0
"""After what an object could not take: doubled each time."""
REPLY_S_MAX = 5.0
"""So long an object may take to answer the close of its client; then it is answered for it."""
NUMBERS_MAX = 4_096
"""Recorded effects of one object that are remembered."""
CAUSES_ELSEWHERE_MAX = 1_024
FORGET_S = 600.0
"""How long an object is remembered whose last socket has closed."""
_LOOK_S = 1.0
Report = Callable[[str, str, dict[str, object]], None]


class Connection(Protocol):
    """What a socket's client is reached by. Never raises, and calls nothing of the socket while it is called."""

    def message(self, data: Data) -> None:
        """The object has sent it."""
        ...

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """The object closes, or answers the client's close: a Close frame (1005: no code). Not `clean`: an end without one."""
        ...

    def failed(self, text: str) -> None: ...


class Way(Protocol):
    """To the shard of an object."""

    ready: bool
    takes_sockets: bool

    def send_frame(self, frame: Frame, size: int = 0) -> None: ...


class Route(Protocol):
    """The ways to all shards."""

    @property
    def epoch(self) -> int: ...
    def way(self, object_id: bytes) -> Way: ...


class Journal(Protocol):
    """What outlives this process: which sockets it has."""

    def opened(self, ref: SocketRef) -> None: ...
    def closed(self, ref: SocketRef) -> None: ...


class HeldObject:
    """One object that has sockets here."""

    __slots__ = ("causes", "causes_elsewhere", "empty_s", "numbers", "ref", "rules", "sockets")

    def __init__(self, ref: SocketRef) -> None:
        self.ref = ref
        self.sockets: dict[bytes, HeldSocket] = {}
        self.rules = Rules()
        self.numbers: dict[int, None] = {}
        """Of recorded effects that have arrived."""
        self.causes: dict[tuple[bytes, int], int] = {}
        """Of events that are not acknowledged: how many effects of theirs have arrived."""
        self.causes_elsewhere: dict[tuple[bytes, int], int] = {}
        """The same of sockets that others hold, the newest ones: nobody says here when those are acknowledged."""
        self.empty_s = 0.0
        """Since when it has no sockets."""


class HeldSocket:
    """One socket. Implements the engine's Line: what is sent to it goes to the object."""

    __slots__ = (
        "_again_s",
        "_auto_ms",
        "_buffered",
        "_closing_code",
        "_early",
        "_ended",
        "_holders",
        "_messages",
        "_of",
        "_opened",
        "_paused",
        "_replied",
        "_retry",
        "_told_open",
        "connection",
        "ref",
    )

    def __init__(self, holders: HeldSockets, of: HeldObject, ref: SocketRef, connection: Connection) -> None:
        self._holders = holders
        self._of = of
        self.ref = ref
        self.connection = connection
        self._messages = Numbered()
        self._opened = False
        """The object knows that it is open."""
        self._early: list[Data] = []
        """Messages from before that: the rules by which they are answered come with it."""
        self._told_open = False
        self._ended = False
        """The client has closed, or is gone."""
        self._replied = False
        """The object has closed."""
        self._paused = False
        self._auto_ms: int | None = None
        self._closing_code: int | None = None
        """What the client has closed with."""
        self._buffered = 0
        self._again_s = 0.0
        self._retry: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ from the client
    @property
    def buffered(self) -> int:
        """Bytes that the object has not taken."""
        return sum(kept.size for kept in self._messages.kept.values()) + sum(map(len, self._early))

    def send(self, data: Data) -> bool:
        """A message of the client. False: it is not to be read on; the connection's `resume()` is called then."""
        if self._ended:
            return True
        if not self._opened:
            self._early.append(data)
            self._paused = len(self._early) > WAITING_MAX or sum(map(len, self._early)) > WAITING_BYTES_MAX
            return not self._paused
        return self._send(data)

    def _send(self, data: Data) -> bool:
        rules = self._of.rules
        if rules.request is not None and data == rules.request and rules.response is not None:
            self._auto_ms = self._holders.now_ms()
            self.connection.message(rules.response)
            return True
        self._messages.take(MESSAGE, data)
        self.go_on()
        if self._messages.full:
            self._paused = True
            return False
        return True

    def close(self, code: int | None, reason: str) -> None:
        """The client has closed with a Close frame (ABNORMAL: it is gone without one)."""
        self.closed(code, reason, code != ABNORMAL)

    def closed(self, code: int | None, reason: str, clean: bool) -> None:
        """The client has closed, or is gone."""
        if self._ended:
            return
        self._number_early()
        self._ended = True
        self._closing_code = code
        if not clean:
            code, reason = ABNORMAL, NOT_CLEAN
            self._replied = True
        elif not self._replied and self._of.rules.replies_to_close:
            self._holders.later(REPLY_S_MAX, self._reply)
        self._messages.take(CLOSED, (code, reason, clean))
        self.go_on()

    def failed(self, text: str) -> None:
        """Reading has failed: the last that is heard of it."""
        if not self._ended:
            self._number_early()
            self._ended = self._replied = True
            self._messages.take(FAILED, text)
            self.go_on()

    def _number_early(self) -> None:
        """What comes now is after them."""
        early, self._early = self._early, []
        for data in early:
            self._messages.take(MESSAGE, data)

    def buffers(self, size: int) -> None:
        """So many bytes are not taken by the client."""
        self._buffered = size
        self._holders.say(self.ref, [SOCKET_BUFFERED, self.ref.object_id, self.ref.socket, size])

    # ------------------------------------------------------------------ to the object
    def go_on(self) -> None:
        """Send what may be sent."""
        if self._retry is not None:
            return
        way = self._holders.route.way(self.ref.object_id)
        if not way.ready:
            return
        if not self._opened:
            if not self._told_open:
                self._told_open = True
                self._event(way, OPENED, 0, 0, None, 0)
            return
        for kept, before in self._messages.due():
            self._event(way, kept.what, kept.number, before, kept.data, kept.size)

    def _event(self, way: Way, what: int, number: int, before: int, data: object, size: int) -> None:
        ref, auto_ms, self._auto_ms = self.ref, self._auto_ms, None
        way.send_frame(
            [
                SOCKET_EVENT,
                self._holders.route.epoch,
                ref.class_key,
                ref.object_id,
                ref.name,
                ref.socket,
                what,
                number,
                self._messages.acknowledged,
                before,
                data,
                auto_ms,
            ],
            size,
        )

    def ready(self) -> None:
        """A session serves that knows nothing of what was sent."""
        self._told_open = False
        self._messages.go_back()
        self.go_on()

    def parted(self, died: bool) -> None:
        """Nothing can be sent until `ready`."""
        if not self.ref.hibernates:
            if died or self._opened:
                self._holders.drop(self)
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        poison = self._messages.died() if died else None
        if poison is not None:
            self._holders.poisoned(self, poison)

    @property
    def waits(self) -> bool:
        """Whether something is not acknowledged."""
        return bool(self._messages.kept) or not self._opened

    def has(self, number: int) -> bool:
        """Whether that event is not acknowledged."""
        return number in self._messages.kept

    def acknowledged(self, number: int, fields: object) -> None:
        """What became of an event."""
        if fields is not None:
            self._refused(number, from_wire(cast("dict[str, object]", fields)))
            return
        self._again_s = 0.0
        if number == 0:
            if not self._opened:
                self._begin()
            return
        kept = self._messages.acknowledge(number)
        if kept is None:
            return
        self._of.causes.pop((self.ref.socket, number), None)
        if kept.what != MESSAGE:
            if kept.what == CLOSED:
                self._reply()
            self._holders.forget(self)
            return
        if len(self._messages.kept):
            self.go_on()
        if self._paused and self._messages.roomy:
            self._resume()

    def _begin(self) -> None:
        """The object knows that it is open."""
        self._opened = True
        early, self._early = self._early, []
        for data in early:
            self._send(data)
        self.go_on()
        if self._paused and self._messages.roomy:
            self._resume()

    def _resume(self) -> None:
        self._paused = False
        resume = getattr(self.connection, "resume", None)
        if resume is not None:
            resume()

    def lose(self) -> None:
        """Its client is gone with the process that had it: the object is told, and nothing else."""
        self._opened = True
        self._messages.come_last()
        self.closed(ABNORMAL, NOT_CLEAN, False)

    def _refused(self, number: int, error: PerdureError) -> None:
        if error.overloaded or error.name == MOVED_NAME:
            if number == 0:
                self._told_open = False
            else:
                self._messages.go_back(number)
            if self._retry is None:
                self._again_s = min(max(self._again_s * 2, AGAIN_S), AGAIN_S_MAX)
                self._retry = self._holders.later(self._again_s, self._try_again)
        elif type(error).code == "socket_unknown" and self._messages.is_last(number):
            self.acknowledged(number, None)  # the object had heard of the end before, and who said so died
        elif error.durableObjectReset or type(error).code == "socket_unknown":
            self._holders.drop(self)
        else:
            self._holders.refused(self, error)

    def _try_again(self) -> None:
        self._retry = None
        self.go_on()

    # ------------------------------------------------------------------ from the object
    def effect(self, what: int, data: object) -> None:
        """What the object does."""
        if what == SEND:
            if not self._replied:
                self.connection.message(cast("Data", data))
        elif what == CLOSE:
            code, reason = cast("tuple[int | None, str]", data)
            if not self._replied:
                self._replied = True
                self.connection.closed(NO_CODE if code is None else code, reason, True)
        elif not self._ended:  # else what becomes of its last event says how it ends
            self._holders.drop(self)

    def _reply(self) -> None:
        """Answer the client's close, unless the object has."""
        if self._replied:
            return
        self._replied = True
        code = self._closing_code
        if self._of.rules.replies_to_close:
            self.connection.closed(NO_CODE if code is None else code, "", True)
        else:
            self.connection.closed(ABNORMAL, NOT_CLEAN, False)

    def end(self, code: int, reason: str) -> None:
        """Close the connection for the object."""
        if not self._replied:
            self._replied = True
            self.connection.closed(code, reason, code != ABNORMAL)

    def give_up(self) -> None:
        """It is forgotten: nothing is sent any more."""
        self._ended = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


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
        self.report("warning", "socket_refused", {**_fields(socket.ref), "error": error.message})
        socket.end(1011, "the message was refused")
        self.forget(socket)

    def poisoned(self, socket: HeldSocket, kept: Kept) -> None:
        """A message whose handling has ended the shard again and again is given up; its socket is closed, the object told."""
        fields = {**_fields(socket.ref), "message": kept.number, "bytes": kept.size}
        self.report(
            "error", "socket_message_dropped", {**fields, "reason": "its shard died each time that it handled it"}
        )
        socket.end(1011, "a message could not be handled")
        if kept.what != MESSAGE:
            self.forget(socket)
        socket.closed(1011, "a message could not be handled", False)

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
            held = [[s.ref.socket, s._auto_ms] for s in of.sockets.values() if s.ref.hibernates]  # pyright: ignore[reportPrivateUsage]
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
            sockets = [] if of is None else [s for s in of.sockets.values() if s.ref.hibernates]
            held = [[s.ref.socket, s._auto_ms] for s in sockets]  # pyright: ignore[reportPrivateUsage]
            name = None if of is None else of.ref.name
            way.send_frame([SOCKETS_HELD, class_key, object_id, name, held, True])

    def _overflows(self, of: HeldObject) -> None:
        for socket in of.sockets.values():
            tell = getattr(socket.connection, "overflows", None)  # pyright: ignore[reportPrivateUsage]
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
