"""Readers: whoever has one reads its stream, nobody else does until it is released."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import cast

from ..engine.values import Buffer, JsDict
from .readable_stream import OVER, Read, ReadableStream, read_result
from .stream_members import Members, as_bytes, failed, reject, settle

_RELEASED = "This ReadableStream reader has been released."


class ReadableStreamDefaultReader:
    """`await reader.read()` gives `done` and `value`."""

    def __init__(self, stream: ReadableStream) -> None:
        """Raises TypeError when the stream is locked."""
        stream.lock(self)
        self._stream: ReadableStream | None = stream
        self._closed: asyncio.Future[None] | None = None

    @classmethod
    def new(cls, stream: ReadableStream) -> ReadableStreamDefaultReader:
        return cls(stream)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the stream is over; fails when it breaks or the reader is released."""
        if self._closed is None:
            self._closed = failed(TypeError(_RELEASED)) if self._stream is None else self._stream.closed()
        return self._closed

    def read(self) -> asyncio.Future[JsDict]:
        """The next chunk. Fails with what the stream broke with, or TypeError after `releaseLock`."""
        if self._stream is None:
            return cast("asyncio.Future[JsDict]", failed(TypeError(_RELEASED)))
        return _then(self._stream.read_next())

    def cancel(self, reason: object = None) -> Awaitable[None]:
        """Nobody wants the rest: the source is told."""
        if self._stream is None:
            return failed(TypeError(_RELEASED))
        return self._stream.stop(reason)

    def releaseLock(self) -> None:
        """Let others read; reads that wait fail with TypeError."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.unlock()
            if self._closed is not None:
                reject(self._closed, TypeError(_RELEASED))

    release_lock = releaseLock


class ReadableStreamBYOBReader(ReadableStreamDefaultReader):
    """`await reader.read(view)`: at most as many bytes as `view` has, as `value`; a view that can be written is filled too."""

    def __init__(self, stream: ReadableStream) -> None:
        super().__init__(stream)
        self._left = b""

    def read(self, view: object = None) -> asyncio.Future[JsDict]:
        """`view`: a buffer, a memoryview, or a number of bytes."""
        return cast("asyncio.Future[JsDict]", asyncio.ensure_future(self._read(view, 1)))

    def readAtLeast(self, least: int, view: object) -> asyncio.Future[JsDict]:
        """Fewer than `least` bytes only at the end."""
        return cast("asyncio.Future[JsDict]", asyncio.ensure_future(self._read(view, least)))

    async def _read(self, view: object, least: int) -> JsDict:
        most = _room(view)
        while len(self._left) < min(least, most):
            if self._stream is None:
                raise TypeError(_RELEASED)
            over, chunk = await self._stream.read_next()
            if over:
                break
            self._left += as_bytes(chunk)
        data, self._left = self._left[:most], self._left[most:]
        if isinstance(view, bytearray | memoryview) and not (isinstance(view, memoryview) and view.readonly):
            memoryview(view).cast("B")[: len(data)] = data
        return read_result((False, Buffer(data)) if data else OVER)

    read_at_least = readAtLeast


def _room(view: object) -> int:
    size = view if isinstance(view, int) else getattr(view, "byteLength", None)
    if size is None and isinstance(view, bytearray | memoryview | bytes):
        size = memoryview(view).nbytes
    if not isinstance(size, int) or size <= 0:
        raise TypeError("read() of a BYOB reader takes a view of at least one byte")
    return size


def _then(reading: asyncio.Future[Read]) -> asyncio.Future[JsDict]:
    result: asyncio.Future[JsDict] = asyncio.get_running_loop().create_future()
    if reading.done():
        _tell(reading, result)
    else:
        reading.add_done_callback(lambda ended: _tell(ended, result))
        result.add_done_callback(lambda ended: reading.cancel() if ended.cancelled() else None)
    return result


def _tell(reading: asyncio.Future[Read], result: asyncio.Future[JsDict]) -> None:
    if reading.cancelled():
        result.cancel()
    elif (error := reading.exception()) is not None:
        reject(result, error)
    else:
        settle(result, read_result(reading.result()))


def reader_of(stream: ReadableStream, options: object, more: Mapping[str, object]) -> ReadableStreamDefaultReader:
    """What `getReader` gives. Raises TypeError for an unknown mode."""
    mode = Members(options, more).get("mode")
    if mode is None:
        return ReadableStreamDefaultReader(stream)
    if mode != "byob":
        raise TypeError(f"getReader() knows the mode 'byob', not {mode!r}")
    return ReadableStreamBYOBReader(stream)
