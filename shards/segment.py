"""A file of the shard log: its header, its index, and reading it back.

What always holds: a header names where the segment before it ends (number, length, hash), so whatever follows there was
never acknowledged; a bad batch before a good one is damage, and is named, never skipped.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import msgpack

from ..engine.alarms import UNSURE_MS
from ..engine.disk import Disk
from ..engine.errors import LogDamaged, VersionMismatch
from .records import (
    COMMIT,
    DELETE,
    END,
    HEADER,
    MARK,
    PART,
    SEAL,
    TRIM,
    BatchHeader,
    Head,
    digest_of,
    read_header,
    read_payload,
    read_toc,
)

VERSION = 2
_HEAD = struct.Struct("<8sH40sIIQQ16s")
_CRC = struct.Struct("<I")
SEGMENT_HEADER = 128
_MAGIC = b"PRDULOG\n"
_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """`previous_length`: valid bytes of the segment before; `previous_index`: where its index is, 0 for none."""

    session: str
    number: int
    previous_number: int = 0
    previous_length: int = 0
    previous_index: int = 0
    previous_hash: bytes = bytes(16)


@dataclass(slots=True)
class Commits:
    """One object's commits in one segment: where their batches begin, their change numbers, and `Head.part`."""

    class_key: str
    name: str | None
    generation: int
    positions: array[int] = field(default_factory=lambda: array("Q"))
    changes: array[int] = field(default_factory=lambda: array("Q"))
    parts: array[int] = field(default_factory=lambda: array("i"))
    alarm_ms: int | None = None
    """What the last of them that spoke of the alarm said; None: none did."""


@dataclass(slots=True)
class Index:
    """What one segment holds: commits and marks by object, the newest trim, whether the log ends in it cleanly."""

    commits: dict[bytes, Commits] = field(default_factory=dict[bytes, Commits])
    marks: dict[bytes, tuple[int, int]] = field(default_factory=dict[bytes, tuple[int, int]])
    """Object → (generation, change)."""
    deletes: dict[bytes, tuple[int, str]] = field(default_factory=dict[bytes, tuple[int, str]])
    """Object → (newest generation that is gone, class key)."""
    trim: int = 0
    ended: bool = False

    def add(self, head: Head, position: int) -> None:
        """Note a record of the batch at `position`."""
        if head.kind in (COMMIT, PART):
            commits = self.commits.get(head.object_id)
            if commits is None or commits.generation != head.generation:
                commits = self.commits[head.object_id] = Commits(head.class_key, head.name, head.generation)
            if head.name is not None:
                commits.name = head.name
            commits.positions.append(position)
            commits.changes.append(head.change)
            commits.parts.append(head.part)
            if head.alarm_ms is not None:
                commits.alarm_ms = head.alarm_ms
        elif head.kind == MARK:
            self.marks[head.object_id] = max(self.marks.get(head.object_id, (0, 0)), (head.generation, head.change))
        elif head.kind == DELETE:
            self.deletes[head.object_id] = (head.generation, head.class_key)
        elif head.kind == TRIM:
            self.trim = max(self.trim, head.change)
        elif head.kind == END:
            self.ended = True

    def pack(self) -> bytes:
        """As bytes, for the SEAL record."""
        commits = {
            key: [
                *(c.class_key, c.name, c.generation, c.positions.tobytes(), c.changes.tobytes()),
                c.parts.tobytes() if any(c.parts) else b"",
                c.alarm_ms,
            ]
            for key, c in self.commits.items()
        }
        return cast("bytes", msgpack.packb([commits, self.marks, self.trim, self.ended, self.deletes]))

    @classmethod
    def unpack(cls, data: bytes) -> Index:
        """The inverse of `pack`."""
        packed = cast("list[object]", msgpack.unpackb(data, strict_map_key=False))
        index = cls(trim=cast("int", packed[2]), ended=bool(packed[3]))
        for key, (class_key, name, generation, positions, changes, *more) in cast(
            "dict[bytes, tuple[str, str | None, int, bytes, bytes, bytes, int | None]]", packed[0]
        ).items():
            commits = index.commits[key] = Commits(class_key, name, generation)
            commits.positions.frombytes(positions)
            commits.changes.frombytes(changes)
            parts, alarm_ms = (*more, b"", UNSURE_MS)[:2] if len(more) == 0 else (*more, UNSURE_MS)[:2]
            commits.parts.frombytes(cast("bytes", parts) or bytes(4 * len(commits.changes)))
            commits.alarm_ms = cast("int | None", alarm_ms)  # an index of an older perdure does not say
        marks = cast("dict[bytes, list[int]]", packed[1])
        index.marks = {key: (generation, change) for key, (generation, change) in marks.items()}
        if len(packed) > 4:
            deletes = cast("dict[bytes, tuple[int, str]]", packed[4])
            index.deletes = {key: (generation, class_key) for key, (generation, class_key) in deletes.items()}
        return index


def name_of(number: int) -> str:
    """The file's name."""
    return f"{number:08d}.segment"


def pack_segment_header(header: SegmentHeader) -> bytes:
    head = _HEAD.pack(
        _MAGIC,
        VERSION,
        header.session.encode(),
        header.number,
        header.previous_number,
        header.previous_length,
        header.previous_index,
        header.previous_hash,
    )
    return (head + _CRC.pack(zlib.crc32(head))).ljust(SEGMENT_HEADER, b"\0")


def read_segment_header(data: bytes, path: str) -> SegmentHeader | None:
    """None when it is not whole. Raises VersionMismatch for a newer format."""
    if len(data) < SEGMENT_HEADER or data[:8] != _MAGIC:
        return None
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        return None
    _, version, session, *rest = _HEAD.unpack_from(data)
    if version > VERSION:
        raise VersionMismatch(
            f"{path} has format {version}, this perdure understands up to {VERSION}", hint="upgrade perdure"
        )
    return SegmentHeader(session.rstrip(b"\0").decode(), *rest)


class Chain:
    """The running hash of a segment: over the headers of its batches, which hold the checksums of the rest."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, header: bytes) -> None:
        self._hash.update(header)

    def copy(self) -> Chain:
        other = Chain()
        other._hash = self._hash.copy()
        return other

    def value(self) -> bytes:
        return self._hash.digest()


class SegmentReader:
    """Reads one segment through a window, so that neighbours cost one read."""

    def __init__(self, disk: Disk, path: str, session: str, number: int) -> None:
        self.path = path
        self.number = number
        self._disk = disk
        self._digest = digest_of(session)
        self._fd = disk.open(path, write=False)
        self.size = disk.size(self._fd)
        self._window = b""
        self._start = 0

    def close(self) -> None:
        self._disk.close(self._fd)

    def read(self, position: int, length: int) -> bytes:
        """Bytes at a position; fewer at the end of the file."""
        end = position + length
        if position < self._start or end > self._start + len(self._window):
            self._window = self._disk.pread(self._fd, max(length, _WINDOW), position)
            self._start = position
        return self._window[position - self._start : end - self._start]

    def header(self) -> SegmentHeader | None:
        return read_segment_header(self.read(0, SEGMENT_HEADER), self.path)

    def batch_header(self, position: int) -> BatchHeader | None:
        return read_header(self.read(position, HEADER), self._digest, self.number, position)

    def toc(self, header: BatchHeader) -> list[Head] | None:
        return read_toc(self.read(header.position + HEADER, header.toc_bytes), header)

    def payload(self, header: BatchHeader) -> bytes | None:
        return read_payload(self.read(header.position + HEADER + header.toc_bytes, header.payload_bytes), header)

    def payload_is_whole(self, header: BatchHeader) -> bool:
        data = self.read(header.position + HEADER + header.toc_bytes, header.payload_bytes)
        return len(data) == header.payload_bytes and zlib.crc32(data) == header.payload_crc

    def heads(self, position: int) -> tuple[BatchHeader, list[Head]]:
        """A batch that must be there. Raises LogDamaged."""
        header = self.batch_header(position)
        heads = self.toc(header) if header is not None else None
        if header is None or heads is None:
            raise self.damage(position)
        return header, heads

    def damage(self, position: int) -> LogDamaged:
        return LogDamaged(
            f"{self.path} is damaged at byte {position}, in a batch that was acknowledged",
            hint="nothing was dropped; restore this file from a copy, or set the data folder aside",
        )

    # ------------------------------------------------------------------ reading it all
    def batches(self, end: int | None) -> Iterator[tuple[BatchHeader, list[Head], bytes]]:
        """Every batch up to `end`; None: up to the first bad one, which must be the last. Raises LogDamaged."""
        position = SEGMENT_HEADER
        while end is None or position < end:
            header = self.batch_header(position)
            heads = self.toc(header) if header is not None else None
            if header is None or heads is None or not self.payload_is_whole(header):
                if end is not None or self._valid_after(position):
                    raise self.damage(position)
                return
            yield header, heads, self.read(position, HEADER)
            position += header.length

    def _valid_after(self, position: int) -> bool:
        """Whether a whole batch follows a bad one: then the bad one had been acknowledged."""
        marker = b"PRDB" + self._digest
        overlap = len(marker) - 1
        start = position + 1
        while start < self.size:
            data = self._disk.pread(self._fd, _WINDOW + overlap, start)
            if not data:
                return False
            at = data.find(marker)
            while at >= 0:
                header = self.batch_header(start + at)
                if header is not None and self.toc(header) is not None and self.payload_is_whole(header):
                    return True
                at = data.find(marker, at + 1)
            start += _WINDOW
        return False

    def index(self, end: int | None, index_at: int = 0) -> tuple[Index, int, bytes]:
        """What the segment holds, how long it is, its hash. `index_at`: where its SEAL record may be, which saves a scan."""
        if end is not None and index_at:
            sealed = self._sealed(index_at)
            if sealed is not None:
                return sealed, end, b""
        index, chain, length = Index(), Chain(), SEGMENT_HEADER
        for header, heads, raw in self.batches(end):
            if heads and heads[0].kind == SEAL:
                break
            for head in heads:
                index.add(head, header.position)
            chain.add(raw)
            length = header.position + header.length
        return index, length, chain.value()

    def _sealed(self, position: int) -> Index | None:
        header = self.batch_header(position)
        heads = self.toc(header) if header is not None else None
        if header is None or heads is None or not heads or heads[0].kind != SEAL:
            return None
        data = self.payload(header)
        return Index.unpack(data) if data is not None else None
