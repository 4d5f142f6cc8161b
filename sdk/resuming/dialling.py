"""Connections of `Client` over the network, by aiohttp."""

from __future__ import annotations

import aiohttp

from .client import ABNORMAL, REFUSED, Connection

_MESSAGE_BYTES_MAX = 32 << 20
_REPEATABLE = (408, 425, 429)


class Dialler:
    """Opens connections to one address; `close` it when the client has ended."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self) -> Connection | int:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            socket = await self._session.ws_connect(self._url, headers=self._headers, max_msg_size=_MESSAGE_BYTES_MAX)
        except aiohttp.WSServerHandshakeError as error:
            # What the server does not want it will not want again; what it cannot do now it may later.
            is_final = 400 <= error.status < 500 and error.status not in _REPEATABLE
            return REFUSED if is_final else ABNORMAL
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error
        return _Connection(socket)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _Connection:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_str(text)
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error

    async def receive(self) -> str | int:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                return message.data
            if message.type is not aiohttp.WSMsgType.BINARY:
                return self._socket.close_code or ABNORMAL

    async def close(self, code: int) -> None:
        await self._socket.close(code=code)
