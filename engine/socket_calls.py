"""What passes between an object and whoever holds the connections of its sockets: events one way, effects the other.

A *holder* is a process's end of this: the keeper's, a gateway's, that of any process that has accepted an object's socket. What
always holds: messages of one socket are numbered by its holder from 1 and delivered in that order; one is acknowledged when its
handler has ended and what the handler wrote is durable; what was not acknowledged is delivered again, to whoever owns the object
then; what an object sends is handed to the holder past the output gate, before the acknowledgement of what caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from .calls import Call, Result

if TYPE_CHECKING:
    from .instance import Instance
    from .web_socket import WebSocket

SOCKET = 6
"""Kind of a call that is an event of one socket. On the wire it has frames of its own."""
SOCKET_ID_BYTES = 8

OPENED, MESSAGE, CLOSED, FAILED = range(4)
"""What has happened to a socket: its connection is there; a message came; the peer has closed, or is gone; reading failed.
After CLOSED and FAILED nothing more comes."""
METHODS = ("webSocketOpen", "webSocketMessage", "webSocketClose", "webSocketError")
"""By what has happened: `method` of the call. The first is no handler."""
SEND, CLOSE, DROP = range(3)
"""What an object does to one: sends a message; begins the closing handshake; ends it without one (the client sees 1006)."""

Data = str | bytes
Closing = tuple[int | None, str, bool]
"""Code, reason, and whether a Close frame came."""


@dataclass(frozen=True, slots=True)
class SocketRef:
    """The end of a pair that an object gave away in a Response: whoever has it may open the object's end from outside."""

    class_key: str
    object_id: bytes
    name: str | None
    socket: bytes
    """Of the object's end: SOCKET_ID_BYTES, random."""
    hibernates: bool
    """Accepted with ctx.acceptWebSocket(): it outlives its object's processes. Else it ends with the object's memory."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an object has decided for its sockets; holders follow it while the object sleeps."""

    request: str | None = None
    """A text message equal to it is answered with `response` by the holder, and not delivered."""
    response: str | None = None
    replies_to_close: bool = True
    """A Close frame of the peer that the object has not answered when its event is acknowledged is answered with its own code;
    else the connection ends without an answer then."""
    overflow: str = "close"
    """A reader that is too slow: "close" (1013) or "drop" (its oldest messages)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The event that a turn belongs to: until it is acknowledged, who hears the same again drops it."""

    socket: bytes
    number: int
    ordinal: int
    """Of the first of the effects that go with it, from 0, counted over all entries that the event's code has sent, however
    many sockets an entry has: none, where those are at other holders."""


Effects = Sequence[tuple[Sequence[bytes], int, object]]
"""(sockets, SEND | CLOSE | DROP, Data for SEND, (code, reason) for CLOSE), in the order made."""


class Holder(Protocol):
    """A process that holds connections, as a shard reaches it. Never raises; what is said to one that is gone is lost."""

    identity: str
    """Unique among all processes that were ever started here: "keeper 0 <random>"."""
    gone: bool

    def effects(self, object_id: bytes, number: int, cause: Cause | None, effects: Effects) -> None:
        """What a turn does to sockets. `number`: of its record in the object's outbox; holders drop what they have had,
        and answer with `Sockets.seen`. 0: it is not recorded."""
        ...

    def rules(self, object_id: bytes, rules: Rules) -> None:
        """Of all sockets of the object that it holds."""
        ...

    def ask(self, class_key: str, object_id: bytes) -> None:
        """Which sockets of the object it holds: it answers with `Sockets.held`."""
        ...


@dataclass(slots=True, eq=False)
class SocketCall(Call):
    """An event of one socket. Answered with b"" when it is handled and durable; with an error when it was not handled:
    Overloaded: deliver it again later, and nothing after it before; an error with durableObjectReset: the object was reset for
    its own fault; SocketUnknown: the object has no such socket, end the connection. A reset that is nobody's fault, or that
    the class wants its sockets to survive, is Overloaded here."""

    socket: bytes = b""
    what: int = MESSAGE
    number: int = 0
    """From 1, of MESSAGE, CLOSED and FAILED; 0 for OPENED."""
    acknowledged: int = 0
    """All of this socket up to here are acknowledged: nobody need remember that they were handled."""
    after: int = 0
    """The last one before it that is not acknowledged: when that has not begun here, it must come before this one. 0: none."""
    data: Data | Closing | None = None
    holder: Holder | None = None
    auto_ms: int | None = None
    """When the holder last answered by the rules, if it has since the last event: ms since the epoch."""
    end: WebSocket | None = None
    """An end that the object has accepted with accept(): its listeners hear of it. Never on the wire."""
    sent: int = 0
    """Entries of effects that the event's code has sent so far."""
    wrote: bool = False
    """A turn of the event has written."""
    over: bool = False
    """The handler has ended."""
    loose: list[tuple[int, Cause, list[tuple[list[bytes], int, object]]]] | None = None
    """What it has sent that is not recorded, each with its number in the outbox: there it goes with the event, if that is."""
    loose_bytes: int = 0


def event_inside(
    instance: Instance, socket: bytes, what: int, data: Data | Closing | None, answer: Callable[[Call, Result], None]
) -> SocketCall:
    """An event of a socket that begins in the object's own process."""
    payload = data if isinstance(data, str | bytes) else b""
    return SocketCall(
        instance.key.unique,
        instance.object_id,
        instance.name,
        SOCKET,
        METHODS[what],
        cast("bytes", payload),
        answer,
        socket=socket,
        what=what,
        data=data,
    )
