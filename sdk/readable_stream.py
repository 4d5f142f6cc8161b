"""`ReadableStream`: chunks that are produced when somebody wants them (the streams standard).

What always holds: nothing is pulled beyond the high water mark unless a reader waits; a stream has one reader at a time; one
that is cancelled tells its source, and what it waits for in it is ended; an error reaches every read that comes after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, cast

from ..engine.values import JsDict
from .chunks import BytesOf, each_of, end, next_item, once, settled
from .readable_controller import ReadableStreamDefaultController
from .stream_members import Members, as_bytes, as_chunk, done, failed, finished, reject, settle, strategy_of

if TYPE_CHECKING:
    from .stream_readers import ReadableStreamDefaultReader

Read = tuple[bool, object]
"""Whether the stream is over; the chunk."""
OVER: Read = (True, None)
STREAM_LOCKED = "This ReadableStream is currently locked to a reader."


class StreamState(Enum):
    READABLE = "readable"
    CLOSED = "closed"
    ERRORED = "errored"


class ReadableStream:
    """`ReadableStream({start, pull, cancel}, {highWaterMark, size})`; members also as keyword arguments."""

    expected_length: int | None = None
    """Bytes that it will have, when that is known before (`FixedLengthStream`)."""

    def __init__(self, source: object = None, strategy: object = None, **members: object) -> None:
        """Raises TypeError for members that are no functions, and what `start` raises."""
        self._source: Members | None = Members(source, members)
        self._bytes = self._source.get("type") == "bytes"
        mark, size = strategy_of(strategy, 0 if self._bytes else 1)
        self._begin(mark)
        self._size = size
        controller = ReadableStreamDefaultController(self)
        self._controller = controller
        begun = self._source.call("start", controller)
        if hasattr(begun, "__await__"):
            self._started = False
            self._task = asyncio.ensure_future(self._start(cast("Awaitable[object]", begun)))

    def _begin(self, high_water: float) -> None:
        self._state = StreamState.READABLE
        self._error: BaseException | None = None
        self._queue: deque[tuple[object, float]] = deque()
        self._queued = 0.0
        self._high_water = high_water
        self._reads: deque[asyncio.Future[Read]] = deque()
        self._reader: object = None
        self._disturbed = False
        self._closing = False
        self._started = True
        self._pulling = self._pull_again = False
        self._task: asyncio.Future[object] | None = None
        self._closed: list[asyncio.Future[None]] = []
        self._whole: bytes | None = None
        self._iterator: AsyncIterator[object] | None = None
        self._travelled = False
        """The iterator came from another process: it gives bytes, and its end is told by itself."""

    @classmethod
    def new(cls, *args: object, **members: object) -> ReadableStream:
        return cls(*args, **members)

    @classmethod
    def of_bytes(cls, data: bytes) -> ReadableStream:
        """A stream of one chunk, none when it is empty."""
        self = cls.of_iterator(once(data))
        self._whole = data
        self.expected_length = len(data)
        return self

    @classmethod
    def of_iterator(cls, chunks: AsyncIterator[object]) -> ReadableStream:
        """What the iterator gives, asked for one by one; cancelling closes it."""
        self = cls.__new__(cls)
        self._begin(0)
        self._bytes = False
        self._size = _one
        self._source = None
        self._iterator = chunks
        self._controller = ReadableStreamDefaultController(self)
        return self

    @classmethod
    def of_body(cls, chunks: AsyncIterator[bytes]) -> ReadableStream:
        """A body that has travelled."""
        self = cls.of_iterator(chunks)
        self._travelled = True
        return self

    @classmethod
    def from_(cls, chunks: object) -> ReadableStream:
        """A stream of an iterable, asynchronous or not. Raises TypeError. Also known as `from`."""
        if isinstance(chunks, ReadableStream):
            return cls.of_iterator(chunks.values())
        if isinstance(chunks, AsyncIterable):
            return cls.of_iterator(cast("AsyncIterable[object]", chunks).__aiter__())
        if isinstance(chunks, Iterable) and not isinstance(chunks, str | bytes):
            return cls.of_iterator(each_of(cast("Iterable[object]", chunks)))
        raise TypeError(f"ReadableStream.from takes an iterable, not {type(chunks).__name__}")

    # ------------------------------------------------------------------ the source's side
    async def _start(self, begun: Awaitable[object]) -> object:
        try:
            await finished(begun)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)
            return None
        self._started = True
        self.want()
        return None

    def desired(self) -> float | None:
        if self._state is StreamState.ERRORED:
            return None
        if self._state is StreamState.CLOSED:
            return 0
        return self._high_water - self._queued

    def check(self) -> None:
        """Raises what it broke with; TypeError when it is over."""
        if self._error is not None:
            raise self._error
        if not self.may_enqueue():
            raise TypeError("The readable side is closed")

    def may_enqueue(self) -> bool:
        return self._state is StreamState.READABLE and not self._closing

    def enqueue(self, chunk: object) -> None:
        """A chunk of the source."""
        if not self.may_enqueue():
            raise TypeError("Unable to enqueue: the stream is closed, or broke")
        if self._bytes:
            chunk = as_bytes(chunk)
        while self._reads:
            waiting = self._reads.popleft()
            if not waiting.done():
                waiting.set_result((False, as_chunk(chunk)))
                break
        else:
            try:
                size = float(len(cast("bytes", chunk)) if self._bytes else self._size(chunk))
            except Exception as error:
                self.fail(error)
                raise
            self._queue.append((chunk, size))
            self._queued += size
        self.want()

    def finish(self) -> None:
        """The source has no more."""
        if not self.may_enqueue():
            raise TypeError("Unable to close: the stream is closed, or broke")
        self._closing = True
        if not self._queue:
            self._close()

    def fail(self, error: BaseException) -> None:
        """It broke; nothing happens when it is over."""
        if self._state is not StreamState.READABLE:
            return
        self._state, self._error = StreamState.ERRORED, error
        self._queue.clear()
        self._queued = 0
        reads, self._reads = self._reads, deque()
        for waiting in reads:
            reject(waiting, error)
        for closed in self._closed:
            reject(closed, error)

    def _close(self) -> None:
        self._state = StreamState.CLOSED
        reads, self._reads = self._reads, deque()
        for waiting in reads:
            settle(waiting, OVER)
        for closed in self._closed:
            settle(closed, None)

    def want(self) -> None:
        """Pull if a reader waits or there is room."""
        if not self._started or not self.may_enqueue():
            return
        if not self._reads and self._high_water - self._queued <= 0:
            return
        if self._pulling:
            self._pull_again = True
            return
        self._pulling = True
        try:
            if self._iterator is not None:
                self._task = asyncio.ensure_future(self._pulled(self._step(self._iterator)))
                return
            assert self._source is not None
            result = self._source.call("pull", self._controller)
        except Exception as error:
            self._pulling = False
            self.fail(error)
            return
        if hasattr(result, "__await__"):
            self._task = asyncio.ensure_future(self._pulled(cast("Awaitable[object]", result)))
            return
        self._pulling = False
        if self._pull_again:
            self._pull_again = False
            self.want()

    async def _pulled(self, result: Awaitable[object]) -> object:
        try:
            await finished(result)
        except asyncio.CancelledError as error:
            self._pulling = False
            self.fail(error)  # its task was ended: so is what waits for it
            raise
        except Exception as error:
            self._pulling = False
            self.fail(error)
            return None
        self._pulling = False
        if self._pull_again:
            self._pull_again = False
            self.want()
        return None

    async def _step(self, iterator: AsyncIterator[object]) -> None:
        try:
            chunk = await next_item(iterator)
        except StopAsyncIteration:
            if self.may_enqueue():
                self.finish()
            return
        if self.may_enqueue():
            self.enqueue(chunk)

    # ------------------------------------------------------------------ the reader's side
    @property
    def locked(self) -> bool:
        return self._reader is not None

    @property
    def disturbed(self) -> bool:
        """Something was read of it, or it was cancelled."""
        return self._disturbed

    def lock(self, reader: object) -> None:
        """Raises TypeError when there is a reader already."""
        if self._reader is not None:
            raise TypeError(STREAM_LOCKED)
        self._reader = reader

    def unlock(self) -> None:
        """Reads that wait fail."""
        self._reader = None
        reads, self._reads = self._reads, deque()
        for waiting in reads:
            reject(waiting, TypeError("This ReadableStream reader has been released."))

    def read_next(self) -> asyncio.Future[Read]:
        """The next chunk; whose reader asks is not looked at."""
        self._disturbed = True
        if self._queue:
            chunk, size = self._queue.popleft()
            self._queued = self._queued - size if self._queue else 0.0
            if self._closing and not self._queue:
                self._close()
            else:
                self.want()
            return done((False, as_chunk(chunk)))
        waiting: asyncio.Future[Read] = asyncio.get_running_loop().create_future()
        if self._state is StreamState.CLOSED:
            waiting.set_result(OVER)
        elif self._error is not None:
            reject(waiting, self._error)
        else:
            self._reads.append(waiting)
            self.want()
        return waiting

    def closed(self) -> asyncio.Future[None]:
        """Done when it is over, failed when it broke."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._state is StreamState.CLOSED:
            future.set_result(None)
        elif self._error is not None:
            reject(future, self._error)
        else:
            self._closed.append(future)
        return future

    def getReader(self, options: object = None, **more: object) -> ReadableStreamDefaultReader:
        """The one reader; `mode="byob"`: one that is told how much to read. Raises TypeError when it is locked."""
        from .stream_readers import reader_of  # which is built upon this

        return reader_of(self, options, more)

    def cancel(self, reason: object = None) -> Awaitable[None]:
        """Nobody wants the rest. Fails with TypeError while there is a reader: cancel the reader then."""
        if self._reader is not None:
            return failed(TypeError(STREAM_LOCKED))
        return self.stop(reason)

    def stop(self, reason: object = None) -> asyncio.Future[None]:
        """The same, by whoever has the lock."""
        self._disturbed = True
        if self._error is not None:
            return failed(self._error)
        if self._state is StreamState.CLOSED:
            return done(None)
        self._queue.clear()
        self._queued = 0
        self._close()
        try:
            if self._iterator is not None:
                task, self._task = self._task, None
                return cast("asyncio.Future[None]", asyncio.ensure_future(end(self._iterator, task)))
            assert self._source is not None
            result = self._source.call("cancel", reason)
        except Exception as error:
            return failed(error)
        return cast("asyncio.Future[None]", asyncio.ensure_future(settled(result)))

    # ------------------------------------------------------------------ whole streams
    def take(self) -> bytes | AsyncIterator[bytes]:
        """All of it, as the body of a message travels; it is locked and used up. Raises OSError when that was so before."""
        if self._disturbed or self._reader is not None:
            raise OSError("Body already used")
        self.lock(self)
        self._disturbed = True
        if self._whole is not None:
            return self._whole
        iterator = self._iterator
        if iterator is not None and not self._pulling and self._state is StreamState.READABLE:
            return cast("AsyncIterator[bytes]", iterator) if self._travelled else BytesOf(iterator)
        return BytesOf(self._items())

    def hand_over(self) -> AsyncIterator[object]:
        """All of it, chunk by chunk, for another place; it is locked and used up. Raises TypeError when that was so before."""
        if self._disturbed or self._reader is not None:
            raise TypeError("The ReadableStream cannot be sent: it is locked, or was read from")
        self.lock(self)
        self._disturbed = True
        if self._iterator is not None and not self._pulling and self._state is StreamState.READABLE:
            return self._iterator
        return self._items()

    async def _items(self) -> AsyncIterator[object]:
        whole = False
        try:
            while True:
                over, chunk = await self.read_next()
                if over:
                    whole = True
                    return
                yield chunk
        finally:
            if not whole:
                self.stop(None)

    async def _read_here(self) -> Read:
        """As `read_next`, in the reader's own task: an iterator is stepped without one of its own."""
        iterator = self._iterator
        if iterator is None or self._pulling or self._queue or self._reads or not self.may_enqueue():
            return await self.read_next()
        self._disturbed = self._pulling = True
        try:
            return False, as_chunk(await next_item(iterator))
        except StopAsyncIteration:
            if self.may_enqueue():
                self.finish()
            return OVER
        except Exception as error:
            self.fail(error)
            raise
        finally:
            self._pulling = False

    async def _values(self, keep: bool) -> AsyncIterator[object]:
        reader = self.getReader()
        whole = False
        try:
            while True:
                over, chunk = await self._read_here()
                if over:
                    whole = True
                    return
                yield chunk
        finally:
            if self._reader is reader:
                self.unlock()
                if not whole and not keep:
                    self.stop(None)

    def values(self, options: object = None, **more: object) -> AsyncIterator[object]:
        """The chunks; leaving early cancels the stream unless `preventCancel`."""
        return self._values(bool(Members(options, more).get("preventCancel")))

    def __aiter__(self) -> AsyncIterator[object]:
        return self._values(False)

    def tee(self) -> JsPair:
        """Two streams of the same chunks. What one has read and the other has not is kept in memory."""
        from .stream_pipes import tee

        return tee(self)

    def pipeTo(self, destination: object, options: object = None, **more: object) -> Awaitable[None]:
        """Write all of it into a WritableStream, no faster than that takes it."""
        from .stream_pipes import pipe_to

        return pipe_to(self, destination, Members(options, more))

    def pipeThrough(self, pair: object, options: object = None, **more: object) -> ReadableStream:
        """Through a TransformStream, or any pair of `writable` and `readable`; gives the readable side."""
        from .stream_pipes import pipe_through

        return pipe_through(self, pair, Members(options, more))

    def to_py(self) -> ReadableStream:
        return self

    def __repr__(self) -> str:
        return f"<ReadableStream {self._state.value}{' locked' if self.locked else ''}>"

    get_reader = getReader
    pipe_to = pipeTo
    pipe_through = pipeThrough


setattr(ReadableStream, "from", ReadableStream.from_)
JsPair = list[ReadableStream]


def read_result(read: Read) -> JsDict:
    """As JavaScript writes it: `done` and `value`."""
    return JsDict({"done": read[0], "value": read[1]})


def _one(_chunk: object) -> float:
    return 1
