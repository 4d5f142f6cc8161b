"""One socket of an object, at the process that holds its connection: between the client and the object.

What always holds: what the client sends waits until the object knows that it is open, is numbered then, and is kept until it is
acknowledged; the connection hears of one end only, the object's or the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from ..engine.closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN
from ..engine.errors import PerdureError, from_wire
from ..engine.socket_calls import CLOSE, CLOSED, FAILED, MESSAGE, OPENED, SEND, Data, Rules, SocketRef
from .held_socket import WAITING_BYTES_MAX, WAITING_MAX, Numbered
from .socket_peers import MOVED_NAME
from .wire import SOCKET_BUFFERED, SOCKET_EVENT, Frame

AGAIN_S, AGAIN_S_MAX = 0.05, 2.0
"""After what an object could not take: doubled each time."""
REPLY_S_MAX = 5.0
"""So long an object may take to answer the close of its client; then it is answered for it."""


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


class Holders(Protocol):
    """All sockets of the process."""

    @property
    def route(self) -> Route: ...
    def now_ms(self) -> int: ...
    def later(self, seconds: float, then: Callable[[], None]) -> asyncio.TimerHandle: ...
    def say(self, ref: SocketRef, frame: Frame) -> None: ...
    def forget(self, socket: HeldSocket) -> None: ...
    def drop(self, socket: HeldSocket) -> None: ...
    def refused(self, socket: HeldSocket, error: PerdureError) -> None: ...


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

    def held(self) -> list[list[object]]:
        """Its sockets that hibernate, each with when it was last answered by the rules: what a shard is told."""
        return [[socket.ref.socket, socket.auto_ms] for socket in self.sockets.values() if socket.ref.hibernates]


class HeldSocket:
    """One socket. Implements the engine's Line: what is sent to it goes to the object."""

    __slots__ = (
        "_again_s",
        "_auto_ms",
        "_closing_code",
        "_closing_reason",
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

    def __init__(self, holders: Holders, of: HeldObject, ref: SocketRef, connection: Connection) -> None:
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
        """What the client has closed with: it is answered with the same."""
        self._closing_reason = ""
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
        self._closing_code, self._closing_reason = code, reason
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

    @property
    def auto_ms(self) -> int | None:
        """When it was last answered by the rules, if the object has not heard of that."""
        return self._auto_ms

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
        elif type(error).code == "socket_unknown" and self._ended:
            self.acknowledged(number, None)  # the object had heard of all to the end before, and who said so died
        elif error.durableObjectReset or type(error).code == "socket_unknown":
            self._holders.drop(self)
        else:
            self._refused_for_good(number, error)

    def _refused_for_good(self, number: int, error: PerdureError) -> None:
        """An event will never be handled: it ended its shard's process again and again, or the class is no more. The client
        hears 1011, the object, if it can, that the socket has closed."""
        if not self._replied:
            self._holders.refused(self, error)
            self.end(1011, "a message could not be handled")
        kept = self._messages.acknowledge(number)
        self._of.causes.pop((self.ref.socket, number), None)
        if number == 0 or (kept is not None and kept.what != MESSAGE):
            self._holders.forget(self)
            return
        self.closed(1011, "", False)
        self.go_on()

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
            self.connection.closed(NO_CODE if code is None else code, self._closing_reason, True)
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
