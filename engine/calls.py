"""One call on its way through an object: what arrived, and where the answer goes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

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
    key: str | None = None
    """Idempotency key: the object answers a repeat with what it answered first."""
