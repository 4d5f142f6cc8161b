"""The HTTP client behind `fetch`: one pool of connections a process, over aiohttp.

What always holds: it follows no redirect and keeps no cookie; bodies stream both ways with back-pressure; an answer whose body
nobody reads gives its connection back when it is forgotten; all that goes wrong is a NetworkError.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

from ..engine.errors import NetworkError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.upgrades import is_upgrade
from .outgoing_body import ClientBody
from .outgoing_sockets import open_socket, raise_redirect

if TYPE_CHECKING:
    from aiohttp import ClientSession

CONNECT_S_MAX = 30.0
SILENCE_S_MAX = 300.0
"""How long nothing may come of an answer that has begun, or is awaited."""
CONNECTIONS_MAX = 1000
SOCKETS_MAX = 1000
"""WebSockets that are open at the same time; who asks for more waits, at most CONNECT_S_MAX."""
KEEP_ALIVE_S = 30.0
_LINE_BYTES_MAX = 64 << 10
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection: they mean nothing to the next."""
_OURS = _HOP_BY_HOP | {"host", "content-length", "expect"}
"""Headers of a request that the client writes itself."""
_CODINGS = frozenset({"gzip", "deflate", "identity"})
"""What it can decode: answers must not come in anything else."""


def _sent_headers(request: HttpRequest) -> list[tuple[str, str]]:
    streamed = isinstance(request.body, AsyncIterator)
    found: list[tuple[str, str]] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "accept-encoding":
            found.append((name, _accepted(value)))
        elif lower not in _OURS or (lower == "content-length" and streamed):
            found.append((name, value))
    if not any(name.lower() == "accept-encoding" for name, _ in found):
        found.append(("Accept-Encoding", "gzip, deflate"))
    return found


def _accepted(value: str) -> str:
    """Of what a program accepts, or passes on from its client, the part that is decoded here."""
    codings = [coding.strip() for coding in value.split(",")]
    kept = [coding for coding in codings if coding.split(";")[0].strip().lower() in _CODINGS]
    return ", ".join(kept) or "identity"


def _received_headers(raw: tuple[tuple[bytes, bytes], ...]) -> list[tuple[str, str]]:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
    return [pair for pair in pairs if pair[0].lower() not in _HOP_BY_HOP]


class HttpClient:
    """Implements the SDK's Fetcher. Make it on its loop; its library is imported with the first request."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None
        self._sockets: ClientSession | None = None
        """For WebSockets: it refuses redirects, and has no bound in time."""
        self._context: Context = copy_context()
        """Of no object: connections outlive the events that open them."""

    def _open(self) -> ClientSession:
        if self._session is None:
            import aiohttp  # it costs what a process that asks nobody should not pay

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX, sock_read=SILENCE_S_MAX),
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
                max_line_size=_LINE_BYTES_MAX,
                max_field_size=_LINE_BYTES_MAX,
            )
        return self._session

    async def send(self, request: HttpRequest) -> HttpResponse:
        """One request, one answer; its body is read as it is wanted. Raises NetworkError."""
        session = self._open()
        import aiohttp
        import yarl

        try:
            if is_upgrade(request.headers):
                return await open_socket(self._open_sockets(), request)
            answer = await session.request(
                request.method,
                yarl.URL(request.url.partition("#")[0], encoded=True),
                headers=_sent_headers(request),
                data=request.body,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, UnicodeError, ValueError) as error:
            raise NetworkError(
                f"Network connection lost: {request.method} {request.url.partition('?')[0]}: {_say(error)}"
            ) from error
        headers = _received_headers(answer.raw_headers)
        if request.method == "HEAD" or answer.status in (204, 205, 304):
            answer.release()
            return HttpResponse(answer.status, headers, None, answer.reason or "")
        if answer.content.at_eof():
            answer.release()
            return HttpResponse(answer.status, headers, b"", answer.reason or "")
        return HttpResponse(answer.status, headers, ClientBody(answer, self._context), answer.reason or "")

    def _open_sockets(self) -> ClientSession:
        if self._sockets is None:
            import aiohttp

            redirects = aiohttp.TraceConfig()
            redirects.on_request_redirect.append(raise_redirect)  # pyright: ignore[reportArgumentType]
            self._sockets = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=SOCKETS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=CONNECT_S_MAX, sock_connect=CONNECT_S_MAX),
                skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
                trace_configs=[redirects],
            )
        return self._sockets

    async def close(self) -> None:
        """Close every connection; what is being read breaks off."""
        for session in (self._session, self._sockets):
            if session is not None:
                await session.close()
        self._session = self._sockets = None


def _say(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
