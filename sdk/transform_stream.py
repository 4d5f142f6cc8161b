"""`TransformStream`: what is written to `writable` comes out of `readable`, changed or not (the streams standard).

What always holds: a write is done only when the readable side wants more, so a slow reader stops its writer.
"""

from __future__ import annotations

import asyncio

from .readable_stream import ReadableStream
from .stream_members import Members, as_bytes, as_error, finished, settle
from .writable_stream import WritableStream


class TransformStreamDefaultController:
    """What a transformer gives its results to."""

    __slots__ = ("_stream",)

    def __init__(self, stream: TransformStream) -> None:
        self._stream = stream

    @property
    def desiredSize(self) -> float | None:
        return self._stream.readable.desired()

    def enqueue(self, chunk: object = None) -> None:
        """A chunk for the readable side. Raises TypeError when it is over."""
        self._stream.readable.enqueue(chunk)

    def error(self, reason: object = None) -> None:
        """Break both sides."""
        self._stream.fail(as_error(reason))

    def terminate(self) -> None:
        """End the readable side; more cannot be written."""
        if self._stream.readable.may_enqueue():
            self._stream.readable.finish()
        self._stream.writable.fail(TypeError("The transform was terminated"))

    async def wanted(self) -> None:
        """Wait until the readable side wants more: for transformers that make much of one chunk."""
        await self._stream.wanted()

    desired_size = desiredSize


class TransformStream:
    """`TransformStream({start, transform, flush, cancel})`; without members what is written comes out as it is."""

    def __init__(
        self,
        transformer: object = None,
        writableStrategy: object = None,
        readableStrategy: object = None,
        **members: object,
    ) -> None:
        """Members may be keyword arguments. Raises TypeError for those that are no functions, and what `start` raises."""
        self._members = Members(transformer, members)
        self._want: asyncio.Future[None] | None = None
        self._wanted = False
        self.readable = ReadableStream(
            pull=self._pull,
            cancel=self._cancel,
            strategy=readableStrategy if readableStrategy is not None else {"highWaterMark": 0},
        )
        self._controller = TransformStreamDefaultController(self)
        self.writable = WritableStream(
            start=lambda: self._members.call("start", self._controller),
            write=self._write,
            close=self._close,
            abort=self._abort,
            strategy=writableStrategy,
        )

    @classmethod
    def new(cls, *args: object, **members: object) -> TransformStream:
        return cls(*args, **members)

    def _pull(self) -> None:
        self._wanted = True
        if self._want is not None:
            settle(self._want, None)

    async def wanted(self) -> None:
        """Wait until the readable side wants more. Raises what it broke with."""
        while not self._wanted:
            self.readable.check()
            self._want = asyncio.get_running_loop().create_future()
            await self._want
        self._wanted = False
        self.readable.check()

    async def _write(self, chunk: object) -> None:
        await self.wanted()
        try:
            if self._members.get("transform") is None:
                self.readable.enqueue(self.passed(chunk))
            else:
                await finished(self._members.call("transform", chunk, self._controller))
        except Exception as error:
            self.readable.fail(error)
            raise
        self.readable.want()  # nothing may have come of the chunk

    def passed(self, chunk: object) -> object:
        """What becomes of a chunk where there is no transformer."""
        return chunk

    def ending(self) -> None:
        """Everything has been written. Raises when that is not so much as was promised."""

    async def _close(self) -> None:
        try:
            self.ending()
            await finished(self._members.call("flush", self._controller))
        except Exception as error:
            self.readable.fail(error)
            raise
        if self.readable.may_enqueue():
            self.readable.finish()

    async def _abort(self, reason: object) -> None:
        self._let_go(as_error(reason))
        await finished(self._members.call("cancel", reason))

    def _cancel(self, reason: object) -> object:
        """The reader does not want the rest."""
        self.writable.fail(as_error(reason))
        if self._want is not None:
            settle(self._want, None)
        return self._members.call("cancel", reason)

    def _let_go(self, error: BaseException) -> None:
        self.readable.fail(error)
        if self._want is not None:
            settle(self._want, None)

    def fail(self, error: BaseException) -> None:
        """Break both sides."""
        self._let_go(error)
        self.writable.fail(error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.readable!r} {self.writable!r}>"


class IdentityTransformStream(TransformStream):
    """Bytes in, the same bytes out."""

    def __init__(self, *_strategies: object) -> None:
        super().__init__()

    def passed(self, chunk: object) -> object:
        return as_bytes(chunk)


class FixedLengthStream(IdentityTransformStream):
    """The same for a number of bytes that is known before: a body made of it has a Content-Length."""

    def __init__(self, length: int, *_strategies: object) -> None:
        super().__init__()
        self._left = int(length)
        self.readable.expected_length = self._left

    def passed(self, chunk: object) -> object:
        data = as_bytes(chunk)
        self._left -= len(data)
        if self._left < 0:
            raise TypeError("Attempt to write too many bytes through a FixedLengthStream.")
        return data

    def ending(self) -> None:
        if self._left:
            raise TypeError("FixedLengthStream did not see all expected bytes before close().")
