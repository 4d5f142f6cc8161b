"""What all objects of one class share: the program's class, its `env`, and how its HTTP messages are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .http import HttpRequest, HttpResponse
from .ids import ClassKey
from .limits import Limits
from .web_socket import NEWEST, Behaviour


class HttpAdapter(Protocol):
    """How the SDK's Request and Response are made from, and turned into, what travels."""

    def to_request(self, request: HttpRequest) -> object: ...
    async def from_response(self, response: object) -> HttpResponse: ...


@dataclass(slots=True, eq=False)
class ClassRuntime:
    """What all objects of one class share: the program's class, its `env`, its HTTP adapter."""

    key: ClassKey
    name: str
    cls: type
    env: object
    http: HttpAdapter
    sqlite: bool = True
    delete_all_deletes_alarm: bool = True
    """`deleteAll` disarms the alarm too (compatibility date 2026-02-24)."""
    pending_prevents_eviction: bool = True
    """Tasks, timers and calls keep an object that nobody calls in memory (compatibility date 2026-10-01)."""
    errors_keep_properties: bool = True
    """What a program sets on an exception reaches the caller (compatibility date 2026-04-21)."""
    legacy_handler_names: bool = False
    """Handlers are `on_fetch`, `on_alarm`, … (before compatibility date 2025-08-14)."""
    exports: object = None
    """`ctx.exports`: the program's own classes as bindings."""
    blocking: bool = False
    """Its code uses `run_sync`: steps are made on stacks of their own (`blocking`)."""
    limits: Limits | None = None
    """Bounds of the class's own; None: the shard's."""
    subrequests_max: int = 0
    """Fetches and calls that one event may make; 0: they are not counted."""
    sockets: Behaviour = NEWEST
    """What its WebSockets do by the program's compatibility date."""
