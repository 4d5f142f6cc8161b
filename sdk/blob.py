"""`Blob` and `File`: bytes with a content type, and a name.

What always holds: neither changes after it was made; a slice shares nothing that could.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import cast

from ..engine.values import Buffer
from .readable_stream import ReadableStream
from .stream_members import as_bytes, member


class BlobEnding(StrEnum):
    """What becomes of line endings in texts."""

    TRANSPARENT = "transparent"
    NATIVE = "native"


def _part(part: object, endings: str) -> bytes:
    if isinstance(part, Blob):
        return part.data
    if isinstance(part, str):
        if endings == BlobEnding.NATIVE:
            part = part.replace("\r\n", "\n").replace("\r", "\n").replace("\n", os.linesep)
        return part.encode("utf-8", "replace")
    try:
        return as_bytes(part)
    except TypeError:
        raise TypeError(f"a Blob is made of texts, bytes and Blobs, not {type(part).__name__}") from None


def _is_part(parts: object) -> bool:
    return isinstance(parts, Blob | str | bytes | bytearray | memoryview) or hasattr(parts, "to_bytes")


class Blob:
    """`Blob(parts, content_type=None, endings=None)`; parts: one text, bytes-like or Blob, or several of them."""

    def __init__(
        self,
        parts: object = (),
        content_type: str | None = None,
        endings: BlobEnding | str | None = None,
        *,
        type: str | None = None,
    ) -> None:
        """`type`: another name of content_type. A single Blob passes on its own. Raises TypeError."""
        chosen = BlobEnding(endings or BlobEnding.TRANSPARENT)
        given = content_type if content_type is not None else type
        if _is_part(parts):
            if given is None and isinstance(parts, Blob):
                given = parts.content_type
            self.data = _part(parts, chosen)
        elif parts is None:
            self.data = b""
        elif isinstance(parts, Iterable):
            self.data = b"".join([_part(part, chosen) for part in cast("Iterable[object]", parts)])
        else:
            raise TypeError(f"a Blob is made of texts, bytes and Blobs, not {parts.__class__.__name__}")
        kind = given or ""
        self._kind = kind.lower() if kind.isascii() and kind.isprintable() else ""

    @classmethod
    def new(cls, parts: object = (), options: object = None, **more: object) -> Blob:
        """As JavaScript makes one: `type` and `endings` in an object, or as keyword arguments."""
        kind, endings = more.get("type", member(options, "type")), more.get("endings", member(options, "endings"))
        if isinstance(parts, str):
            raise TypeError("Blob.new takes a list of parts")
        return cls(list(cast("Iterable[object]", parts)), cast("str | None", kind), cast("str | None", endings))

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @property
    def content_type(self) -> str:
        """Empty when there is none."""
        return self._kind

    @property
    def type(self) -> str:
        return self._kind

    @property
    def js_object(self) -> Blob:
        return self

    async def text(self) -> str:
        """Decoded as UTF-8."""
        return self.data.decode("utf-8", "replace")

    async def bytes(self) -> bytes:
        return self.data

    async def arrayBuffer(self) -> Buffer:
        return Buffer(self.data)

    def stream(self) -> ReadableStream:
        return ReadableStream.of_bytes(self.data)

    def slice(self, start: int | None = None, end: int | None = None, content_type: str | None = None) -> Blob:
        """Some of it; negative positions count from the end. The content type is not passed on."""
        first = _position(0 if start is None else int(start), self.size)
        last = _position(self.size if end is None else int(end), self.size)
        return Blob(self.data[first : max(first, last)], content_type=content_type or "")

    def to_py(self) -> Blob:
        return self

    def __repr__(self) -> str:
        return f"Blob(size={self.size}, content_type={self._kind!r})"

    array_buffer = arrayBuffer


def _position(index: int, size: int) -> int:
    return max(size + index, 0) if index < 0 else min(index, size)


class File(Blob):
    """`File(parts, filename, content_type=None, endings=None, last_modified=None)`."""

    def __init__(
        self,
        parts: object,
        filename: str,
        content_type: str | None = None,
        endings: BlobEnding | str | None = None,
        last_modified: int | None = None,
        *,
        type: str | None = None,
    ) -> None:
        """`last_modified`: milliseconds since the epoch; now when it is left out. Raises TypeError."""
        super().__init__(parts, content_type, endings, type=type)
        self.name = str(filename)
        self.last_modified = int(time.time() * 1000) if last_modified is None else int(last_modified)

    @classmethod
    def new(cls, parts: object = (), name: object = "", options: object = None, **more: object) -> File:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As JavaScript makes one: `type`, `endings`, `lastModified` in an object, or as keyword arguments."""

        def option(key: str) -> object:
            return more.get(key, member(options, key))

        if isinstance(parts, str):
            raise TypeError("File.new takes a list of parts")
        changed = option("lastModified")
        return cls(
            list(cast("Iterable[object]", parts)),
            str(name),
            cast("str | None", option("type")),
            cast("str | None", option("endings")),
            None if changed is None else int(cast("int", changed)),
        )

    @property
    def lastModified(self) -> int:
        return self.last_modified

    @property
    def js_object(self) -> File:
        return self

    def __repr__(self) -> str:
        return f"File(name={self.name!r}, size={self.size}, content_type={self.content_type!r})"


BlobValue = str | bytes | bytearray | memoryview | Blob
"""What a part of a Blob may be."""
