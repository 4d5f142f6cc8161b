"""Iterators under streams: stepped, closed and turned into bytes.

What always holds: a generator that is closed where it waits runs its `finally` there (`next_of`).
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Iterable
from typing import cast

from ..engine.bodies import next_of
from ..engine.interruption import entry
from .stream_members import as_bytes, finished


async def once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def each_of(chunks: Iterable[object]) -> AsyncIterator[object]:
    for chunk in chunks:
        yield await finished(chunk)


async def next_item(iterator: AsyncIterator[object]) -> object:
    """As `anext`; closing it ends a generator where it waits (see `next_of`). Raises StopAsyncIteration."""
    if not isinstance(iterator, types.AsyncGeneratorType):
        return await anext(iterator)
    more, item = await next_of(iterator)
    if not more:
        raise StopAsyncIteration
    return item


class BytesOf(AsyncIterator[bytes]):
    """What a program's iterator gives, as a body's chunks."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: AsyncIterator[object]) -> None:
        self._iterator = iterator

    async def __anext__(self) -> bytes:
        return as_bytes(await next_item(self._iterator))

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        closer = getattr(self._iterator, "aclose", None)
        if closer is not None:
            await closer()


async def settled(result: object) -> None:
    await finished(result)


async def end(iterator: AsyncIterator[object], pull: asyncio.Future[object] | None) -> None:
    """Close an iterator that may be in the middle of a step."""
    if pull is not None and not pull.done():
        pull.cancel()
        await asyncio.wait((pull,))
    closer = getattr(iterator, "aclose", None)
    if closer is not None:
        await closer()


entry(cast("types.FunctionType", next_item))
