"""`WritableStream`: chunks that are taken one after the other (the streams standard).

What always holds: the sink gets one chunk at a time, in order; `ready` is done only while there is room; after an error nothing
more reaches the sink but `abort`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from enum import Enum

from .stream_members import Members, as_error, done, failed, finished, reject, settle, strategy_of

WRITABLE_LOCKED = "This WritableStream is currently locked to a writer."
_RELEASED = "This WritableStream writer has been released."
_CLOSE = object()


class SinkState(Enum):
    WRITABLE = "writable"
    CLOSING = "closing"
    CLOSED = "closed"
    ERRORED = "errored"


class WritableStreamDefaultController:
    """What a sink can tell its stream."""

    __slots__ = ("_stream",)

    def __init__(self, stream: WritableStream) -> None:
        self._stream = stream

    def error(self, reason: object = None) -> None:
        """Break the stream: writes fail from now on."""
        self._stream.fail(as_error(reason))


class WritableStream:
    """`WritableStream({start, write, close, abort}, {highWaterMark, size})`; members also as keyword arguments."""

    def __init__(self, sink: object = None, strategy: object = None, **members: object) -> None:
        """Raises TypeError for members that are no functions, and what `start` raises."""
        self._sink = Members(sink, members)
        self._high_water, self._size = strategy_of(strategy, 1)
        self._state = SinkState.WRITABLE
        self._error: BaseException | None = None
        self._queue: deque[tuple[object, float, asyncio.Future[None]]] = deque()
        self._queued = 0.0
        self._writer: object = None
        self._working: asyncio.Future[None] | None = None
        self._closed: list[asyncio.Future[None]] = []
        self._ready: asyncio.Future[None] | None = None
        self._controller = WritableStreamDefaultController(self)
        begun = self._sink.call("start", self._controller)
        self._begun: object = begun if hasattr(begun, "__await__") else None
        if self._begun is not None:
            self._work()

    @classmethod
    def new(cls, *args: object, **members: object) -> WritableStream:
        return cls(*args, **members)

    @property
    def locked(self) -> bool:
        return self._writer is not None

    @property
    def state(self) -> SinkState:
        return self._state

    def lock(self, writer: object) -> None:
        """Raises TypeError when there is a writer already."""
        if self._writer is not None:
            raise TypeError(WRITABLE_LOCKED)
        self._writer = writer

    def unlock(self) -> None:
        self._writer = None

    def getWriter(self) -> WritableStreamDefaultWriter:
        """The one writer. Raises TypeError when it is locked."""
        return WritableStreamDefaultWriter(self)

    def desired(self) -> float | None:
        if self._state is SinkState.ERRORED:
            return None
        if self._state is SinkState.CLOSED:
            return 0
        return self._high_water - self._queued

    # ------------------------------------------------------------------ writing, by whoever has the lock
    def put(self, chunk: object) -> asyncio.Future[None]:
        """Done when the sink has taken it."""
        if self._error is not None:
            return failed(self._error)
        if self._state is not SinkState.WRITABLE:
            return failed(TypeError("This WritableStream has been closed."))
        try:
            size = float(self._size(chunk))
        except Exception as error:
            self.fail(error)
            return failed(error)
        self._queued += size
        return self._enqueue(chunk, size)

    def _enqueue(self, chunk: object, size: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((chunk, size, future))
        self._work()
        return future

    def end(self) -> asyncio.Future[None]:
        """Close it after what was written."""
        if self._error is not None:
            return failed(self._error)
        if self._state is not SinkState.WRITABLE:
            return failed(TypeError("This WritableStream has been closed."))
        self._state = SinkState.CLOSING
        return self._enqueue(_CLOSE, 0)

    def ready(self) -> asyncio.Future[None]:
        """Done while there is room."""
        if self._error is not None:
            return failed(self._error)
        if self._state is not SinkState.WRITABLE or self._high_water - self._queued > 0:
            return done(None)
        if self._ready is None or self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        return self._ready

    def closed(self) -> asyncio.Future[None]:
        if self._error is not None:
            return failed(self._error)
        if self._state is SinkState.CLOSED:
            return done(None)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed.append(future)
        return future

    def fail(self, error: BaseException) -> None:
        """It broke; what waits to be written never is."""
        if self._state in (SinkState.ERRORED, SinkState.CLOSED):
            return
        self._state, self._error = SinkState.ERRORED, error
        queue, self._queue = self._queue, deque()
        for _, _, future in queue:
            reject(future, error)
        for future in (*self._closed, *([self._ready] if self._ready is not None else [])):
            reject(future, error)

    def _work(self) -> None:
        if self._working is None:
            self._working = asyncio.ensure_future(self._write_all())

    async def _write_all(self) -> None:
        try:
            if self._begun is not None:
                begun, self._begun = self._begun, None
                await finished(begun)
            while self._queue:
                await self._write_one(*self._queue.popleft())
        except asyncio.CancelledError as error:
            self.fail(error)
            raise
        except BaseException as error:
            self.fail(error)
        finally:
            self._working = None

    async def _write_one(self, chunk: object, size: float, future: asyncio.Future[None]) -> None:
        try:
            if chunk is _CLOSE:
                await finished(self._sink.call("close"))
            else:
                await finished(self._sink.call("write", chunk, self._controller))
        except BaseException as error:
            reject(future, error)
            raise
        if self._error is not None:
            reject(future, self._error)
            return
        self._queued -= size
        settle(future, None)
        if chunk is _CLOSE:
            self._state = SinkState.CLOSED
            for closed in self._closed:
                settle(closed, None)
        if self._ready is not None and (self._state is not SinkState.WRITABLE or self._high_water - self._queued > 0):
            settle(self._ready, None)

    def close(self) -> Awaitable[None]:
        """Close it; fails with TypeError while there is a writer: close the writer then."""
        return failed(TypeError(WRITABLE_LOCKED)) if self.locked else self.end()

    def abort(self, reason: object = None) -> Awaitable[None]:
        """Give it up: the sink's `abort` is called. Fails with TypeError while there is a writer."""
        return failed(TypeError(WRITABLE_LOCKED)) if self.locked else self.give_up(reason)

    def give_up(self, reason: object) -> asyncio.Future[None]:
        """The same, by whoever has the lock."""
        if self._state in (SinkState.ERRORED, SinkState.CLOSED):
            return done(None)
        working = self._working
        self.fail(as_error(reason))
        return asyncio.ensure_future(self._abort(reason, working))

    async def _abort(self, reason: object, working: asyncio.Future[None] | None) -> None:
        if working is not None and not working.done():
            await asyncio.wait((working,))  # the sink gets one thing at a time
        await finished(self._sink.call("abort", reason))

    def to_py(self) -> WritableStream:
        return self

    def __repr__(self) -> str:
        return f"<WritableStream {self._state.value}{' locked' if self.locked else ''}>"

    get_writer = getWriter


class WritableStreamDefaultWriter:
    """`await writer.write(chunk)`, `await writer.close()`."""

    def __init__(self, stream: WritableStream) -> None:
        """Raises TypeError when the stream is locked."""
        stream.lock(self)
        self._stream: WritableStream | None = stream

    @classmethod
    def new(cls, stream: WritableStream) -> WritableStreamDefaultWriter:
        return cls(stream)

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when all is written and the sink is closed."""
        return failed(TypeError(_RELEASED)) if self._stream is None else self._stream.closed()

    @property
    def ready(self) -> asyncio.Future[None]:
        """Done when there is room for more: await it before a write, and memory stays flat."""
        return failed(TypeError(_RELEASED)) if self._stream is None else self._stream.ready()

    @property
    def desiredSize(self) -> float | None:
        """How much more is wanted; None: it broke. Raises TypeError after `releaseLock`."""
        if self._stream is None:
            raise TypeError(_RELEASED)
        return self._stream.desired()

    def write(self, chunk: object = None) -> asyncio.Future[None]:
        """Done when the sink has taken it; writes are in order, awaited or not."""
        return failed(TypeError(_RELEASED)) if self._stream is None else self._stream.put(chunk)

    def close(self) -> asyncio.Future[None]:
        """After everything written."""
        return failed(TypeError(_RELEASED)) if self._stream is None else self._stream.end()

    def abort(self, reason: object = None) -> asyncio.Future[None]:
        """Give it up: what waits is not written."""
        return failed(TypeError(_RELEASED)) if self._stream is None else self._stream.give_up(reason)

    def releaseLock(self) -> None:
        """Let others write; what was written stays."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.unlock()

    release_lock = releaseLock
    desired_size = desiredSize
