"""What a world's programs find outside when they `fetch`: handlers that the test gives. Nothing leaves the process.

What always holds: a URL that no handler was given for is an error that says so; handlers run outside of the objects that ask,
in the world's time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from ..engine.errors import NetworkError
from ..engine.http import HttpRequest, HttpResponse
from ..sdk.request import Request
from ..sdk.response import Response
from ..sdk.urls import normalise

Answer = Callable[[Request], object]
"""Gives a Response, or what one is made of: a text, bytes, a status, a dict or list (as JSON); or an awaitable of these."""


class Outside:
    """Implements the SDK's Fetcher with handlers."""

    def __init__(self) -> None:
        self._handlers: dict[str, Answer] = {}

    def add(self, prefix: str, handler: Answer) -> None:
        """URLs that begin with `prefix` ask `handler`; of several the longest. Raises TypeError for a relative one."""
        self._handlers[normalise(prefix)] = handler

    async def send(self, request: HttpRequest) -> HttpResponse:
        found = [prefix for prefix in self._handlers if request.url.startswith(prefix)]
        if not found:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise NetworkError(
                f"no handler of the test answers {request.method} {request.url}",
                hint=f"world.on_fetch(url_prefix, handler) gives one; given: {known}",
            )
        result = self._handlers[max(found, key=len)](Request.from_wire(request))
        if hasattr(result, "__await__"):
            result = await cast("Awaitable[object]", result)
        return _response(result).to_wire()


def _response(result: object) -> Response:
    if isinstance(result, Response):
        return result
    if isinstance(result, int):
        return Response(None, status=result)
    if isinstance(result, dict | list):
        return Response.from_json(cast("object", result))
    return Response(result)
