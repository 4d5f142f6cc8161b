"""One call on its way through an object: what arrived, and where the answer goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .http import HttpRequest
from .thenable import Thenable

if TYPE_CHECKING:
    from .exports import Parcel
    from .reference_calls import Reached
    from .references import Received

T = TypeVar("T")
REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""Of the request that the running code works for; travels with its calls."""
RPC = 0
FETCH = 1
OPERATE = 2
"""Asks the shard about an object, or about all that it has, outside any turn; `method` names the operation."""
ALARM = 3
"""The object's alarm is due. Never on the wire: the shard itself delivers it."""
PRE_SHUTDOWN = 4
"""The object is told that its process is about to end. Never on the wire either."""
REFERENCE = 5
"""What was sent by reference is called. On the wire it has frames of its own."""
Chain = tuple[tuple[bytes, int], ...]
"""Events that led to a call, outermost first: the object's id, and the number of its event there."""
CHAIN_LENGTH_MAX = 64  # calls inside calls: deeper is a program that recurses, and each call carries the whole chain
Trail = tuple[tuple[int, str], ...]
"""Beside each event of a chain: the number of the call that it made, which tells its concurrent calls apart, and the
object's class and name, for messages."""
LABEL_CHARACTERS_MAX = 80
KEY_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Extras:
    """What only some calls carry: the events that led to it (with the number of the call that each made), and its key."""

    chain: Chain = ()
    trail: Trail = ()
    key: str | None = None
    parcel: Parcel | None = None
    """What was exported for its arguments."""
    carries: bool = False
    """Of a call that arrives: its arguments need an importer."""
    within_s: float = inf
    """How long its caller waits. Travels here only with calls of references: others have it beside."""

    def to_wire(self) -> list[object]:
        """Plain values: [[[object id, event, call, label], …], key], and True if its arguments need an importer."""
        links = [[*link, *step] for link, step in zip(self.chain, self.trail, strict=True)]
        return [links, self.key] if self.parcel is None else [links, self.key, True]

    @classmethod
    def from_wire(cls, fields: object) -> Extras:
        """Raises ValueError, TypeError for what `to_wire` does not give, or what is over a bound."""
        links, key, *more = cast("list[Any]", fields)
        if len(links) > CHAIN_LENGTH_MAX:
            raise ValueError(f"a chain of {len(links)} calls")
        if key is not None and (type(key) is not str or not 0 < len(key) <= KEY_CHARACTERS_MAX):
            raise ValueError("no idempotency key")
        for object_id, event, number, label in links:
            if type(object_id) is not bytes or len(object_id) != 32 or type(event) is not int:
                raise ValueError("no chain")
            if type(number) is not int or type(label) is not str or len(label) > LABEL_CHARACTERS_MAX:
                raise ValueError("no trail")
        chain, trail = tuple((link[0], link[1]) for link in links), tuple((link[2], link[3]) for link in links)
        within_s = more[1] / 1000 if len(more) > 1 else inf
        return cls(chain, trail, key, None, bool(more and more[0]), within_s)


class MadeCall(Thenable, asyncio.Future[object]):
    """What code awaits that made a call. `call_number`: the one in its chain; 0: it was made outside of any object."""

    call_number: int = 0
    call_behind: asyncio.Future[Any] | None = None
    """What it waits for, if that is another future: `call_cycles` follows it."""

    def __getattr__(self, name: str) -> object:
        """A method or property of the result, before it is there."""
        if name.startswith("_"):
            raise AttributeError(name)
        from .pipelining import Pipelined  # which makes calls itself

        return Pipelined(self, (name,))

    def __call__(self, *args: object, **kwargs: object) -> MadeCall:
        """The result called, before it is there: it is a function."""
        from .pipelining import Pipelined

        return Pipelined(self, ())(*args, **kwargs)


Result = Any
"""What a call is answered with: bytes (the packed value), exports.Parcel, HttpResponse or PerdureError."""


def pass_on(work: asyncio.Future[T], to: asyncio.Future[T]) -> None:
    """Give `to` what `work` gives; cancelling `to` cancels `work`."""

    def come(_work: asyncio.Future[T]) -> None:
        if to.done():
            return
        if work.cancelled():
            to.cancel()
        elif work.exception() is not None:
            to.set_exception(cast("BaseException", work.exception()))
        else:
            to.set_result(work.result())

    work.add_done_callback(come)
    if isinstance(to, MadeCall):
        to.call_behind = work
    to.add_done_callback(lambda ended: ended.cancelled() and work.cancel())


@dataclass(slots=True, eq=False)
class Call:
    """A remote method call, a fetch or an operation. `answer(call, result)` is called exactly once, after the output gate."""

    class_key: str
    object_id: bytes
    name: str | None
    kind: int
    method: str
    payload: bytes
    """The packed list of arguments (`values.pack`), of OPERATE a dict; unused for FETCH."""
    answer: Callable[[Call, Result], None]
    request: HttpRequest | None = None
    request_id: str = ""
    deadline_s: float | None = None
    """Of an operation: monotonic seconds; None: no deadline."""
    within_s: float = inf
    """How long its caller waits, from `arrived_s` on."""
    handle: object | None = None
    """What the receiving side needs to cancel it."""
    origin: Any = None
    """What the sending side needs to route the answer."""
    arrived_s: float = 0.0
    """When it was queued at its object: monotonic seconds, coarse."""
    chain: Chain = ()
    """The events that it was made in, and those that led to them. Empty: it comes from outside."""
    trail: Trail = ()
    key: str | None = None
    """Idempotency key: the object answers a repeat with what it answered first."""
    received: Received | None = None
    """How its arguments are unpacked, if they need an importer."""
    reached: Reached | None = None
    """What a call of the kind REFERENCE is for."""
