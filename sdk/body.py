"""The body that a Request or Response carries: whole or streamed, read once."""

from __future__ import annotations

import json as json_module
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ..engine.values import Buffer

if TYPE_CHECKING:
    from ..engine.http import Body


class BodyReader:
    """What both have in common."""

    _body: Body = None
    _used = False

    @property
    def body(self) -> AsyncIterator[bytes] | None:
        """The chunks, None when there is no body. Reading it uses it up."""
        if self._body is None:
            return None
        return self._chunks()

    @property
    def body_used(self) -> bool:
        return self._used

    bodyUsed = body_used

    def take_body(self) -> Body:
        """The body as it travels. Raises OSError when it was read already."""
        if self._used:
            raise OSError("Body already used")
        if self._body is not None:
            self._used = True
        return self._body

    async def _chunks(self) -> AsyncIterator[bytes]:
        body = self.take_body()
        if isinstance(body, bytes):
            yield body
        elif body is not None:
            async for chunk in body:
                yield chunk

    async def bytes(self) -> bytes:
        """The whole body."""
        body = self.take_body()
        if body is None:
            return b""
        if isinstance(body, bytes):
            return body
        return b"".join([chunk async for chunk in body])

    async def buffer(self) -> Buffer:
        return Buffer(await self.bytes())

    arrayBuffer = buffer

    async def text(self) -> str:
        """The whole body, decoded as UTF-8."""
        return (await self.bytes()).decode("utf-8", "replace")

    async def read_json(self, **options: object) -> object:
        """The whole body as JSON."""
        return json_module.loads(await self.bytes(), **options)  # pyright: ignore[reportArgumentType]
