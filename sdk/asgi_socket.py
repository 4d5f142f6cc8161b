"""One WebSocket of an ASGI application (spec: sdk, asgi).

What always holds: the application is told of the connection at once; nothing is answered to who asked before it accepts or
refuses; what it has not read is bounded; it hears that the socket has ended once, last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from ..engine.closing_codes import NO_CODE, TRY_AGAIN_LATER
from ..engine.web_socket import WebSocket
from ..engine.web_socket_pair import WebSocketPair
from .asgi_lifespan import Message
from .response import Response

WAITING_MESSAGES_MAX = 4_096
WAITING_BYTES_MAX = 64 << 20
"""Not yet received by the application; above these the socket is closed with 1013."""
_REFUSED, _INTERNAL_ERROR = 403, 1011


class SocketExchange:
    """`receive` and `send` of one socket; the response to the upgrade is set once, in `waiting`."""

    def __init__(self, waiting: asyncio.Future[Response]) -> None:
        self._waiting = waiting
        self._events: deque[Message] = deque([{"type": "websocket.connect"}])
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._bytes = 0
        self._server: WebSocket | None = None
        self._closed = False
        """Nothing leaves any more."""
        self._told_end = False
        self._refusal: Message | None = None
        self._refusal_body: list[bytes] = []

    # ------------------------------------------------------------------ towards the application
    async def receive(self) -> Message:
        """That it is asked for; messages; that it has ended, also when the application has closed it."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        self._bytes -= len(event.get("text") or event.get("bytes") or "")
        return event

    def _tell(self, event: Message) -> None:
        self._events.append(event)
        self._arrived.set()

    def _heard(self, event: Any) -> None:
        data = event.data
        self._bytes += len(data)
        if len(self._events) >= WAITING_MESSAGES_MAX or self._bytes > WAITING_BYTES_MAX:
            self._end(TRY_AGAIN_LATER, "the application does not read")
        elif isinstance(data, str):
            self._tell({"type": "websocket.receive", "text": data, "bytes": None})
        else:
            self._tell({"type": "websocket.receive", "text": None, "bytes": bytes(data)})

    def _disconnected(self, event: Any) -> None:
        self._closed = True
        self._tell_end(event.code, event.reason)

    def _tell_end(self, code: int, reason: str) -> None:
        if not self._told_end:
            self._told_end = True
            self._tell({"type": "websocket.disconnect", "code": code, "reason": reason})

    # ------------------------------------------------------------------ from the application
    async def send(self, message: Message) -> None:
        """Raises RuntimeError for messages out of their order. What is sent to a socket that has ended is dropped."""
        kind = message["type"]
        if kind == "websocket.accept" and self._server is None and not self._closed:
            self._accept(message)
        elif kind == "websocket.send" and self._server is not None:
            await self._send(message)
        elif kind == "websocket.close":
            self._close(message)
        elif kind == "websocket.http.response.start" and self._server is None and self._refusal is None:
            self._refusal, self._closed = message, True
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._refusal_body.append(bytes(message.get("body") or b""))
            if not message.get("more_body", False):
                self._refuse(int(self._refusal["status"]), _pairs(self._refusal), b"".join(self._refusal_body))
        elif not (self._closed and kind == "websocket.send"):
            raise RuntimeError(f"ASGI: {kind} was sent out of order")

    def _accept(self, message: Message) -> None:
        client, server = WebSocketPair()
        headers = _pairs(message)
        if message.get("subprotocol"):
            headers.append(("sec-websocket-protocol", str(message["subprotocol"])))
        server.addEventListener("message", self._heard)
        server.addEventListener("close", self._disconnected)
        server.accept()
        self._server = server
        if not self._waiting.done():
            self._waiting.set_result(Response(None, status=101, headers=headers, web_socket=client))

    async def _send(self, message: Message) -> None:
        if self._closed or self._server is None:
            return
        data = message.get("text")
        if data is None:
            data = bytes(message.get("bytes") or b"")
        await self._server.send(data)

    def _close(self, message: Message) -> None:
        if self._server is None:
            self._closed = True
            self._refuse(_REFUSED, [], b"")
            return
        code = message.get("code")
        self._end(1000 if code is None else int(code), str(message.get("reason") or ""))

    def _end(self, code: int, reason: str) -> None:
        if not self._closed and self._server is not None:
            self._closed = True
            self._server.close(code, reason)
            self._tell_end(code, reason)

    def _refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not self._waiting.done():
            self._waiting.set_result(Response(body or None, status=status, headers=headers))
        self._tell_end(NO_CODE if self._refusal is not None else 1006, "")

    # ------------------------------------------------------------------ its end
    def returned(self) -> None:
        """The application has returned: the socket ends with it. Raises RuntimeError when it did not answer."""
        if not self._waiting.done():
            raise RuntimeError("The application did not generate a response")
        self._end(1000, "")

    def failed(self, error: Exception) -> bool:
        """The application has raised. Whether who asked gets to know; else the socket is closed with 1011."""
        if not self._waiting.done():
            self._waiting.set_exception(error)
            return True
        self._end(_INTERNAL_ERROR, "")
        return False

    def abandon(self) -> None:
        """No code of the application runs any more."""
        self._waiting.cancel()
        self._end(_INTERNAL_ERROR, "")


def _pairs(message: Message) -> list[tuple[str, str]]:
    given = cast("Iterable[tuple[bytes, bytes]]", message.get("headers") or ())
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in given]
