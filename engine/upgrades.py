"""Requests that ask for a WebSocket, and what they may be answered with (spec: websockets).

What always holds: a response with a socket goes only to a request that asked for one.
"""

from __future__ import annotations

from collections.abc import Iterable

from .errors import ProgramBug
from .http import HttpRequest, HttpResponse

Pairs = Iterable[tuple[str, str]]


def is_upgrade(headers: Pairs) -> bool:
    """Whether the request that they are of asks for a WebSocket."""
    return any(name.lower() == "upgrade" and value.strip().lower() == "websocket" for name, value in headers)


def checked(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The response, where it may have a socket. Raises ProgramBug (TypeError)."""
    if response.web_socket is not None and not is_upgrade(request.headers):
        raise ProgramBug(
            "Worker tried to return a WebSocket in a response to a request which did not contain the header "
            '"Upgrade: websocket".',
            name="TypeError",
            hint="answer other requests with a plain response: if request.headers.get('Upgrade') != 'websocket': …",
        )
    return response


def offered(headers: Pairs) -> list[str]:
    """The sub-protocols that a request names, in its order."""
    found = ",".join(value for name, value in headers if name.lower() == "sec-websocket-protocol")
    return [name for name in (each.strip() for each in found.split(",")) if name]
