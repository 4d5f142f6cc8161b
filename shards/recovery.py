"""The logs of dead sessions: synced, locked and indexed before the shard serves; read object by object afterwards.

What always holds: a log is synced before anything in it is believed (a commit that was readable but not durable must not
reach a main file that outlives it); a dead session's log is only read; what a mark in any log covers is not applied again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..engine.database import PAGE, TEMPLATE, read_version, write_version
from ..engine.disk import Disk
from ..engine.errors import LogDamaged
from .log import lock_session
from .records import Head, images
from .replay import Place, Plan, last_images, plan
from .segment import SEGMENT_HEADER, Commits, SegmentHeader, SegmentReader, read_segment_header


@dataclass(slots=True)
class DeadObject:
    """What the dead logs hold of one object."""

    class_key: str
    name: str | None
    mark: tuple[int, int] | None = None
    alarm_ms: int | None = None
    """What they say last of its alarm, as in `CommitRecord`; None: nothing."""
    deleted: int = 0
    """The newest generation that is gone, with all before it; 0: none."""
    pieces: list[tuple[int, Commits]] = field(default_factory=list[tuple[int, Commits]])
    """(number of the segment in `DeadLogs`, its commits)."""

    @property
    def generation(self) -> int:
        return max((commits.generation for _, commits in self.pieces), default=self.deleted)

    @property
    def exists(self) -> bool:
        """Whether any commit came after its deletion."""
        return self.generation > self.deleted


@dataclass(frozen=True, slots=True)
class _Segment:
    session: str
    number: int
    path: str
    end: int | None
    """Its valid bytes; None: up to the last whole batch."""
    index_at: int


class DeadLogs:
    """The dead sessions that this shard has to bring back, for the objects that it owns."""

    def __init__(self, disk: Disk, folder: str, owns: Callable[[bytes], bool]) -> None:
        """`folder`: DATA/log."""
        self.objects: dict[bytes, DeadObject] = {}
        self.sessions: list[str] = []
        self._disk = disk
        self._folder = folder
        self._owns = owns
        self._segments: list[_Segment] = []
        self._locks: list[int] = []

    def read(self, sessions: Sequence[str]) -> None:
        """Sync and index the logs, oldest first. Raises LogDamaged, VersionMismatch, DataFolderError, OSError."""
        self.sessions = sorted(sessions)
        marks: dict[bytes, tuple[int, int]] = {}
        deletes: dict[bytes, tuple[int, str]] = {}
        for session in self.sessions:
            self._read_session(session, marks, deletes)
        for object_id, (generation, class_key) in deletes.items():
            if self._owns(object_id):
                self.objects.setdefault(object_id, DeadObject(class_key, None)).deleted = generation
        for object_id, mark in marks.items():
            found = self.objects.get(object_id)
            if found is not None:
                found.mark = mark
        for object_id in [key for key, found in self.objects.items() if _is_done(found)]:
            del self.objects[object_id]

    def places(self) -> list[tuple[str, str, int, int | None, int]]:
        """(path, session, number, valid bytes, where its index is) of all their segments, oldest first."""
        return [(s.path, s.session, s.number, s.end, s.index_at) for s in self._segments]

    def _read_session(
        self, session: str, marks: dict[bytes, tuple[int, int]], deletes: dict[bytes, tuple[int, str]]
    ) -> None:
        disk, folder = self._disk, f"{self._folder}/{session}"
        self._locks.append(lock_session(folder, exclusive=False))
        names = [name for name in disk.list_folder(folder) if name.endswith(".segment")]
        for name in names:
            fd = disk.open(f"{folder}/{name}")
            try:
                disk.sync_data(fd)
            finally:
                disk.close(fd)
        disk.sync_folder(folder)
        disk.sync_folder(self._folder)
        trim, first = 1, None
        indexes: list[tuple[_Segment, dict[bytes, Commits]]] = []
        headers = [(name, self._header(f"{folder}/{name}")) for name in names]
        while headers and headers[-1][1] is None:  # made, but its header never synced: nothing in it was acknowledged
            headers.pop()
        for at, (name, header) in enumerate(headers):
            path = f"{folder}/{name}"
            if header is None or header.session != session or name != f"{header.number:08d}.segment":
                raise LogDamaged(f"{path} has no valid header, but a later segment follows")
            after = headers[at + 1][1] if at + 1 < len(headers) else None
            if after is not None and after.previous_number != header.number:
                # Deletions are not synced, so one that was trimmed may be back while a later one is gone: a TRIM in
                # what follows says so, or the check below finds that something is missing.
                trim, first, indexes = 1, None, []
                continue
            first = header.number if first is None else first
            reader = SegmentReader(disk, path, session, header.number)
            try:
                end = after.previous_length if after is not None else None
                index_at = after.previous_index if after is not None else 0
                index, _, digest = reader.index(end, index_at)
                if after is not None and digest and digest != after.previous_hash:
                    raise reader.damage(SEGMENT_HEADER)
            finally:
                reader.close()
            trim = max(trim, index.trim)
            for object_id, mark in index.marks.items():
                marks[object_id] = max(marks.get(object_id, (0, 0)), mark)
            for object_id, gone in index.deletes.items():
                deletes[object_id] = max(deletes.get(object_id, (0, "")), gone)
            indexes.append((_Segment(session, header.number, path, end, index_at), index.commits))
        if first is not None and first > trim:
            raise LogDamaged(f"{folder}: the segments {trim} to {first - 1} are missing")
        for segment, commits in indexes:
            if segment.number >= trim:
                self._add(segment, commits)

    def _header(self, path: str) -> SegmentHeader | None:
        fd = self._disk.open(path, write=False)
        try:
            return read_segment_header(self._disk.pread(fd, SEGMENT_HEADER, 0), path)
        finally:
            self._disk.close(fd)

    def _add(self, segment: _Segment, commits: dict[bytes, Commits]) -> None:
        number = len(self._segments)
        self._segments.append(segment)
        for object_id, piece in commits.items():
            if not self._owns(object_id):
                continue
            found = self.objects.setdefault(object_id, DeadObject(piece.class_key, piece.name))
            found.name = piece.name or found.name
            if piece.alarm_ms is not None:
                found.alarm_ms = piece.alarm_ms
            found.pieces.append((number, piece))

    # ------------------------------------------------------------------ one object
    def plan(self, object_id: bytes, replaced: int = 0) -> Plan:
        """What has to be applied to the object's file, which is of generation `replaced`. Raises LogDamaged."""
        found = self.objects[object_id]
        places = (
            Place(piece.generation, change, number, position, part)
            for number, piece in found.pieces
            for position, change, part in zip(piece.positions, piece.changes, piece.parts, strict=True)
        )
        covered = max(found.mark or (0, 0), (found.deleted, _FOR_GOOD if found.deleted else 0), (replaced, 0))
        return plan(object_id, places, covered if covered > (1, 0) else found.mark)

    def apply(self, object_id: bytes, path: str) -> int | None:
        """Bring the main file up to date, unsynced, and give its change number; None when nothing is to be done.

        Raises LogDamaged, OSError.
        """
        todo = self.plan(object_id, generation_of(self._disk, path))
        if not todo.places:
            return None
        with Readers(self._disk, [(s.path, s.session, s.number) for s in self._segments]) as readers:
            return write_images(self._disk, path, object_id, todo, readers)

    def done(self, object_id: bytes) -> None:
        """The object's file is synced and marked: its part of the dead logs is not needed any more."""
        self.objects.pop(object_id, None)

    def close(self) -> None:
        """Let go of the dead sessions' locks."""
        for fd in self._locks:
            os.close(fd)
        self._locks = []
        self._segments = []


_FOR_GOOD = 1 << 62
"""Above every change number: a deletion covers its whole generation."""


def generation_of(disk: Disk, path: str) -> int:
    """Of the file at `path`; 0 when there is none, or one that was never completed."""
    try:
        fd = disk.open(path, write=False)
    except FileNotFoundError:
        return 0
    try:
        return read_version(disk, fd)[0]
    finally:
        disk.close(fd)


def _is_done(found: DeadObject) -> bool:
    """Whether nothing is left to do: a mark covers its commits, and parts without a commit do not count."""
    mark = found.mark or (0, 0)
    if found.deleted and mark[0] <= found.deleted:
        return False
    return not any(
        part >= 0 and (piece.generation, change) > mark
        for _, piece in found.pieces
        for change, part in zip(reversed(piece.changes), reversed(piece.parts), strict=True)
    )


class Readers:
    """Opens segments when they are first needed; closes them all."""

    def __init__(self, disk: Disk, segments: Iterable[tuple[str, str, int]]) -> None:
        """`segments`: (path, session, number)."""
        self._disk = disk
        self._segments = list(segments)
        self._open: dict[int, SegmentReader] = {}

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_exc: object) -> None:
        for reader in self._open.values():
            reader.close()

    def __getitem__(self, number: int) -> SegmentReader:
        reader = self._open.get(number)
        if reader is None:
            reader = self._open[number] = SegmentReader(self._disk, *self._segments[number])
        return reader


def _head_of(heads: list[Head], object_id: bytes, place: Place, reader: SegmentReader) -> tuple[int, Head]:
    for at, head in enumerate(heads):
        if head.object_id == object_id and head.change == place.change and head.generation == place.generation:
            return at, head
    raise reader.damage(place.position)


def write_images(
    disk: Disk, path: str, object_id: bytes, todo: Plan, readers: Readers, *, believed: bool = False
) -> int:
    """Write the last image of each page, the size and the change number. Unsynced: the log stays until a mark.

    `believed`: what lies there is of this session and may have a mark on its way, so nothing of it may be lost meanwhile.
    """
    tocs: list[tuple[int, ...]] = []
    size_pages = 0
    for place in todo.places:
        reader = readers[place.log]
        _, heads = reader.heads(place.position)
        head = _head_of(heads, object_id, place, reader)[1]
        tocs.append(head.pages)
        size_pages = head.size_pages
    wanted: dict[int, list[int]] = {}
    for number, index in last_images(tocs).items():
        if number <= size_pages:
            wanted.setdefault(index, []).append(number)
    fd = _open_base(disk, path, object_id, todo, believed)
    try:
        for index in sorted(wanted):
            place = todo.places[index]
            reader = readers[place.log]
            header, heads = reader.heads(place.position)
            raw = reader.payload(header)
            if raw is None:
                raise reader.damage(place.position)
            at, _ = _head_of(heads, object_id, place, reader)
            pages = images(heads, raw)[at]
            for number in wanted[index]:
                disk.pwrite(fd, pages[number], (number - 1) * PAGE)
        disk.truncate(fd, size_pages * PAGE)
        write_version(disk, fd, todo.generation, todo.change)
    finally:
        disk.close(fd)
    return todo.change


def _open_base(disk: Disk, path: str, object_id: bytes, todo: Plan, believed: bool) -> int:
    if todo.base == 0:  # never marked: whatever lies there was not synced
        disk.make_folder(os.path.dirname(path))
        fd = disk.open(path, create=True)
        try:
            if not believed or read_version(disk, fd)[0] != todo.generation:
                disk.truncate(fd, 0)
                disk.pwrite(fd, TEMPLATE, 0)
                write_version(disk, fd, todo.generation, 0)
        except OSError:
            disk.close(fd)
            raise
        return fd
    try:
        return disk.open(
            path
        )  # its header is no witness: a page image of an unfinished checkpoint may have an older one
    except FileNotFoundError:
        raise LogDamaged(
            f"object {object_id.hex()}: its file {path} is missing, and the logs begin at commit {todo.base + 1}",
            hint="restore the file from a copy",
        ) from None
