"""A request and a response as they travel between processes; the SDK wraps them in what programs see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .web_socket import WebSocket

Headers = list[tuple[str, str]]
Body = bytes | AsyncIterator[bytes] | None
"""None: no body. bytes: whole. An async iterator: streamed in chunks, with back-pressure."""


@dataclass(slots=True)
class HttpRequest:
    """One request. `url` is absolute; header names keep their case."""

    method: str
    url: str
    headers: Headers
    body: Body = None


@dataclass(slots=True)
class HttpResponse:
    """One response. `headers` may repeat a name."""

    status: int
    headers: Headers
    body: Body = None
    status_text: str = ""
    web_socket: WebSocket | None = None
    """The client's end, of a response to an upgrade."""
