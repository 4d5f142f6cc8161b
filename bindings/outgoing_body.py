"""The body of an answer to `fetch`, read as it is wanted.

What always holds: the client's own code runs outside of the object that reads; what is not read stays with the sender; a body
that is forgotten or closed early closes its connection, one that was read to its end gives it back.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextvars import Context
from typing import TYPE_CHECKING

from ..engine.errors import NetworkError

if TYPE_CHECKING:
    from aiohttp import ClientResponse


class ClientBody(AsyncIterator[bytes]):
    """Chunks as they come from the connection. Raises NetworkError when it breaks off."""

    def __init__(self, answer: ClientResponse, context: Context) -> None:
        self._answer = answer
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._forgotten = weakref.finalize(self, _forget, answer, self._loop)
        self._forgotten.atexit = False

    async def __anext__(self) -> bytes:
        content = self._answer.content
        try:
            chunk = self._context.copy().run(content.read_nowait, -1)
            if not chunk and not content.at_eof():
                chunk = await self._loop.create_task(content.readany(), context=self._context.copy())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await self.aclose()
            raise NetworkError(
                f"Network connection lost: the body of {self._answer.url.with_query(None)} broke off: {error}"
            ) from error
        if chunk:
            return chunk
        self._forgotten.detach()
        self._answer.release()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        if self._forgotten.detach() is not None:
            self._answer.close()


def _forget(answer: ClientResponse, loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(answer.close, context=Context())
