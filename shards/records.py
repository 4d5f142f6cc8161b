"""One batch of the shard log as bytes: a header, a table of contents, the page images. Pure functions.

What always holds: the checksums cover the session, the segment and the position, so that bytes of another place are never
taken for a batch; numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import lz4.block
import msgpack

from ..engine.database import PAGE
from ..engine.errors import LogDamaged

COMMIT, PART, MARK, REPLACE, DELETE, RELEASE, TRIM, END, SEAL = range(1, 10)
"""Kinds of records. MARK: the main file is complete up to `change`, and synced. TRIM: segments below `change` are not
needed. SEAL: the segment's own index. PART: pages of a large commit, which counts only with its COMMIT. DELETE: the object
is gone, with all generations up to this one; with `change` FORGET its history too. REPLACE and RELEASE are reserved: this
version refuses to read them."""
FORGET = 1
KNOWN = frozenset({COMMIT, PART, MARK, DELETE, TRIM, END, SEAL})

_HEAD = struct.Struct("<4s8sIQQIIIII")
_CRC = struct.Struct("<I")
HEADER = _HEAD.size + _CRC.size
_MAGIC = b"PRDB"
_FIELDS_1 = 9  # of segments of format 1, which have no parts


class Head(NamedTuple):
    """One record's line in the table of contents."""

    kind: int
    object_id: bytes = b""
    class_key: str = ""
    name: str | None = None
    generation: int = 0
    change: int = 0
    size_pages: int = 0
    alarm_ms: int | None = None
    """None: as it was before; 0: disarmed."""
    time_ms: int = 0
    part: int = 0
    """Of a COMMIT: how many PART records lie before it. Of a PART: its number from 1, negative."""
    pages: tuple[int, ...] = ()
    """Page numbers, in the order of the images in the payload."""


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """Where a batch is and how long its parts are, in bytes."""

    segment: int
    position: int
    number: int
    toc_bytes: int
    payload_bytes: int
    raw_bytes: int
    toc_crc: int
    payload_crc: int

    @property
    def length(self) -> int:
        return HEADER + self.toc_bytes + self.payload_bytes


def digest_of(session: str) -> bytes:
    """Eight bytes that stand for the session in its batches."""
    return hashlib.blake2b(session.encode(), digest_size=8).digest()


def pack_batch(
    digest: bytes, segment: int, position: int, number: int, heads: Sequence[Head], pages: Sequence[bytes]
) -> list[bytes]:
    """The parts to write one after the other at `position`."""
    toc = cast("bytes", msgpack.packb(heads))
    raw = b"".join(pages)
    payload = cast("bytes", lz4.block.compress(raw, store_size=False)) if raw else b""
    head = _HEAD.pack(
        _MAGIC,
        digest,
        segment,
        position,
        number,
        len(toc),
        len(payload),
        len(raw),
        zlib.crc32(toc),
        zlib.crc32(payload),
    )
    return [head + _CRC.pack(zlib.crc32(head)), toc, payload]


def read_header(data: bytes, digest: bytes, segment: int, position: int) -> BatchHeader | None:
    """The header at the beginning of `data` if it is a whole one of that place; None otherwise."""
    if len(data) < HEADER or data[:4] != _MAGIC or data[4:12] != digest:
        return None
    head = data[: _HEAD.size]
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(head):
        return None
    found = BatchHeader(*_HEAD.unpack(head)[2:])
    return found if found.segment == segment and found.position == position else None


def read_toc(toc: bytes, header: BatchHeader) -> list[Head] | None:
    """The table of contents, None when its checksum is wrong. Raises LogDamaged for a kind that is not known."""
    if len(toc) != header.toc_bytes or zlib.crc32(toc) != header.toc_crc:
        return None
    heads: list[Head] = []
    for line in cast("list[list[object]]", msgpack.unpackb(toc, use_list=True)):
        *fields, pages = line
        if fields[0] not in KNOWN:
            raise LogDamaged(
                f"the log holds a record of kind {fields[0]}, which this perdure does not know", hint="upgrade perdure"
            )
        if len(fields) == _FIELDS_1:
            fields.append(0)
        heads.append(Head._make([*fields, tuple(cast("list[int]", pages))]))
    return heads


def read_payload(payload: bytes, header: BatchHeader) -> bytes | None:
    """The page images one after the other, None when the checksum is wrong."""
    if len(payload) != header.payload_bytes or zlib.crc32(payload) != header.payload_crc:
        return None
    return cast("bytes", lz4.block.decompress(payload, uncompressed_size=header.raw_bytes)) if payload else b""


def images(heads: Sequence[Head], raw: bytes) -> list[dict[int, bytes]]:
    """For each record its page images by number."""
    found: list[dict[int, bytes]] = []
    position = 0
    for head in heads:
        pages: dict[int, bytes] = {}
        for number in head.pages:
            pages[number] = raw[position : position + PAGE]
            position += PAGE
        found.append(pages)
    return found
