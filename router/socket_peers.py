"""The shard's side of sockets: events from who holds connections become calls, what objects send becomes frames.

What always holds: nothing that a holder sends can raise out of here; an event for a slot that is not ours runs nothing; what an
object's turn sends is queued before the acknowledgement of what caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from ..engine.calls import Call, Result
from ..engine.errors import NotConnected, PerdureError, ProtocolError
from ..engine.socket_calls import (
    CLOSED,
    METHODS,
    OPENED,
    SOCKET,
    SOCKET_ID_BYTES,
    Cause,
    Closing,
    Effects,
    Holder,
    Rules,
    SocketCall,
)
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

if TYPE_CHECKING:
    Send = Callable[[Frame, int], None]

FROM_HOLDERS = frozenset({SOCKET_EVENT, SOCKETS_HELD, SOCKETS_SEEN, SOCKET_BUFFERED})
IDENTITY_CHARACTERS_MAX = 100


class SocketHost(Protocol):
    """What the residents do for sockets."""

    def deliver(self, call: Call) -> None: ...
    def held(
        self,
        holder: Holder,
        class_key: str,
        object_id: bytes,
        name: str | None,
        sockets: Sequence[tuple[bytes, int | None]],
        asked: bool,
    ) -> None: ...
    def seen(self, holder: Holder, object_id: bytes, number: int) -> None: ...
    def buffered(self, holder: Holder, object_id: bytes, socket: bytes, size: int) -> None: ...
    def holder_gone(self, holder: Holder) -> None: ...


class SocketPeer:
    """One holder, by its link. Implements the engine's Holder."""

    __slots__ = ("_host", "_newest", "_send", "_waits", "gone", "identity")

    def __init__(self, identity: str, send: Send, host: SocketHost, waits: Callable[[Frame], bool]) -> None:
        """`send(frame, size)`: to it. `waits(frame)`: whether that is the last of what was sent and has not left.
        Raises ProtocolError for what is no identity."""
        if not 0 < len(identity) <= IDENTITY_CHARACTERS_MAX:
            raise ProtocolError("a holder of sockets has no identity")
        self.identity = identity
        self.gone = False
        self._send = send
        self._host = host
        self._waits = waits
        self._newest: Frame = []
        """Effects: their cause is often acknowledged right after them, and by the same frame then."""

    # ------------------------------------------------------------------ to it
    def effects(self, object_id: bytes, number: int, cause: Cause | None, effects: Effects) -> None:
        if self.gone:
            return
        size = 0
        for _, _, data in effects:
            if isinstance(data, str | bytes):
                size += len(data)
        why = None if cause is None else [cause.socket, cause.number, cause.ordinal]
        self._newest = frame = [SOCKET_EFFECTS, object_id, number, why, effects]
        self._send(frame, size)

    def rules(self, object_id: bytes, rules: Rules) -> None:
        told = [rules.request, rules.response, rules.replies_to_close, rules.overflow]
        self._say([SOCKETS_RULES, object_id, told])

    def ask(self, class_key: str, object_id: bytes) -> None:
        self._say([SOCKETS_ASKED, class_key, object_id])

    def _say(self, frame: Frame) -> None:
        if not self.gone:
            self._send(frame, 0)

    def _answer(self, call: Call, result: Result) -> None:
        assert isinstance(call, SocketCall), "only sockets' events are answered here"
        newest = self._newest
        if newest and type(result) is bytes:
            self._newest, cause = [], newest[3]
            if (
                cause is not None
                and cause[1] == call.number
                and cause[0] == call.socket
                and newest[1] == call.object_id
                and self._waits(newest)
            ):
                newest.append(True)
                return
        fields = result.to_wire() if isinstance(result, PerdureError) else None
        self._say([SOCKET_ACK, call.object_id, call.socket, call.number, fields])

    # ------------------------------------------------------------------ from it
    def receive(self, frame: Frame) -> None:
        """A frame of `FROM_HOLDERS`, for a slot of ours. Raises ProtocolError and what malformed frames raise."""
        kind = frame[0]
        if kind == SOCKET_EVENT:
            self._host.deliver(self._event(frame))
        elif kind == SOCKETS_SEEN:
            _, object_id, number = frame
            self._host.seen(self, _id(object_id), _number(number))
        elif kind == SOCKETS_HELD:
            _, class_key, object_id, name, sockets, asked = frame
            held = [(_socket(socket), auto_ms) for socket, auto_ms in sockets]
            self._host.held(self, class_key, _id(object_id), name, held, bool(asked))
        else:
            _, object_id, socket, size = frame
            self._host.buffered(self, _id(object_id), _socket(socket), _number(size))

    def _event(self, frame: Frame) -> SocketCall:
        (_, _, class_key, object_id, name, socket, what, number, acknowledged, after, data, auto_ms) = frame
        if not OPENED <= what < len(METHODS):
            raise ProtocolError("malformed event of a socket")
        payload = data if isinstance(data, str | bytes) else b""
        call = SocketCall(class_key, _id(object_id), name, SOCKET, METHODS[what], cast("bytes", payload), self._answer)
        call.socket, call.what, call.data = _socket(socket), what, data
        if what == CLOSED:
            code, reason, clean = cast("Closing", data)
            if (code is not None and type(code) is not int) or type(reason) is not str:
                raise ProtocolError("malformed close of a socket")
            call.data = (code, reason, bool(clean))
        elif what != OPENED and not isinstance(data, str | bytes):
            raise ProtocolError("malformed message of a socket")
        call.number, call.acknowledged, call.after = _number(number), _number(acknowledged), _number(after)
        call.holder, call.auto_ms = self, auto_ms
        return call

    def refuse(self, frame: Frame, error: PerdureError) -> None:
        """Nothing has run, and who sent it is to know why."""
        if frame[0] == SOCKET_EVENT:
            self._say([SOCKET_ACK, frame[3], frame[5], frame[7], error.to_wire()])

    def lost(self) -> None:
        """The process is gone."""
        if not self.gone:
            self.gone = True
            self._host.holder_gone(self)


def moved() -> NotConnected:
    """The error of an event that has come to a shard which does not own its slot."""
    return NotConnected("the object moved", name=MOVED_NAME, retryable=True)


MOVED_NAME = "Moved"


def _id(value: object) -> bytes:
    if type(value) is not bytes or len(value) != 32:
        raise ProtocolError("no object's id")
    return value


def _socket(value: object) -> bytes:
    if type(value) is not bytes or len(value) != SOCKET_ID_BYTES:
        raise ProtocolError("no socket's id")
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ProtocolError("no number")
    return value
