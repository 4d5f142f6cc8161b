"""Between what travels and what programs see: the engine's HttpAdapter and the stub's FetchAdapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

from ..engine.errors import InvalidArgument, PerdureError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import end_body, leaving_body
from ..engine.thenable import Thenable, install
from . import crossing as crossing
from .fetching import REDIRECTS, AbortableBody, follow, unless_aborted
from .request import Request
from .response import Response
from .stream_pipes import abort_reason, on_abort
from .urls import normalise


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


class Fetching(Thenable):
    """The answer of a fetch that is already on its way: await it for the Response.

    When its signal fires it fails with the signal's reason, and what was asked for is cancelled. Redirects are followed to the
    same object, as the request's `redirect` says: those of a request that came from outside are answers.
    """

    def __init__(
        self,
        sent: Awaitable[HttpResponse],
        request: HttpRequest,
        mode: str,
        send: Callable[..., Awaitable[HttpResponse]],
        signal: object = None,
    ) -> None:
        self._sent, self._request, self._mode, self._send, self._signal = sent, request, mode, send, signal

    def __await__(self) -> Generator[object, None, Response]:
        try:
            answer = yield from self._sent.__await__()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if getattr(self._signal, "aborted", False) and not (task is not None and task.cancelling()):
                raise abort_reason(self._signal) from None
            raise
        url, followed = self._request.url, False
        if answer.status in REDIRECTS and self._mode != "manual":
            following = follow(_Begun(answer, self._send), self._request, self._mode)
            found = yield from unless_aborted(self._signal, following).__await__()
            answer, url, followed = found.response, found.url, found.redirected
        if self._signal is not None and isinstance(answer.body, AsyncIterator):
            answer.body = AbortableBody(answer.body, self._signal)
        response = Response.from_wire(answer)
        response.url, response.redirected = url, followed
        return response


class _Begun:
    """A Fetcher whose first answer is there already."""

    def __init__(self, first: HttpResponse, send: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        self._first: HttpResponse | None = first
        self._send = send

    async def send(self, request: HttpRequest) -> HttpResponse:
        first, self._first = self._first, None
        return first if first is not None else await self._send(request)


def fetch_through(
    send: Callable[[HttpRequest], Awaitable[HttpResponse]], request: object, init: dict[str, object]
) -> Fetching:
    """`stub.fetch(request, method=…)`. Raises InvalidArgument for a relative URL; awaiting it raises what the call raises."""
    try:
        made = request if isinstance(request, Request) and not init else Request(request, **init)
    except TypeError:
        _check_url(request)
        raise
    wire = made.to_wire()
    if "#" in wire.url:  # stays with who asks
        wire.url = wire.url.partition("#")[0]
    if made.signal is not None:
        send = _until_aborted(send, made.signal)
    if not isinstance(wire.body, AsyncIterator):
        return Fetching(send(wire), wire, made.redirect, send, made.signal)
    body = wire.body = leaving_body(wire.body)
    sent = send(wire)
    if isinstance(sent, asyncio.Future):
        sent.add_done_callback(lambda ended: _end_unsent(ended, body))
    else:  # it fails without having left
        end_body(body)
    return Fetching(sent, wire, made.redirect, send, made.signal)


def _until_aborted(
    send: Callable[[HttpRequest], Awaitable[HttpResponse]], signal: object
) -> Callable[[HttpRequest], asyncio.Future[HttpResponse]]:
    """The same, cancelled when the signal fires; what it has fired for already does not leave."""

    def begin(request: HttpRequest) -> asyncio.Future[HttpResponse]:
        stopping = on_abort(signal)
        assert stopping is not None, "there is a signal"
        if stopping.done():
            failed: asyncio.Future[HttpResponse] = stopping.get_loop().create_future()
            failed.set_exception(abort_reason(signal))
            return failed
        sent = asyncio.ensure_future(send(request))
        stopping.add_done_callback(lambda _: sent.cancel())
        sent.add_done_callback(lambda _: stopping.cancel())
        return sent

    return begin


def _check_url(url: object) -> None:
    """Raises InvalidArgument when it is what a request could not be made of."""
    try:
        if isinstance(url, str):
            normalise(url)
    except TypeError:
        raise InvalidArgument(
            f"Fetch API cannot load: {url}: Invalid URL: {url}",
            hint="give a URL with scheme and host, whatever host: http://object/path",
        ) from None


def _end_unsent(sent: asyncio.Future[HttpResponse], body: AsyncIterator[bytes]) -> None:
    """Nobody reads the body of a call that has failed."""
    if sent.cancelled() or sent.exception() is not None:
        end_body(body)


def _promise(work: Awaitable[Any]) -> object:
    from .js.promise import Promise  # few programs use promises

    return Promise(work)


install(_promise)
