"""All streams, from where programs' names for them come; each has a file of its own."""

from __future__ import annotations

from .coding_streams import CompressionStream, DecompressionStream, TextDecoderStream, TextEncoderStream
from .readable_controller import ReadableStreamDefaultController
from .readable_stream import ReadableStream
from .stream_members import byte_length, member
from .stream_readers import ReadableStreamBYOBReader, ReadableStreamDefaultReader
from .transform_stream import (
    FixedLengthStream,
    IdentityTransformStream,
    TransformStream,
    TransformStreamDefaultController,
)
from .writable_stream import WritableStream, WritableStreamDefaultController, WritableStreamDefaultWriter

__all__ = [
    "ByteLengthQueuingStrategy",
    "CompressionStream",
    "CountQueuingStrategy",
    "DecompressionStream",
    "FixedLengthStream",
    "IdentityTransformStream",
    "ReadableStream",
    "ReadableStreamBYOBReader",
    "ReadableStreamDefaultController",
    "ReadableStreamDefaultReader",
    "TextDecoderStream",
    "TextEncoderStream",
    "TransformStream",
    "TransformStreamDefaultController",
    "WritableStream",
    "WritableStreamDefaultController",
    "WritableStreamDefaultWriter",
]


class CountQueuingStrategy:
    """How much may wait, in chunks."""

    def __init__(self, options: object = None, **more: object) -> None:
        self.highWaterMark = more.get("highWaterMark", member(options, "highWaterMark"))

    @classmethod
    def new(cls, *args: object, **more: object) -> CountQueuingStrategy:
        return cls(*args, **more)

    def size(self, _chunk: object) -> float:
        return 1


class ByteLengthQueuingStrategy(CountQueuingStrategy):
    """How much may wait, in bytes."""

    def size(self, _chunk: object) -> float:
        return byte_length(_chunk)
