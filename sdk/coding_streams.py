"""Streams that code: text to bytes and back, compression and back.

What always holds: what is decompressed leaves in pieces, each only when it is wanted: a small chunk that becomes large
does not fill the memory.
"""

from __future__ import annotations

import codecs
import zlib

from .stream_members import as_bytes
from .transform_stream import TransformStream, TransformStreamDefaultController

_PIECE_BYTES = 64 << 10
_WINDOWS = {"gzip": 31, "deflate": 15, "deflate-raw": -15}
"""zlib's names for the formats."""


class TextEncoderStream(TransformStream):
    """Texts in, UTF-8 out."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__(transform=self._transform)

    def _transform(self, chunk: object, controller: TransformStreamDefaultController) -> None:
        data = str(chunk).encode("utf-8", "replace")
        if data:
            controller.enqueue(data)


class TextDecoderStream(TransformStream):
    """Bytes in, texts out; a character may be cut anywhere."""

    def __init__(self, label: str = "utf-8", options: object = None, **more: object) -> None:
        """`fatal`: raise TypeError for what cannot be decoded. Raises ValueError for an unknown encoding."""
        given = {**(dict(options) if isinstance(options, dict) else {}), **more}  # pyright: ignore[reportUnknownVariableType]
        self.fatal = bool(given.get("fatal", False))
        self.ignoreBOM = bool(given.get("ignoreBOM", False))
        try:
            self.encoding = codecs.lookup(label).name
        except LookupError:
            raise ValueError(f'The encoding label provided ("{label}") is invalid.') from None
        self._decoder = codecs.getincrementaldecoder(label)("strict" if self.fatal else "replace")
        self._first = not self.ignoreBOM
        super().__init__(transform=self._transform, flush=self._flush)

    def _decode(self, data: bytes, final: bool) -> str:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise TypeError(f"Failed to decode input: {error}") from None
        if self._first and text:
            self._first = False
            text = text.removeprefix("\ufeff")
        return text

    def _transform(self, chunk: object, controller: TransformStreamDefaultController) -> None:
        text = self._decode(as_bytes(chunk), False)
        if text:
            controller.enqueue(text)

    def _flush(self, controller: TransformStreamDefaultController) -> None:
        text = self._decode(b"", True)
        if text:
            controller.enqueue(text)


def _window(format: str) -> int:
    found = _WINDOWS.get(format)
    if found is None:
        raise TypeError("The compression format must be either 'deflate', 'deflate-raw' or 'gzip'.")
    return found


class CompressionStream(TransformStream):
    """`gzip`, `deflate` or `deflate-raw`."""

    def __init__(self, format: str) -> None:
        """Raises TypeError for another format."""
        self._compressor = zlib.compressobj(wbits=_window(format))
        super().__init__(transform=self._transform, flush=self._flush)

    def _transform(self, chunk: object, controller: TransformStreamDefaultController) -> None:
        data = self._compressor.compress(as_bytes(chunk))
        if data:
            controller.enqueue(data)

    def _flush(self, controller: TransformStreamDefaultController) -> None:
        controller.enqueue(self._compressor.flush())


class DecompressionStream(TransformStream):
    """The other way. What is damaged, cut off or has something behind its end fails with TypeError."""

    def __init__(self, format: str) -> None:
        """Raises TypeError for another format."""
        self._decompressor = zlib.decompressobj(wbits=_window(format))
        super().__init__(transform=self._transform, flush=self._flush)

    async def _transform(self, chunk: object, controller: TransformStreamDefaultController) -> None:
        data = as_bytes(chunk)
        first = True
        while data:
            if self._decompressor.eof:
                raise TypeError("Trailing bytes after end of compressed data")
            try:
                piece = self._decompressor.decompress(data, _PIECE_BYTES)
            except zlib.error:
                raise TypeError("Decompression failed.") from None
            data = self._decompressor.unconsumed_tail or self._decompressor.unused_data
            if piece:
                if not first:
                    await controller.wanted()
                first = False
                controller.enqueue(piece)

    def _flush(self, controller: TransformStreamDefaultController) -> None:
        if not self._decompressor.eof:
            raise TypeError("Called close() on a decompression stream with incomplete data")
