"""One call on its way through an object: what arrived, and where the answer goes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from .errors import PerdureError
from .http import HttpRequest, HttpResponse

REQUEST_ID: ContextVar[str] = ContextVar("request id", default="")
"""Of the request that the running code works for; travels with its calls."""
RPC = 0
FETCH = 1
OPERATE = 2
"""Asks the shard about an object, or about all that it has, outside any turn; `method` names the operation."""
ALARM = 3
"""The object's alarm is due. Never on the wire: the shard itself delivers it."""
Chain = tuple[tuple[bytes, int], ...]
"""Events that led to a call, outermost first: the object's id, and the number of its event there."""
CHAIN_LENGTH_MAX = 64  # calls inside calls: deeper is a program that recurses, and each call carries the whole chain
KEY_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Extras:
    """What only some calls carry: the events that led to it (with the number of the call that each made), and its key."""

    chain: Chain = ()
    numbers: tuple[int, ...] = ()
    """Of the call that each event of the chain made: tells its concurrent calls apart."""
    key: str | None = None

    def to_wire(self) -> list[object]:
        """Plain values: [[[object id, event, call], …], key]."""
        links = [[*link, number] for link, number in zip(self.chain, self.numbers, strict=True)]
        return [links, self.key]

    @classmethod
    def from_wire(cls, fields: object) -> Extras:
        """Raises ValueError, TypeError for what `to_wire` does not give, or what is over a bound."""
        links, key = cast("list[Any]", fields)
        if len(links) > CHAIN_LENGTH_MAX:
            raise ValueError(f"a chain of {len(links)} calls")
        if key is not None and (type(key) is not str or not 0 < len(key) <= KEY_CHARACTERS_MAX):
            raise ValueError("no idempotency key")
        for object_id, event, number in links:
            if (
                type(object_id) is not bytes
                or len(object_id) != 32
                or type(event) is not int
                or type(number) is not int
            ):
                raise ValueError("no chain")
        return cls(tuple((link[0], link[1]) for link in links), tuple(link[2] for link in links), key)


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
    answer: Callable[[Call, bytes | HttpResponse | PerdureError], None]
    request: HttpRequest | None = None
    request_id: str = ""
    deadline_s: float | None = None
    """Monotonic seconds; None: no deadline."""
    handle: object | None = None
    """What the receiving side needs to cancel it."""
    origin: Any = None
    """What the sending side needs to route the answer."""
    arrived_s: float = 0.0
    """When it was queued at its object: monotonic seconds, coarse."""
    chain: Chain = ()
    """The events that it was made in, and those that led to them. Empty: it comes from outside."""
    numbers: tuple[int, ...] = ()
    """For each event of the chain: the number of the call that it made."""
    key: str | None = None
    """Idempotency key: the object answers a repeat with what it answered first."""
