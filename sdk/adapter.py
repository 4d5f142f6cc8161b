"""Between what travels and what programs see: the engine's HttpAdapter and the stub's FetchAdapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator

from ..engine.errors import PerdureError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import end_body, leaving_body
from .request import Request
from .response import Response


class SdkHttp:
    """Implements the engine's HttpAdapter with the SDK's classes."""

    def to_request(self, request: HttpRequest) -> Request:
        return Request.from_wire(request)

    async def from_response(self, response: object) -> HttpResponse:
        """What a handler returned, as it travels. Raises PerdureError when it is no Response."""
        if isinstance(response, Response):
            return response.to_wire()
        raise PerdureError(
            f"Incorrect type for Promise: the handler must return a Response, it returned {type(response).__name__}",
            name="TypeError",
            remote=True,
        )


class Fetching:
    """The answer of a fetch that is already on its way: await it for the Response."""

    def __init__(self, sent: Awaitable[HttpResponse]) -> None:
        self._sent = sent

    def __await__(self) -> Generator[object, None, Response]:
        return Response.from_wire((yield from self._sent.__await__()))


def fetch_through(
    send: Callable[[HttpRequest], Awaitable[HttpResponse]], request: object, init: dict[str, object]
) -> Fetching:
    """`stub.fetch(request, method=…)`. Raises TypeError for a relative URL; awaiting it raises what the call raises."""
    made = request if isinstance(request, Request) and not init else Request(request, **init)
    wire = made.to_wire()
    if not isinstance(wire.body, AsyncIterator):
        return Fetching(send(wire))
    body = wire.body = leaving_body(wire.body)
    sent = send(wire)
    if isinstance(sent, asyncio.Future):
        sent.add_done_callback(lambda ended: _end_unsent(ended, body))
    else:  # it fails without having left
        end_body(body)
    return Fetching(sent)


def _end_unsent(sent: asyncio.Future[HttpResponse], body: AsyncIterator[bytes]) -> None:
    """Nobody reads the body of a call that has failed."""
    if sent.cancelled() or sent.exception() is not None:
        end_body(body)
