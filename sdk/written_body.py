"""A body that code of a program writes while somebody else reads it.

What always holds: a chunk is written when it has been taken, so a slow reader stops its writer; a body that its writer gives up
fails for its reader, it never just ends; a reader that goes, or is forgotten, is noticed by the writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

_WRITES_TO_NOBODY_MAX = 16
"""So many writes are let pass after the reader has gone: time for a program to notice by itself. Then they raise."""


class Chunks:
    """The writer's end. Make it on the loop; one task writes."""

    __slots__ = ("_chunk", "_ended", "_error", "_readable", "_taken", "_to_nobody", "gone")

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nobody will read any more."""
        self._chunk: bytes | None = None
        self._taken: asyncio.Future[None] | None = None
        self._readable: asyncio.Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._to_nobody = 0

    async def write(self, chunk: bytes) -> None:
        """Done when the reader has taken it. Raises OSError for who writes on and on to nobody."""
        if self.gone.done():
            self._to_nobody += 1
            if self._to_nobody > _WRITES_TO_NOBODY_MAX:
                raise OSError("the client has gone: nobody reads the response any more")
            await asyncio.sleep(0)
            return
        if not chunk:
            return
        self._chunk = chunk
        self._taken = asyncio.get_running_loop().create_future()
        self._wake()
        try:
            await self._taken
        finally:
            self._chunk = None  # a cancelled write has not been made

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """The rest will not come: the reader gets `error`."""
        if not self._ended:
            self._error = error
            self.end()

    def _wake(self) -> None:
        readable, self._readable = self._readable, None
        if readable is not None and not readable.done():
            readable.set_result(None)

    async def take(self) -> bytes | None:
        """For the reader: the next chunk, None at the end. Raises what the writer failed with."""
        while True:
            chunk, self._chunk = self._chunk, None
            if chunk is not None:
                if self._taken is not None and not self._taken.done():
                    self._taken.set_result(None)
                return chunk
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._readable = asyncio.get_running_loop().create_future()
            await self._readable

    def leave(self) -> None:
        """For the reader: it wants no more."""
        if not self.gone.done() and not self.gone.get_loop().is_closed():
            self.gone.set_result(None)
            if self._taken is not None and not self._taken.done():
                self._taken.set_result(None)


class ChunkReader(AsyncIterator[bytes]):
    """The reader's end. The writer does not hold it, so that a response which nobody reads is noticed once it is garbage."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    async def __anext__(self) -> bytes:
        chunk = await self._chunks.take()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._chunks.leave()

    def __del__(self) -> None:
        self._chunks.leave()
