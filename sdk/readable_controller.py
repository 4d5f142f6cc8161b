"""What a source feeds its `ReadableStream` with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .stream_members import as_error

if TYPE_CHECKING:
    from .readable_stream import ReadableStream


class ReadableStreamDefaultController:
    """What a source feeds its stream with."""

    __slots__ = ("_stream",)
    byobRequest = None

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream

    @property
    def desiredSize(self) -> float | None:
        """How much more is wanted; None: the stream broke, 0: it is over."""
        return self._stream.desired()

    def enqueue(self, chunk: object = None) -> None:
        """Add a chunk. Raises TypeError when the stream is over."""
        self._stream.enqueue(chunk)

    def close(self) -> None:
        """No more chunks; those that wait are read first. Raises TypeError when it was closed before."""
        self._stream.finish()

    def error(self, reason: object = None) -> None:
        """Break the stream: chunks that wait are gone, reads fail."""
        self._stream.fail(as_error(reason))

    def terminate(self) -> None:
        """Close, if it is not closed."""
        if self._stream.may_enqueue():
            self._stream.finish()

    desired_size = desiredSize
