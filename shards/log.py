"""The local driver of Log: segments in DATA/log/<session>/, preallocated, each naming how the one before it ends.

What always holds: a batch is acknowledged only after the one sync that covers it, and after the folder entry of its segment
is synced; a failed write or sync is never tried again; segments go strictly oldest first.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence

from ..engine.disk import Disk
from ..engine.errors import DataFolderError, StorageFull
from .records import END, SEAL, Head, digest_of, pack_batch
from .segment import SEGMENT_HEADER, Chain, Index, SegmentHeader, SegmentReader, name_of, pack_segment_header

_FULL = (errno.ENOSPC, errno.EDQUOT)
_RESERVE = 8  # the last eighth of the last segment is for marks and trims, which make room


class SessionLog:
    """The log of a running session. One thread at a time uses it: the loop, or the sync's thread while one is syncing."""

    def __init__(self, disk: Disk, folder: str, session: str, segment_bytes: int) -> None:
        """`folder`: DATA/log. Makes and locks the session's own folder. Raises OSError, DataFolderError."""
        self.session = session
        self.folder = f"{folder}/{session}"
        self.number = 0
        self.first = 1
        self.index = Index()
        """Of the segment that is being written."""
        self._disk = disk
        self._digest = digest_of(session)
        self._segment_bytes = segment_bytes
        self._batch = 0
        self._fd = -1
        self._position = self._synced = 0
        self._capacity = 0
        self._chain = Chain()
        self._synced_chain = Chain()
        self._pending: tuple[Sequence[Head], int] | None = None
        self._ends: dict[int, tuple[int, int]] = {}
        self.ends_early = False
        """The next batch begins a segment: nobody needs this one, and its index takes memory."""
        self._spare = 0
        """Number of the segment that lies ready, its folder entry synced; 0: none does."""
        self._names = threading.Lock()
        """Held while a file gets the name of a segment."""
        self._room = threading.Lock()
        """Held while a spare is made: the loop makes one itself when the thread is late."""
        disk.make_folder(self.folder)
        self._lock_fd = lock_session(self.folder, exclusive=True)
        disk.sync_folder(folder)
        self._begin(SegmentHeader(session, 1))
        disk.sync_data(self._fd)

    # ------------------------------------------------------------------ segments
    def _begin(self, header: SegmentHeader, room: int = 0) -> None:
        """Make the segment the current one, its folder entry synced. Raises OSError; the old one stays then."""
        disk, path = self._disk, f"{self.folder}/{name_of(header.number)}"
        size = max(self._segment_bytes, SEGMENT_HEADER + room)
        with self._names:
            ready, self._spare = self._spare == header.number and size == self._segment_bytes, 0
            if not ready:
                disk.unlink(path, missing_ok=True)
            fd = disk.open(path, create=not ready, exclusive=not ready)
            old, self.number = self.number, header.number
        try:
            if not ready:
                disk.allocate(fd, size)
            disk.pwrite(fd, pack_segment_header(header), 0)
            if not ready:
                disk.sync_folder(self.folder)
        except OSError:
            self.number = old
            disk.close(fd)
            disk.unlink(path, missing_ok=True)
            raise
        if self._fd >= 0:
            disk.close(self._fd)
        self._fd, self._capacity = fd, size
        self._position = self._synced = SEGMENT_HEADER
        self._chain, self._synced_chain = Chain(), Chain()
        self.index = Index()

    def make_room(self) -> bool:
        """Make the next segment's file ahead of time, so that nothing but its header is to be written when it is needed.

        A segment without a header at the end of a log holds nothing. False when there is no room on the disk.
        """
        with self._room:
            return self._spare != 0 or self._make_spare()

    def _make_spare(self) -> bool:
        path = f"{self.folder}/spare"
        try:
            fd = self._disk.open(path, create=True)
            try:
                self._disk.allocate(fd, self._segment_bytes)
            finally:
                self._disk.close(fd)
        except OSError as error:
            self._disk.unlink(path, missing_ok=True)
            if error.errno not in _FULL:
                raise
            return False
        with self._names:
            number = self.number + 1
            self._disk.rename(path, f"{self.folder}/{name_of(number)}")
        self._disk.sync_folder(self.folder)
        with self._names:
            if self.number < number:
                self._spare = number
        return True

    @property
    def wants_room(self) -> bool:
        """Whether there is no spare, and the current segment is used enough for one to be wanted soon."""
        return not self._spare and self._position * _RESERVE > self._capacity

    def _roll(self, room: int) -> None:
        """Seal the current segment with its index and begin the next. Raises StorageFull."""
        end, at = self._synced, 0
        parts = pack_batch(self._digest, self.number, end, 0, [Head(SEAL)], [self.index.pack()])
        try:
            self._disk.pwritev(
                self._fd, list(parts), end
            )  # past the valid end: it may be lost, then the segment is scanned
            at = end
        except OSError as error:
            if error.errno not in _FULL:
                raise
        self._next(end, at, room)

    def _next(self, end: int, index_at: int, room: int) -> None:
        header = SegmentHeader(self.session, self.number + 1, self.number, end, index_at, self._synced_chain.value())
        old = self.number
        try:
            self._begin(header, room)
        except OSError as error:
            if error.errno in _FULL:
                raise full() from error
            raise
        self._ends[old] = (end, index_at)

    # ------------------------------------------------------------------ batches
    def append(self, heads: Sequence[Head], pages: Sequence[bytes], *, control: bool = False) -> None:
        """Write one batch, unsynced. Raises OSError when the write fails, StorageFull before anything is written.

        `control`: marks and trims, which may use the last of the space.
        """
        assert self._pending is None, "one batch at a time is being written"
        self._batch += 1
        parts = pack_batch(self._digest, self.number, self._position, self._batch, heads, pages)
        length = sum(len(part) for part in parts)
        if self._position + length > self._capacity or self.ends_early:
            self.ends_early = False
            self._roll(length)
            parts = pack_batch(self._digest, self.number, self._position, self._batch, heads, pages)
        elif not control and not self._spare and self._position + length > self._capacity * (_RESERVE - 1) // _RESERVE:
            if not self.make_room():
                raise full()
        self._pending = (heads, self._position)
        self._disk.pwritev(self._fd, list(parts), self._position)
        self._position += length
        self._chain.add(parts[0])

    def sync(self) -> None:
        """Make the appended batch durable. Raises OSError: then call `begin_anew`, never `sync` again."""
        self._disk.sync_data(self._fd)
        self.synced()

    def sync_device(self) -> None:
        """The sync alone, for a thread; `synced` on the loop completes it."""
        self._disk.sync_data(self._fd)

    def synced(self) -> None:
        """Note that the appended batch is durable."""
        if self._pending is not None:
            heads, position = self._pending
            self._pending = None
            for head in heads:
                self.index.add(head, position)
        self._synced = self._position
        self._synced_chain = self._chain.copy()

    def begin_anew(self) -> None:
        """After a failed write or sync: a new segment, synced, whose header ends the old one before the failed batch.

        Raises OSError, StorageFull: then nothing may be acknowledged any more, and the shard must stop.
        """
        self._pending = None
        self._next(self._synced, 0, 0)
        self._disk.sync_data(self._fd)

    # ------------------------------------------------------------------ bounds
    @property
    def bytes(self) -> int:
        """Valid bytes of all segments that are kept."""
        return sum(end for end, _ in self._ends.values()) + self._synced

    def trim(self, first: int) -> None:
        """Delete the segments below `first`. The TRIM record that says so must be durable."""
        self.delete(self.let_go(first))

    def let_go(self, first: int) -> list[str]:
        """Forget the segments below `first`, whose TRIM record is durable; what is left to `delete`."""
        paths: list[str] = []
        while self.first < min(first, self.number):
            paths.append(f"{self.folder}/{name_of(self.first)}")
            self._ends.pop(self.first, None)
            self.first += 1
        return paths

    def delete(self, paths: list[str]) -> None:
        """Delete segments that were let go, oldest first; on a thread, for it takes long while the disk is busy."""
        for path in paths:
            self._disk.unlink(path, missing_ok=True)

    def places(self) -> list[tuple[str, str, int, int | None, int]]:
        """(path, session, number, valid bytes, where its index is) of the segments that are kept, oldest first."""
        found: list[tuple[str, str, int, int | None, int]] = []
        for number in range(self.first, self.number + 1):
            end, index_at = self._ends.get(number, (self._synced, 0))
            found.append((f"{self.folder}/{name_of(number)}", self.session, number, end, index_at))
        return found

    def readers(self, first: int) -> Iterator[tuple[SegmentReader, Index]]:
        """The segments from `first` on with their indexes, oldest first; each reader is closed after its turn."""
        for number in range(max(first, self.first), self.number + 1):
            reader = SegmentReader(self._disk, f"{self.folder}/{name_of(number)}", self.session, number)
            try:
                if number == self.number:
                    yield reader, self.index
                else:
                    end, index_at = self._ends[number]
                    yield reader, reader.index(end, index_at)[0]
            finally:
                reader.close()

    # ------------------------------------------------------------------ the end
    def close(self, *, clean: bool) -> None:
        """Stop writing, let go of the session's lock. `clean`: nothing comes any more; the END record says so."""
        try:
            if clean:
                self.append([Head(END)], [], control=True)
                self.sync()
            with self._room:
                self._disk.unlink(f"{self.folder}/spare", missing_ok=True)
                if self._spare:
                    self._disk.unlink(f"{self.folder}/{name_of(self._spare)}", missing_ok=True)
        finally:
            self._disk.close(self._fd)
            os.close(self._lock_fd)


def full() -> StorageFull:
    """What callers get while there is no room for another segment."""
    return StorageFull(
        "the disk of the data folder is full: this shard only reads",
        hint="free space there; writing goes on by itself",
    )


def lock_session(folder: str, *, exclusive: bool) -> int:
    """The descriptor that holds the session's lock: exclusive for its shard, shared for those who replay it.

    Raises DataFolderError while a process of that session lives.
    """
    fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise DataFolderError(
            f"the session {os.path.basename(folder)} is still being written by a living process",
            hint="a shard of an earlier start has not ended; see `ps`, and wait for it",
        ) from error
    return fd


GONE = ".gone"


def delete_session(disk: Disk, folder: str, session: str) -> None:
    """Remove a dead session's log: durably renamed first, so that no half of it is ever taken for a log."""
    path = f"{folder}/{session}"
    if not session.endswith(GONE):
        disk.rename(path, path + GONE)
        disk.sync_folder(folder)
        path += GONE
    for name in disk.list_folder(path):
        disk.unlink(f"{path}/{name}", missing_ok=True)
    disk.remove_folder(path)


def sessions(disk: Disk, folder: str) -> list[str]:
    """The sessions with a log, oldest first; leftovers of deleted ones are removed."""
    found: list[str] = []
    for name in disk.list_folder(folder):
        if name.endswith(GONE):
            delete_session(disk, folder, name)
        else:
            found.append(name)
    return found


__all__ = ["SessionLog", "delete_session", "full", "lock_session", "sessions"]
