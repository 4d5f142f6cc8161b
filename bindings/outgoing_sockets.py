"""WebSockets that programs open to servers elsewhere, over aiohttp: the line of one, and how it is opened.

What always holds: redirects are answers, never followed; messages leave in the order sent, and a Close frame after them; what is
not yet sent is bounded; nobody's connection ends after a while, and so does one whose peer is silent.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable
from contextvars import Context
from typing import TYPE_CHECKING, cast

from ..engine.closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN
from ..engine.http import HttpRequest, HttpResponse
from ..engine.limits import VALUE_BYTES_MAX
from ..engine.socket_calls import Data
from ..engine.upgrades import offered
from ..engine.web_socket import Use, WebSocket

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse

WAITING_BYTES_MAX = 64 << 20
"""Of one socket, not yet sent; above it the connection ends."""
STEP_BYTES = 1 << 20
"""`await socket.send(…)` waits while more than this is not yet sent."""
CLOSE_S_MAX = 10.0
"""How long the peer may take to answer a Close frame."""
UNUSED_S_MAX = 60.0
"""How long an open connection may wait to be accepted."""
SILENCE_S = 30.0
"""A peer that is silent is pinged after so long; one that does not answer for half of it is gone."""
_COMPRESSION_WINDOW_BITS = 15
_MINE = frozenset({"upgrade", "connection", "host", "content-length", "transfer-encoding"})
_CHOSEN = "sec-websocket-"


class _Redirected(Exception):
    """A redirect came instead of the upgrade."""

    def __init__(self, answer: ClientResponse) -> None:
        super().__init__()
        self.status, self.headers = answer.status, answer.raw_headers


async def raise_redirect(_session: object, _context: object, params: object) -> None:
    """A session's hook: aiohttp would follow redirects of an upgrade by itself."""
    raise _Redirected(cast("ClientResponse", cast("object", params.response)))  # type: ignore[attr-defined]


async def open_socket(session: ClientSession, request: HttpRequest) -> HttpResponse:
    """Ask for a WebSocket: status 101 with `web_socket`, or what came instead, without a body. Raises what aiohttp raises.

    `session`: one whose redirects `raise_redirect` refuses.
    """
    import aiohttp
    import yarl

    headers = [
        pair for pair in request.headers if pair[0].lower() not in _MINE and not pair[0].lower().startswith(_CHOSEN)
    ]
    try:
        connection = await session.ws_connect(
            yarl.URL(request.url.partition("#")[0], encoded=True),
            headers=headers,
            protocols=offered(request.headers),
            autoclose=False,
            heartbeat=SILENCE_S,
            compress=_COMPRESSION_WINDOW_BITS,
            max_msg_size=VALUE_BYTES_MAX,
        )
    except _Redirected as answer:
        return HttpResponse(answer.status, _pairs(answer.headers), None)
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 101:
            raise
        return HttpResponse(error.status, list(error.headers.items()) if error.headers else [], None)
    answer = connection._response  # pyright: ignore[reportPrivateUsage] - it has the headers, and closes the connection
    line = SocketLine(connection, answer)
    line.socket = WebSocket.of_line(
        line,
        url=str(answer.url),
        protocol=answer.headers.get("sec-websocket-protocol", ""),
        extensions=answer.headers.get("sec-websocket-extensions", ""),
    )
    line.begin()
    return HttpResponse(101, _pairs(answer.raw_headers), None, answer.reason or "", line.socket)


def _pairs(raw: tuple[tuple[bytes, bytes], ...]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


class SocketLine:
    """Implements the engine's Line; its tasks run outside of the objects that use it."""

    socket: WebSocket

    def __init__(self, connection: ClientWebSocketResponse, answer: ClientResponse) -> None:
        self.buffered = 0
        self._connection = connection
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Data | tuple[int | None, str]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closing = False
        self._heard = False
        """The socket knows that it has ended."""

    def begin(self) -> None:
        """Read what comes; nobody's connection ends by and by."""
        _tasks.add(task := self._loop.create_task(self._read(), name="outgoing WebSocket", context=Context()))
        task.add_done_callback(_tasks.discard)
        self._loop.call_later(UNUSED_S_MAX, self._check_used, context=Context())

    def _check_used(self) -> None:
        if self.socket.use is Use.NONE:
            self._cut()

    # ------------------------------------------------------------------ out
    def send(self, data: Data) -> Awaitable[None] | None:
        """See Line. More than WAITING_BYTES_MAX that is not yet sent ends the connection."""
        if self._closing or self._heard:
            return None
        self.buffered += len(data)
        self._waiting.append(data)
        if self.buffered > WAITING_BYTES_MAX:
            self._cut()
            return None
        self._write()
        if self.buffered <= STEP_BYTES:
            return None
        if self._room is None or self._room.done():
            self._room = self._loop.create_future()
        return self._room

    def close(self, code: int | None, reason: str) -> None:
        """See Line."""
        if self._closing:
            return
        if code == ABNORMAL:
            self._cut()
            return
        self._closing = True
        self._waiting.append((code, reason))
        self._write()
        self._loop.call_later(CLOSE_S_MAX, self._cut, context=Context())

    def _write(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = self._loop.create_task(self._write_all(), name="outgoing WebSocket", context=Context())

    async def _write_all(self) -> None:
        import aiohttp

        try:
            while self._waiting:
                each = self._waiting.popleft()
                if isinstance(each, str):
                    await self._connection.send_str(each)
                elif isinstance(each, bytes):
                    await self._connection.send_bytes(each)
                else:
                    code, reason = each
                    payload = b"" if code is None else struct.pack("!H", code) + reason.encode()
                    await self._connection.send_frame(payload, aiohttp.WSMsgType.CLOSE)
                    if self._heard:  # it was the answer to the peer's
                        self._answer.close()
                    return
                self.buffered -= len(each)
                if self.buffered <= STEP_BYTES:
                    self._let_go()
        except (aiohttp.ClientError, OSError):
            self._cut()

    def _let_go(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _cut(self) -> None:
        """End it without a handshake."""
        self._closing = True
        self._waiting.clear()
        self.buffered = 0
        self._let_go()
        self._answer.close()
        self._ended(ABNORMAL, NOT_CLEAN, False)

    # ------------------------------------------------------------------ in
    async def _read(self) -> None:
        import aiohttp

        kinds = aiohttp.WSMsgType
        while not self._heard:
            message = await self._connection.receive()
            if message.type is kinds.TEXT or message.type is kinds.BINARY:
                self.socket.arrive(message.data)
            elif message.type is kinds.CLOSE:
                self._ended(cast("int", message.data) or NO_CODE, message.extra or "", True)
                if self._closing and not self._waiting and (self._writing is None or self._writing.done()):
                    self._answer.close()
            elif message.type is kinds.ERROR:
                if not self._heard:
                    self.socket.broke(f"WebSocket protocol error: {message.data}")
                self._cut()
            elif message.type in (kinds.CLOSED, kinds.CLOSING):
                self._cut()

    def _ended(self, code: int, reason: str, clean: bool) -> None:
        if self._heard:
            return
        self._heard = True
        self.socket.ended(code, reason, clean)
        if clean:  # a program that does not answer is not waited for
            self._loop.call_later(CLOSE_S_MAX, self._answer.close, context=Context())


_tasks: set[asyncio.Task[None]] = set()
"""The loop alone does not keep them."""
