"""`fetch`: ask the world outside over HTTP (spec: sdk, fetch; redirects as the fetch standard has them).

What always holds: the SDK does no I/O: what asks is handed in by the process (`Fetcher`); of an object a request leaves past its
output gate, and its answer comes back by its input gate; a body that can be sent once only is never sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypedDict, TypeVar, cast
from urllib.parse import urlsplit

from ..engine.errors import NetworkError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import arriving_body, arriving_socket, end_body, leaving_body, send_out
from ..engine.subrequests import Counting, Subrequests, of_running
from .headers import value_of
from .request import Request
from .response import Response
from .stream_pipes import abort_reason, on_abort
from .urls import normalise

REDIRECTS_MAX = 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OF_BODIES = frozenset({"content-encoding", "content-language", "content-length", "content-location", "content-type"})
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Headers that are for one origin only."""
T = TypeVar("T")


class Fetcher(Protocol):
    """What a process asks the world outside with."""

    def send(self, request: HttpRequest) -> Awaitable[HttpResponse]:
        """One request, one answer: redirects are answers. `request.url` is http or https.

        One that asks for a WebSocket may be answered with `web_socket`: a connection that is open, and not accepted yet.
        Raises NetworkError where there is no answer. Whoever does not read the answer's body closes it.
        """
        ...


class FetchKwargs(TypedDict, total=False):
    """What `fetch` takes beside the URL."""

    method: object
    headers: object
    body: object
    redirect: str
    cf: object
    signal: object
    fetcher: object


_installed: list[Fetcher] = []


def install(fetcher: Fetcher) -> Callable[[], None]:
    """`fetch` asks this one from now on; call what it gives to take it away again."""
    _installed.append(fetcher)
    return lambda: _installed.remove(fetcher)


def fetcher_of_process() -> Fetcher:
    """What was installed last. Raises NetworkError where nothing was."""
    if not _installed:
        raise NetworkError(
            "fetch() has nothing to ask with: it works in programs that perdure runs",
            hint="serve the program with `perdure run`, or test it in a perdure.testing World",
        )
    return _installed[-1]


async def fetch(resource: object, **options: object) -> Response:
    """Ask a URL or a Request. Options: method, headers, body, redirect, cf, signal, fetcher; others are ignored.

    `fetcher`: a binding, or its `fetch`, that is asked instead of the network. Raises OSError when there is no answer, TypeError
    for URLs and options that cannot be, what `signal` was aborted with.
    """
    binding = options.pop("fetcher", None)
    request = resource if isinstance(resource, Request) and not options else Request(resource, **options)
    if getattr(request.signal, "aborted", False):
        raise abort_reason(request.signal)
    if binding is not None:
        ask = getattr(binding, "fetch", binding)
        return await unless_aborted(request.signal, cast("Callable[[Request], Awaitable[Response]]", ask)(request))
    fetcher, mode = _counted(fetcher_of_process()), request.redirect
    wire = request.to_wire()
    if isinstance(wire.body, AsyncIterator):
        wire.body = leaving_body(wire.body)
    try:
        found = await unless_aborted(request.signal, send_out(lambda: follow(fetcher, wire, mode), ends=True))
    except BaseException:
        end_body(wire.body)
        raise
    if isinstance(found.response.body, AsyncIterator):
        found.response.body = arriving_body(found.response.body)
    if found.response.web_socket is not None:
        arriving_socket(found.response.web_socket)
    response = Response.from_wire(found.response)
    response.url, response.redirected = found.url, found.redirected
    if request.signal is not None and isinstance(found.response.body, AsyncIterator):
        response._body = AbortableBody(found.response.body, request.signal)  # pyright: ignore[reportPrivateUsage]
    return response


class _Counted:
    """Each request of a chain of redirects counts for the event that asked (`limits.subrequests`)."""

    def __init__(self, fetcher: Fetcher, left: Subrequests) -> None:
        self._fetcher, self._left = fetcher, left

    async def send(self, request: HttpRequest) -> HttpResponse:
        error = self._left.take()
        if error is not None:
            raise error
        return await self._fetcher.send(request)


def _counted(fetcher: Fetcher) -> Fetcher:
    left = of_running() if Counting.on else None
    return fetcher if left is None else _Counted(fetcher, left)


async def unless_aborted(signal: object, asked: Awaitable[T]) -> T:
    """What `asked` gives; it is cancelled when the signal fires. Raises what that was aborted with."""
    if signal is None:
        return await asked
    stopping = on_abort(signal)
    assert stopping is not None
    asking = asyncio.ensure_future(asked)
    try:
        await asyncio.wait((asking, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            stopping.result()
        return asking.result()
    finally:
        stopping.cancel()
        if not asking.done():
            asking.cancel()


class AbortableBody(AsyncIterator[bytes]):
    """A body that fails when a signal fires."""

    def __init__(self, body: AsyncIterator[bytes], signal: object) -> None:
        self._body = body
        self._signal = signal

    async def __anext__(self) -> bytes:
        try:
            if getattr(self._signal, "aborted", False):
                raise abort_reason(self._signal)
            return await unless_aborted(self._signal, _next(self._body))
        except StopAsyncIteration:
            raise
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        closer = getattr(self._body, "aclose", None)
        if closer is not None:
            await closer()


async def _next(body: AsyncIterator[bytes]) -> bytes:
    return await anext(body)


# ---------------------------------------------------------------------- redirects
@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and where it was found."""

    response: HttpResponse
    url: str
    redirected: bool = False


def redirected(request: HttpRequest, response: HttpResponse) -> HttpRequest | None:
    """The request that a redirect asks for; None when it asks for none. Raises NetworkError when it cannot be followed."""
    location = value_of(response.headers, "location")
    if response.status not in REDIRECTS or location is None:
        return None
    try:
        url = normalise(location, request.url)
    except TypeError:
        raise NetworkError(f"Invalid redirect URL: {location}") from None
    before, after = urlsplit(request.url), urlsplit(url)
    if after.scheme not in ("http", "https"):
        raise NetworkError(f"Invalid redirect URL: {url}: it must be http or https")
    if before.fragment and not after.fragment:
        url = f"{url}#{before.fragment}"
    headers, method, body = request.headers, request.method, request.body
    turned = method not in ("GET", "HEAD") if response.status == 303 else method == "POST" and response.status < 303
    if turned:
        method, body = "GET", None
        headers = [pair for pair in headers if pair[0].lower() not in _OF_BODIES]
    elif body is not None and not isinstance(body, bytes):
        raise NetworkError(
            "A request with a one-time-use body (it came from a stream) was redirected, and would have to be sent again",
            name="TypeError",
            hint="make the request of text or bytes, or take redirects yourself: redirect='manual'",
        )
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        headers = [pair for pair in headers if pair[0].lower() not in _SECRET]
    return replace(request, method=method, url=url, headers=headers, body=body)


async def follow(fetcher: Fetcher, request: HttpRequest, mode: str) -> Found:
    """Ask, and go where redirects lead as long as `mode` ("follow", "manual", "error") says so. Raises NetworkError."""
    if urlsplit(request.url).scheme not in ("http", "https"):
        raise NetworkError(f"Fetch API cannot load: {request.url}", hint="fetch() speaks http and https")
    for count in range(REDIRECTS_MAX + 1):
        response = await fetcher.send(request)
        if mode == "manual":
            return Found(response, request.url)
        try:
            further = redirected(request, response)
        except NetworkError:
            await _drop(response)
            raise
        if further is None:
            return Found(response, request.url, count > 0)
        await _drop(response)
        if mode == "error":
            raise NetworkError(f"{request.url} redirects, and redirect='error' was asked for")
        request = further
    raise NetworkError(f"Too many redirects: more than {REDIRECTS_MAX}")


async def _drop(response: HttpResponse) -> None:
    closer = getattr(response.body, "aclose", None)
    if closer is not None:
        await closer()
