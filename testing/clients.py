"""Clients of a world's WebSockets, as browsers would be: `world.connect()` gives one.

What always holds: messages come in the order sent; a Close frame is answered; who is cut off sees 1006; nothing waits for the
machine's clock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

from ..engine.closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN, closing, sendable
from ..engine.errors import PerdureError
from ..engine.socket_calls import Data
from ..engine.web_socket import Sink
from ..sdk.response import Response
from .virtual import VirtualLoop


class ConnectionRefused(PerdureError):
    """The program answered a request for a WebSocket with something else. `response` is what."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"the WebSocket was refused with status {response.status}", hint="look at error.response")
        self.response = response


class ConnectionEnded(PerdureError):
    """There will be no more messages. `code`, `reason`: of the Close frame; 1006 without one."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket has ended with {code} {reason}".rstrip())
        self.code, self.reason = code, reason  # pyright: ignore[reportAttributeAccessIssue]  # of the Close frame here


class Outward(Protocol):
    """What a client sends to: a line of the engine, or a held socket's."""

    def send(self, data: Data) -> object: ...
    def close(self, code: int | None, reason: str) -> None: ...


class Client:
    """One connection. `response` is what the upgrade was answered with."""

    def __init__(self, loop: VirtualLoop, response: Response) -> None:
        self.response = response
        self.code: int | None = None
        """Of its end, None while it lasts: the peer's Close frame, 1006 without one."""
        self.reason = ""
        self._loop = loop
        self._line: Outward | None = None
        self._came: deque[Data] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closing = False

    def sink(self) -> Sink:
        """Where what arrives goes."""
        return _Arrivals(self)

    def attach(self, line: Outward) -> Client:
        """The connection is there."""
        self._line = line
        return self

    # ------------------------------------------------------------------ the test's
    @property
    def protocol(self) -> str:
        """The sub-protocol that was chosen, "" for none."""
        return str(self.response.headers.get("sec-websocket-protocol") or "")

    @property
    def received(self) -> list[Data]:
        """What has come and was not received yet."""
        return list(self._came)

    def send(self, message: object) -> None:
        """A text, or bytes. Raises ConnectionEnded."""
        data = sendable(message)
        if self._closing or self.code is not None:
            raise ConnectionEnded(self.code or NO_CODE, self.reason)
        assert self._line is not None, "it is attached"
        self._line.send(data)

    def receive(self) -> Awaitable[Data]:
        """The next message. Raises ConnectionEnded when there is none any more."""
        return self._loop.through(self._receive())

    async def _receive(self) -> Data:
        while not self._came:
            if self.code is not None:
                raise ConnectionEnded(self.code, self.reason)
            await self._change()
        return self._came.popleft()

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Begin the closing handshake; `closed()` waits for its end."""
        checked = closing(code, reason, bounded=True)
        if not self._closing and self.code is None and self._line is not None:
            self._closing = True
            self._line.close(*checked)

    def closed(self) -> Awaitable[tuple[int, str]]:
        """Wait for the end: code and reason as the client sees them."""
        return self._loop.through(self._closed())

    async def _closed(self) -> tuple[int, str]:
        while self.code is None:
            await self._change()
        return self.code, self.reason

    def vanish(self) -> None:
        """The client is gone without a word: its machine lost power."""
        if self.code is None and self._line is not None:
            self._closing = True
            self._line.close(ABNORMAL, "")
            self._end(ABNORMAL, NOT_CLEAN)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self.code is None and not self._closing:
            self.close(1000)

    # ------------------------------------------------------------------ what arrives
    def message(self, data: Data) -> None:
        if self.code is None:
            self._came.append(data)
            self._changed()

    def ended(self, code: int, reason: str, clean: bool) -> None:
        """A Close frame has come, or the connection is gone."""
        if self.code is not None:
            return
        if clean and not self._closing and self._line is not None:
            self._closing = True
            self._line.close(None if code == NO_CODE else code, "")
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason
        self._changed()

    async def _change(self) -> None:
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if not each.done():
                each.set_result(None)


class _Arrivals:
    """Implements the engine's Sink: `closed` is a client's own word."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def message(self, data: Data) -> None:
        self._client.message(data)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self._client.ended(code, reason, clean)

    def failed(self, text: str) -> None:
        """That it has ended follows."""
