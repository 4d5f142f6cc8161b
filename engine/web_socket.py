"""One end of a WebSocket, as programs see it in Workers and objects (spec: websockets).

What always holds: an end is used once: accepted by a program, or given away in a Response; what arrives before that waits,
bounded; a program hears of messages in their order, then of the close, of that once. In an object what it sends passes the
output gate, and what arrives is an event of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, cast

from .closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN, TRY_AGAIN_LATER, closing, sendable
from .errors import InvalidArgument, PerdureError
from .socket_calls import CLOSED, FAILED, MESSAGE, OPENED, Closing, Data, SocketRef
from .turns import SCOPE
from .values import Buffer, pack, unpack
from .web_socket_events import CloseEvent, Complain, ErrorEvent, Listeners, MessageEvent, SocketEvent

if TYPE_CHECKING:
    from .instance import Instance

EARLY_MESSAGES_MAX = 4_096
EARLY_BYTES_MAX = 64 << 20
"""What may arrive at an end that nobody has accepted yet; above it the connection ends."""
ATTACHMENT_BYTES_MAX = 16_384
"""Where no object says otherwise."""
CONNECTING, OPEN, CLOSING, ENDED = range(4)
"""`readyState`."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What depends on a program's compatibility date."""

    replies_to_close: bool = True
    """A Close frame is answered at once (2026-04-07: `web_socket_auto_reply_to_close`)."""
    bounds_reasons: bool = True
    """A reason that does not fit into its frame is an error (2026-03-03)."""


NEWEST = Behaviour()
BEHAVIOUR: ContextVar[Behaviour] = ContextVar("perdure_sockets", default=NEWEST)
"""Of the Worker that runs. Objects have it in their class's runtime."""


class Line(Protocol):
    """The other end of a WebSocket, as it sends. Never raises; what is sent to one that is gone is lost."""

    @property
    def buffered(self) -> int:
        """Bytes not yet taken by the peer, as far as known."""
        ...

    def send(self, data: Data) -> Awaitable[None] | bool | None:
        """An awaitable when the peer has enough to read: done when it wants more."""
        ...

    def close(self, code: int | None, reason: str) -> None:
        """Begin, or answer, the closing handshake. ABNORMAL (1006): end it without one."""
        ...


class Sink(Protocol):
    """Who takes what arrives, instead of listeners: code of the runtime. Never raises."""

    def message(self, data: Data) -> None: ...
    def closed(self, code: int, reason: str, clean: bool) -> None: ...
    def failed(self, text: str) -> None: ...


class Opener(Protocol):
    """Of a process: opens an object's end from outside."""

    def open(self, ref: SocketRef, sink: Sink) -> Line: ...


class Row(Protocol):
    """What an object keeps of a socket that hibernates."""

    @property
    def attachment(self) -> bytes | None: ...
    @property
    def attachment_bytes_max(self) -> int: ...
    def attach(self, packed: bytes) -> None:
        """Keep it, with the turn's writes."""
        ...


class Use(Enum):
    """What has become of an end."""

    NONE = "not used"
    ACCEPTED = "accepted"
    HIBERNATES = "accepted with acceptWebSocket"
    GIVEN = "returned in a Response"
    CONNECTS = "made by its address"


class _Done:
    """An awaitable that never waits."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield  # makes this a generator


_DONE = _Done()


class WebSocket:
    """See the module. Members in camelCase are the program's; `ref`, `of_…`, `take`, `give` and what arrives the runtime's."""

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)
    READY_STATE_CONNECTING, READY_STATE_OPEN, READY_STATE_CLOSING, READY_STATE_CLOSED = range(4)
    onopen: object = None
    onmessage: object = None
    onclose: object = None
    onerror: object = None

    def __init__(self) -> None:
        scope = SCOPE.get()
        self.url: str | None = None
        self.protocol = ""
        self.extensions = ""
        self.binaryType = "arraybuffer"
        self.ref: SocketRef | None = None
        self.behaviour = BEHAVIOUR.get() if scope is None else scope.instance.runtime.sockets
        self.peer: WebSocket | None = None
        """The other end of the same pair, in this process."""
        self.use = Use.NONE
        self.owner: Instance | None = None
        """The object that has accepted it."""
        self._line: Line | None = None
        """Where it sends to, when it may."""
        self._way: Line | None = None
        """The same before it is accepted."""
        self._opener: Opener | None = None
        self._sink: Sink | None = None
        self._listeners = Listeners()
        self._context: Context | None = None
        self._early: list[tuple[int, object]] = []
        self._early_bytes = 0
        self._closed_out = False
        """It has begun to close, or answered, or can send no more."""
        self._closed_in = False
        self._close_called = False
        self._replied = False
        """The peer's Close is answered by whoever holds the connection, unless the program does."""
        self._attachment: bytes | None = None
        self.row: Row | None = None
        """What its object has stored of it, if it hibernates."""

    # ------------------------------------------------------------------ made by the runtime
    @classmethod
    def of_line(cls, line: Line, *, url: str = "", protocol: str = "", extensions: str = "") -> WebSocket:
        """An outgoing connection that is open, and not accepted yet. Who made it calls `arrive`, `ended`, `broke`."""
        made = cls()
        made._way = line
        made.url, made.protocol, made.extensions = url, protocol, extensions
        return made

    @classmethod
    def of_ref(cls, ref: SocketRef, opener: Opener, protocol: str = "") -> WebSocket:
        """What an object's Response brought along: it is opened when it is accepted or taken."""
        made = cls()
        made.ref, made._opener, made.protocol = ref, opener, protocol
        return made

    @classmethod
    def connecting(cls, url: str) -> WebSocket:
        """What `new WebSocket(url)` gives: it needs no accept(). Who made it calls `opened`, or `broke` and `ended`."""
        made = cls()
        made.url, made.use = url, Use.CONNECTS
        made._keep(None)
        return made

    def hibernates(self, line: Line, row: Row) -> None:
        """It is an object's, accepted with acceptWebSocket(): the line collects what it sends."""
        self.use, self._line, self.row = Use.HIBERNATES, line, row
        if row.attachment is None and self._attachment is not None:
            row.attach(self._attachment)

    def cut_off(self) -> None:
        """It ends without a handshake: its object leaves memory, or cannot be told of it."""
        line, ended = self._line or self._way, self._closed_in and self._closed_out
        self.gone()
        if line is not None and not ended:
            line.close(ABNORMAL, "")

    def gone(self) -> None:
        """Its connection has ended and its close was handled: what it sends from now on is ignored."""
        self._closed_in = self._closed_out = True

    def given_to(self, sink: Sink) -> Line | None:
        """It was returned in an object's Response: what comes goes there. The line, of an outgoing connection."""
        self._sink = sink
        self._drain()
        return self._way

    def opened(self, line: Line, protocol: str = "", extensions: str = "") -> None:
        """The connection of one that was `connecting` is there."""
        if self._closed_out:  # the program has closed it meanwhile
            line.close(ABNORMAL, "")
            return
        self._line = self._gated(line)
        self.protocol, self.extensions = protocol, extensions
        self.occurs(OPENED, None)

    # ------------------------------------------------------------------ the program's
    @property
    def readyState(self) -> int:
        """0 connecting, 1 open, 2 closing, 3 closed."""
        if self._closed_in and (self._closed_out or self._replied):
            return ENDED
        if self._closed_in or self._closed_out:
            return CLOSING
        return CONNECTING if self.use is Use.CONNECTS and self._line is None else OPEN

    @property
    def bufferedAmount(self) -> int:
        """Bytes that were sent and not yet taken by the peer, as far as this process knows."""
        return 0 if self._line is None else self._line.buffered

    def accept(self, options: object = None, **more: object) -> None:
        """Begin to listen and send. Raises InvalidArgument (TypeError) where the end has another use."""
        if self.use is Use.ACCEPTED:
            return
        if self.use is Use.CONNECTS:
            raise InvalidArgument("Websockets obtained from the 'new WebSocket()' constructor cannot call accept")
        if self.use is Use.HIBERNATES:
            raise InvalidArgument("Can't accept() WebSocket after enabling hibernation.")
        if self.use is Use.GIVEN:
            raise InvalidArgument("Can't accept() WebSocket that was already used in a response.")
        self.use = Use.ACCEPTED
        self._keep(self._open(self))

    def send(self, message: object) -> Awaitable[None]:
        """Send a text or bytes. Takes effect now; awaiting it waits while the peer has enough to read.

        Raises InvalidArgument (TypeError): not accepted, closed by this end, no such message.
        """
        data = message if type(message) is bytes else sendable(message)
        line = self._line
        if self._close_called:
            raise InvalidArgument("Can't call WebSocket send() after close().")
        if line is None:
            self._check_accepted()
            return _DONE
        if self._closed_out:
            return _DONE
        room = line.send(data)
        return _DONE if room is None or room is True or room is False else room

    def close(self, code: object = None, reason: object = None) -> None:
        """Begin the closing handshake, or answer that of the peer. A second close does nothing.

        Raises InvalidArgument with the names InvalidAccessError, SyntaxError; TypeError when it is not accepted.
        """
        number, text = closing(code, reason, bounded=self.behaviour.bounds_reasons)
        if self._close_called:
            return
        if self._line is None and self.use is not Use.CONNECTS:
            self._check_accepted()
            return
        self._close_called = True
        if self._closed_out:
            return
        self._closed_out = True
        if self._line is None:  # it still connects
            self.ended(ABNORMAL, "WebSocket was closed before it was established", False)
        else:
            self._line.close(number, text)

    def _check_accepted(self) -> None:
        if self.use is Use.CONNECTS:
            if self._closed_out:
                return
            raise InvalidArgument(
                "You must wait for this WebSocket's open event before sending messages.", name="InvalidStateError"
            )
        raise InvalidArgument(
            "You must call one of accept() or ctx.acceptWebSocket() on this WebSocket before sending messages."
        )

    def addEventListener(self, type: str, listener: object, options: object = None, /, **more: object) -> None:
        """`message`, `close`, `error`, `open`. The option `once` is known."""
        once = more.get("once")
        if once is None and options is not None and not isinstance(options, bool):
            once = (
                cast("dict[str, object]", options).get("once")
                if isinstance(options, dict)
                else getattr(options, "once", None)
            )
        self._listeners.add(type, listener, bool(once))

    def removeEventListener(self, type: str, listener: object, _options: object = None, /) -> None:
        """Forget the listener."""
        self._listeners.remove(type, listener)

    def serializeAttachment(self, value: object) -> None:
        """Keep a copy of the value with the socket; it outlives the object's memory, not the socket.

        Raises DataCloneError, and InvalidArgument (Error) when it is too large.
        """
        packed = pack(value)
        limit = ATTACHMENT_BYTES_MAX if self.row is None else self.row.attachment_bytes_max
        if len(packed) > limit:
            raise InvalidArgument(
                f"A WebSocket 'attachment' cannot be larger than {limit} bytes. 'attachment' was {len(packed)} bytes.",
                name="Error",
                hint="keep it in the object's storage, under a key that the attachment names",
            )
        if self.row is None:
            self._attachment = packed
        else:
            self.row.attach(packed)

    def deserializeAttachment(self) -> object:
        """A copy of what was kept, None if nothing was."""
        packed = self._attachment if self.row is None else self.row.attachment
        return None if packed is None else unpack(packed)

    # ------------------------------------------------------------------ taken, given
    def take(self, sink: Sink) -> Line:
        """The runtime serves this end: what arrives goes to `sink`, the line sends to the other end.

        Raises InvalidArgument (TypeError) for an end that was used before.
        """
        if self.use is not Use.GIVEN:
            self._check_unused()
        if self._sink is not None:
            raise InvalidArgument("Can't return WebSocket that was already used in a response.")
        self.use, self._sink = Use.GIVEN, sink
        line = self._open(sink)
        self._drain()
        return line

    def give(self) -> SocketRef | None:
        """It is returned in a Response. What opens it elsewhere, where its other end is an object's; None: `take` it.

        Raises InvalidArgument (TypeError) for an end that was used before.
        """
        self._check_unused()
        self.use = Use.GIVEN
        scope = SCOPE.get()
        if self.ref is None and scope is not None:
            self.ref = scope.instance.all_sockets().give(self)
        return self.ref

    def _check_unused(self) -> None:
        if self.use is Use.GIVEN:
            raise InvalidArgument("Can't return WebSocket that was already used in a response.")
        if self.use is Use.CONNECTS:
            raise InvalidArgument("Can't return WebSocket in a Response that was made with `new WebSocket()`.")
        if self.use is not Use.NONE:
            raise InvalidArgument(
                "Can't return WebSocket in a Response after calling `acceptWebSocket()` or `accept()`."
            )

    def _open(self, sink: Sink | WebSocket) -> Line:
        """The line to the other end."""
        if self.ref is not None:
            assert self._opener is not None, "an end with a ref has who opens it"
            return self._opener.open(self.ref, cast("Sink", sink))
        if self._way is None:
            scope = SCOPE.get()
            local = (
                None if scope is None or self.peer is None else scope.instance.all_sockets().open_here(self, self.peer)
            )
            self._way = local or PairLine(self.peer)
        return self._way

    def _keep(self, line: Line | None) -> None:
        """It is the running code's: its listeners run as that does."""
        scope = SCOPE.get()
        if scope is not None and scope.instance.broken is None:
            self.owner = scope.instance
            scope.instance.all_sockets().keeps_awake(self)
        else:
            self._context = copy_context()
        if line is not None:
            self._line = self._gated(line)
        self._drain()

    def _gated(self, line: Line) -> Line:
        return line if self.owner is None else self.owner.all_sockets().gated(line)

    # ------------------------------------------------------------------ what arrives
    def message(self, data: Data) -> None:
        self.arrive(data)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self.ended(code, reason, clean)

    def failed(self, text: str) -> None:
        self.broke(text)

    def arrive(self, data: Data) -> None:
        """A message has come."""
        if self._sink is not None:
            self._sink.message(data)
        elif not self._closed_in:
            self._comes(MESSAGE, data, len(data))

    def ended(self, code: int, reason: str, clean: bool) -> None:
        """The peer has closed (`clean`: with a Close frame), or is gone."""
        if self._closed_in:
            return
        if self._sink is not None:
            self._closed_in = self._closed_out = True
            self._sink.closed(code, reason, clean)
        else:
            self._comes(CLOSED, (code, reason, clean), 0)

    def broke(self, text: str) -> None:
        """Reading has failed. `ended` is called after it."""
        if self._sink is not None:
            self._sink.failed(text)
        elif not self._closed_in:
            self._comes(FAILED, text, 0)

    def _comes(self, what: int, data: object, size: int) -> None:
        if self.use in (Use.ACCEPTED, Use.CONNECTS):
            self.occurs(what, data)
            return
        if self._early_bytes < 0:  # it was too much
            return
        self._early_bytes += size
        if len(self._early) >= EARLY_MESSAGES_MAX or self._early_bytes > EARLY_BYTES_MAX:
            if self._way is not None:
                self._way.close(TRY_AGAIN_LATER, "the WebSocket was not accepted")
            what, data = CLOSED, (ABNORMAL, NOT_CLEAN, False)
            self._early_bytes = -1
        self._early.append((what, data))

    def _drain(self) -> None:
        """What came before somebody listened."""
        early, self._early = self._early, []
        for what, data in early:
            if what == MESSAGE:
                self.arrive(cast("Data", data))
            elif what == FAILED:
                self.broke(cast("str", data))
            else:
                code, reason, clean = cast("Closing", data)
                self.ended(NO_CODE if code is None else code, reason, clean)

    def occurs(self, what: int, data: object) -> None:
        """Have the listeners told: in an object as an event of it, else soon, in the context of who accepted."""
        if self.owner is not None:
            self.owner.all_sockets().occurs(self, what, data)
        else:
            asyncio.get_running_loop().call_soon(self.happens, what, data, _complain, context=self._context)

    def happens(self, what: int, data: object, complain: Complain) -> None:
        """It happens, in a turn where there are turns: the state changes, the listeners are told."""
        event = self.apply(what, data)
        if event is not None:
            named = getattr(self, f"on{event.type}", None)
            self._listeners.tell(event, named, complain)

    def apply(self, what: int, data: object) -> SocketEvent | None:
        """The state afterwards, and what listeners are told; None: nothing, it has closed before."""
        if self._closed_in:
            return None
        if what == MESSAGE:
            return MessageEvent(self, received(cast("Data", data)))
        if what == OPENED:
            return SocketEvent("open", self)
        if what == FAILED:
            return ErrorEvent(self, PerdureError(cast("str", data)))
        code, reason, clean = cast("Closing", data)
        self._closed_in = True
        if self.use is Use.HIBERNATES:
            self._replied = self.behaviour.replies_to_close or not clean
        elif not clean:
            self._closed_out = True
        elif self.behaviour.replies_to_close and not self._closed_out:
            self._closed_out = True
            if self._line is not None:
                self._line.close(None if code == NO_CODE else code, reason if code != NO_CODE else "")
        return CloseEvent(self, NO_CODE if code is None else code, reason, clean)

    add_event_listener = addEventListener
    remove_event_listener = removeEventListener
    serialize_attachment = serializeAttachment
    deserialize_attachment = deserializeAttachment

    @property
    def ready_state(self) -> int:
        return self.readyState

    @property
    def buffered_amount(self) -> int:
        return self.bufferedAmount

    @property
    def binary_type(self) -> str:
        return self.binaryType

    def __repr__(self) -> str:
        return f"<WebSocket {self.url or ''} {('connecting', 'open', 'closing', 'closed')[self.readyState]}>"


class PairLine:
    """To the other end of a pair in the same process. What is sent arrives with the next round of the loop."""

    __slots__ = ("_peer",)
    buffered = 0

    def __init__(self, peer: WebSocket | None) -> None:
        assert peer is not None, "an end without a line is one of a pair"
        self._peer = peer

    def send(self, data: Data) -> None:
        asyncio.get_running_loop().call_soon(self._peer.arrive, data)

    def close(self, code: int | None, reason: str) -> None:
        if code == ABNORMAL:
            arguments = (ABNORMAL, NOT_CLEAN, False)
        else:
            arguments = (NO_CODE if code is None else code, reason, True)
        asyncio.get_running_loop().call_soon(self._peer.ended, *arguments)


def received(data: Data) -> str | Buffer:
    """A message as programs get it: a text, or a buffer."""
    return data if type(data) is str else Buffer(data)  # pyright: ignore[reportArgumentType]


def _complain(error: BaseException) -> None:
    """A listener of a Worker has raised."""
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "a listener of a WebSocket raised", "exception": error})
