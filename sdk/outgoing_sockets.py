"""`new WebSocket(url)`: a connection to a server elsewhere (spec: websockets; sdk, js).

What always holds: it asks as `fetch` does, past the output gate of the object that connects; it tells `open` before any message,
and `close` once, after `error` when it could not connect; a redirect is a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from ..engine.closing_codes import ABNORMAL, NOT_CLEAN
from ..engine.errors import InvalidArgument, NetworkError, PerdureError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.outgoing import send_out
from ..engine.subrequests import Counting, Subrequests, of_running
from ..engine.upgrades import offered
from ..engine.web_socket import WebSocket
from .fetching import fetcher_of_process
from .headers import value_of
from .urls import normalise

_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def connect(url: str, protocols: object = None) -> WebSocket:
    """Begin to connect. `url`: ws, wss, http or https. `protocols`: one name, or several.

    Raises InvalidArgument (SyntaxError) for URLs and names that cannot be.
    """
    address, names = _address(url), _names(protocols)
    scheme, _, rest = address.partition("://")
    socket = WebSocket.connecting(f"{'wss' if scheme == 'https' else 'ws'}://{rest}")
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    if names:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(names)))
    request = HttpRequest("GET", address, headers)
    left = of_running() if Counting.on else None
    asked = send_out(lambda: _open(request, socket, left), ends=True)
    _asked.add(asking := asyncio.ensure_future(asked))
    asking.add_done_callback(_done)
    return socket


_asked: set[asyncio.Future[None]] = set()
"""The loop alone does not keep them."""


def _done(asking: asyncio.Future[None]) -> None:
    _asked.discard(asking)
    if not asking.cancelled():
        asking.exception()  # it was told to the socket


async def _open(request: HttpRequest, socket: WebSocket, left: Subrequests | None) -> None:
    try:
        if left is not None and (late := left.take()) is not None:
            raise late
        response = await fetcher_of_process().send(request)
        if response.web_socket is None:
            await _drop(response)
            raise NetworkError(
                f"{socket.url} answered with status {response.status}: it does not speak WebSocket there, or refuses"
            )
        chosen = value_of(response.headers, "sec-websocket-protocol") or ""
        if chosen and chosen not in offered(request.headers):
            response.web_socket.take(socket).close(ABNORMAL, "")
            raise NetworkError(f"{socket.url} chose the protocol {chosen!r}, which was not offered")
    except (PerdureError, OSError) as error:
        socket.broke(error.message if isinstance(error, PerdureError) else str(error))
        socket.ended(ABNORMAL, NOT_CLEAN, False)
        return
    line = response.web_socket.take(socket)
    socket.opened(line, chosen, value_of(response.headers, "sec-websocket-extensions") or "")


async def _drop(response: HttpResponse) -> None:
    closer = getattr(response.body, "aclose", None)
    if closer is not None:
        await closer()


def _address(url: str) -> str:
    try:
        parts = urlsplit(normalise(url))
    except TypeError:
        raise InvalidArgument(f"WebSocket Constructor: the url is invalid: {url}", name="SyntaxError") from None
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None:
        raise InvalidArgument(
            f"WebSocket Constructor: The url scheme must be ws, wss, http or https, got {parts.scheme}",
            name="SyntaxError",
        )
    if parts.fragment:
        raise InvalidArgument("WebSocket Constructor: The url fragment must be empty.", name="SyntaxError")
    return parts._replace(scheme=scheme).geturl()


def _names(protocols: object) -> list[str]:
    if protocols is None:
        return []
    names = [protocols] if isinstance(protocols, str) else [str(each) for each in cast("Iterable[object]", protocols)]
    if len(set(names)) < len(names) or any(not name or not _TOKEN.issuperset(name) for name in names):
        raise InvalidArgument(
            f"WebSocket Constructor: the protocol header token is invalid: {', '.join(names)}", name="SyntaxError"
        )
    return names
