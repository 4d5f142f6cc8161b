"""Between streams: `tee`, `pipeTo`, `pipeThrough`.

What always holds: a pipe reads no faster than its destination takes; an error goes both ways unless it is prevented.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from ..engine.errors import PerdureError, ValueTooLarge
from .readable_stream import Read, ReadableStream
from .stream_members import Members, as_error, byte_length, done, member
from .writable_stream import WRITABLE_LOCKED, WritableStream

T = TypeVar("T")
TEE_BYTES_MAX = 128 << 20
"""What one branch may be behind the other."""


class _Branches:
    """Two branches of one stream."""

    def __init__(self, stream: ReadableStream) -> None:
        stream.lock(self)
        self._stream = stream
        self._reading = False
        self._again = False
        self._gone = [False, False]
        self._reasons: list[object] = [None, None]
        self.branches: list[ReadableStream] = []
        for index in (0, 1):
            self.branches.append(
                ReadableStream(
                    pull=self._puller(),
                    cancel=self._canceller(index),
                    strategy={"highWaterMark": 0, "size": byte_length},
                )
            )

    def _puller(self) -> Callable[[], object]:
        def pull() -> object:
            if self._reading:
                self._again = True
                return None
            self._reading = True
            return self._pull()

        return pull

    def _canceller(self, index: int) -> Callable[[object], object]:
        def cancel(reason: object) -> object:
            self._gone[index] = True
            self._reasons[index] = reason
            return self._stream.stop(reason) if all(self._gone) else done(None)

        return cancel

    async def _pull(self) -> None:
        try:
            while True:
                self._again = False
                read = await self._stream.read_next()
                self._hand_on(read)
                if read[0] or not self._again:
                    return
        except BaseException as error:
            for branch in self.branches:
                branch.fail(error)
            raise
        finally:
            self._reading = False

    def _hand_on(self, read: Read) -> None:
        over, chunk = read
        for index, branch in enumerate(self.branches):
            if self._gone[index] or not branch.may_enqueue():
                continue
            if over:
                branch.finish()
                continue
            branch.enqueue(chunk)
            if -(branch.desired() or 0) > TEE_BYTES_MAX:
                branch.fail(ValueTooLarge(f"one branch of tee() is more than {TEE_BYTES_MAX} bytes behind the other"))


def tee(stream: ReadableStream) -> list[ReadableStream]:
    """Both branches. Raises TypeError when the stream is locked."""
    return _Branches(stream).branches


def tee_body(body: ReadableStream) -> tuple[ReadableStream, ReadableStream]:
    """The same for bodies: lengths that are known stay known."""
    first, second = tee(body)
    first.expected_length = second.expected_length = body.expected_length
    return first, second


def pipe_to(stream: ReadableStream, destination: object, options: Members) -> Awaitable[None]:
    """The task of the pipe. Fails with TypeError when either is locked."""
    if not isinstance(destination, WritableStream):
        raise TypeError(f"pipeTo() takes a WritableStream, not {type(destination).__name__}")
    pipe = _Pipe(stream, destination, options)
    return asyncio.ensure_future(pipe.run())


def pipe_through(stream: ReadableStream, pair: object, options: Members) -> ReadableStream:
    """Begins the pipe, gives the readable side. Raises TypeError for what is no pair of streams."""
    writable, readable = member(pair, "writable"), member(pair, "readable")
    if not isinstance(writable, WritableStream) or not isinstance(readable, ReadableStream):
        raise TypeError("pipeThrough() takes a pair of `writable` and `readable` streams")
    task = asyncio.ensure_future(_Pipe(stream, writable, options).run())
    task.add_done_callback(_heard)  # what fails is told by the readable side
    return readable


def _heard(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()


class _Pipe:
    """One pipe."""

    def __init__(self, stream: ReadableStream, destination: WritableStream, options: Members) -> None:
        if destination.locked:
            raise TypeError(WRITABLE_LOCKED)
        stream.lock(self)
        destination.lock(self)
        self._stream = stream
        self._destination = destination
        self._keep_open = bool(options.get("preventClose"))
        self._keep_writing = bool(options.get("preventAbort"))
        self._keep_reading = bool(options.get("preventCancel"))
        self._signal = options.get("signal")

    async def run(self) -> None:
        stream, destination = self._stream, self._destination
        stopping = on_abort(self._signal)
        broken = destination.closed()
        last: asyncio.Future[None] | None = None
        try:
            while True:
                await self._first(destination.ready(), stopping)
                reading = stream.read_next()
                try:
                    await self._first(reading, stopping, broken)
                except BaseException:
                    reading.cancel()
                    raise
                over, chunk = reading.result()
                if over:
                    break
                last = destination.put(chunk)
            if last is not None:
                await last
            if not self._keep_open:
                await destination.end()
        except BaseException as error:
            await self._broke(error)
            raise
        finally:
            stream.unlock()
            destination.unlock()
            if stopping is not None:
                stopping.cancel()

    async def _first(self, wanted: asyncio.Future[T], *others: asyncio.Future[None] | None) -> None:
        """Wait for `wanted`, unless one of the others comes first. Raises what failed."""
        waiting = [other for other in others if other is not None]
        if not wanted.done() or any(other.done() for other in waiting):
            await asyncio.wait([wanted, *waiting], return_when=asyncio.FIRST_COMPLETED)
        for other in waiting:
            if other.done():
                other.result()
                raise TypeError("The destination of the pipe was closed")
        wanted.result()

    async def _broke(self, error: BaseException) -> None:
        if not self._keep_reading:
            _heard_later(self._stream.stop(error))
        if not self._keep_writing:
            aborted = self._destination.give_up(error)
            if not isinstance(error, asyncio.CancelledError):
                await asyncio.wait((aborted,))
            _heard_later(aborted)


def _heard_later(future: asyncio.Future[None]) -> None:
    future.add_done_callback(_heard)


def abort_reason(signal: object) -> BaseException:
    """What an aborted signal is raised as."""
    reason = getattr(signal, "reason", None)
    if isinstance(reason, BaseException):
        return reason
    if reason is None:
        return PerdureError("The operation was aborted", name="AbortError")
    return as_error(reason)


def on_abort(signal: object) -> asyncio.Future[None] | None:
    """A future that fails when an AbortSignal fires; None without one."""
    if signal is None:
        return None
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fire(*_event: object) -> None:
        if not future.done():
            future.set_exception(abort_reason(signal))
            future.exception()

    if getattr(signal, "aborted", False):
        fire()
    else:
        cast("Callable[..., object]", signal.addEventListener)("abort", fire)  # type: ignore[attr-defined]
        future.add_done_callback(lambda _: _forget(signal, fire))
    return future


def _forget(signal: object, listener: Callable[..., object]) -> None:
    remove = getattr(signal, "removeEventListener", None)
    if remove is not None:
        remove("abort", listener)
