"""Whole database files that are made beside an object: for restore, import and export. Nothing here knows a log or a loop.

What always holds: a file is complete and synced when a function returns; the object's own file is only read; memory is bounded by
a slice, whatever the size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import apsw

from ..engine.database import APPLICATION_ID, PAGE, TEMPLATE, write_version
from ..engine.disk import Disk
from ..engine.errors import ImportRefused, StorageFull
from ..engine.stored_sockets import DROP_TABLES, NOTE

_SLICE = 1 << 20
WRITE_BACK_BYTES = 8 << 20
"""What may lie unwritten in memory of a file that is being made: a sync of the shard's log may have to wait for it."""
_FORMAT_OFFSET = 18
_PROGRESS_STEPS = 1_000
_WAL, _PLAIN = b"\x02\x02", b"\x01\x01"
_RESERVED_OFFSET, _RESERVED = 72, bytes(20)
HIDDEN_TABLES = (
    "create table if not exists _cf_KV(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    "create table if not exists _cf_METADATA(key TEXT PRIMARY KEY, value) WITHOUT ROWID"
)

_NOT_ITS_OWN = f"delete from _cf_METADATA where key in ('restore', '{NOTE}')"
"""What was noted for the next instance of the object that the file is of, and that it has sockets."""


def copy(disk: Disk, source: str, target: str) -> int:
    """Copy a file that nobody changes meanwhile; its bytes. Shares blocks where the file system can. Raises OSError."""
    source_fd = disk.open(source, write=False)
    try:
        target_fd = disk.open(target, create=True, exclusive=True)
        try:
            size = disk.size(source_fd)
            for start in range(0, size, _SLICE):
                disk.copy(source_fd, target_fd, min(_SLICE, size - start), start)
                if (start + _SLICE) % WRITE_BACK_BYTES == 0:
                    disk.write_back(target_fd, start + _SLICE - WRITE_BACK_BYTES, WRITE_BACK_BYTES)
            return size
        finally:
            disk.close(target_fd)
    finally:
        disk.close(source_fd)


def sync(disk: Disk, path: str) -> int:
    """Sync a file; its size in pages."""
    fd = disk.open(path)
    try:
        disk.sync_data(fd)
        return disk.size(fd) // PAGE
    finally:
        disk.close(fd)


def _patch(disk: Disk, path: str, *patches: tuple[int, bytes]) -> None:
    fd = disk.open(path)
    try:
        for offset, data in patches:
            disk.pwrite(fd, data, offset)
    finally:
        disk.close(fd)


def make_plain(disk: Disk, path: str) -> None:
    """Turn a copy of an object's file into one for any program: no -wal is asked for, no trace of our numbers. Synced."""
    _patch(disk, path, (_FORMAT_OFFSET, _PLAIN), (_RESERVED_OFFSET, _RESERVED))
    _edit(disk, path, f"{_NOT_ITS_OWN};{DROP_TABLES}")
    sync(disk, path)


def finish(disk: Disk, path: str, generation: int) -> int:
    """Make a whole file ready to be an object's of that generation, complete up to change 1. Synced; its size in pages."""
    _patch(disk, path, (_FORMAT_OFFSET, _PLAIN))
    _edit(disk, path, f"{HIDDEN_TABLES};{_NOT_ITS_OWN};{DROP_TABLES}")
    fd = disk.open(path)
    try:
        disk.pwrite(fd, _WAL, _FORMAT_OFFSET)
        write_version(disk, fd, generation, 1)
        disk.sync_data(fd)
        return disk.size(fd) // PAGE
    finally:
        disk.close(fd)


def _edit(disk: Disk, path: str, statements: str) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=disk.vfs or None)
    try:
        connection.execute(
            "pragma locking_mode=exclusive;pragma journal_mode=memory;pragma synchronous=off;pragma secure_delete=on"
        ).fetchall()
        connection.execute(statements).fetchall()
    except apsw.FullError as error:
        raise StorageFull("the disk of the data folder is full", hint="free space there") from error
    finally:
        connection.close(True)


def adopt(disk: Disk, source: str, target: str, generation: int, bytes_max: int) -> int:
    """Make an object's file from any SQLite database (a path, or a `file:` URI); its size in pages. It is not changed.

    Raises ImportRefused: no database, damaged, too large, or of a newer perdure; StorageFull, OSError.
    """
    try:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(source, flags=flags, vfs=disk.vfs or None)  # what it copies into uses it too
    except apsw.Error as error:
        raise ImportRefused(f"{source} cannot be opened: {error}") from error
    try:
        _check(connection, source, bytes_max)
        connection.execute(f"pragma page_size={PAGE}").fetchall()
        disk.unlink(target, missing_ok=True)
        with _WrittenBack(disk, target) as written_back:
            connection.set_progress_handler(written_back.look, _PROGRESS_STEPS)
            connection.execute("vacuum into ?", (target,)).fetchall()
            connection.set_progress_handler(None)
    except apsw.FullError as error:
        raise StorageFull("the disk of the data folder is full", hint="free space there") from error
    except apsw.Error as error:
        raise ImportRefused(f"{source} cannot be read: {error}", hint="it must be a whole SQLite database") from error
    finally:
        connection.close(True)
    _convert(disk, target, source)
    return finish(disk, target, generation)


class _WrittenBack:
    """Writes a file back while SQLite makes it: `look` is called from inside the statement, which waits meanwhile."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._fd = -1
        self._done = 0

    def __enter__(self) -> _WrittenBack:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)

    def look(self) -> bool:
        """Never asks for the end of the statement."""
        if self._fd < 0:
            if not self._disk.exists(self._path):
                return False
            self._fd = self._disk.open(self._path, write=False)
        size = self._disk.size(self._fd)
        if size - self._done >= WRITE_BACK_BYTES:
            self._disk.write_back(self._fd, self._done, size - self._done)
            self._done = size
        return False


def _check(connection: apsw.Connection, source: str, bytes_max: int) -> None:
    found = cast("int", connection.pragma("application_id"))
    if found > APPLICATION_ID and found >> 8 == APPLICATION_ID >> 8:
        raise ImportRefused(f"{source} is of a newer perdure", hint="upgrade perdure")
    size = cast("int", connection.pragma("page_count")) * cast("int", connection.pragma("page_size"))
    if size > bytes_max:
        raise ImportRefused(
            f"{source} has {size} bytes, an object may have {bytes_max}", hint="raise limits.object_bytes_max"
        )
    problem = connection.pragma("quick_check")
    if problem != "ok":
        raise ImportRefused(f"{source} is damaged: {problem}", hint="`sqlite3 FILE .recover` may save what is readable")


def _convert(disk: Disk, target: str, source: str) -> None:
    """Page size, no auto-vacuum, our own number of the format; other hidden names are refused."""
    connection = apsw.Connection(target, vfs=disk.vfs or None)
    try:
        connection.execute("pragma journal_mode=memory;pragma synchronous=off").fetchall()
        if connection.pragma("page_size") != PAGE or connection.pragma("auto_vacuum"):
            connection.execute(f"pragma page_size={PAGE};pragma auto_vacuum=none;vacuum").fetchall()
        hidden = connection.execute(
            "select name from sqlite_schema where name like '\\_cf\\_%' escape '\\' "
            "and name not in ('_cf_KV', '_cf_METADATA', '_cf_ANSWERS', '_cf_SOCKETS', '_cf_OUTBOX')"
        ).fetchall()
        if hidden:
            raise ImportRefused(
                f"{source} has a table {hidden[0][0]!r}: names that begin with _cf_ are the runtime's",
                hint="rename it first",
            )
        connection.pragma("application_id", APPLICATION_ID)
    finally:
        connection.close(True)


def differing(disk: Disk, old: str | None, new: str) -> Iterator[tuple[int, bytes]]:
    """Pages of `new` that are not the same in `old` (None: in the empty template), by number from 1."""
    new_fd = disk.open(new, write=False)
    old_fd = disk.open(old, write=False) if old is not None else -1
    try:
        size = disk.size(new_fd)
        for start in range(0, size, _SLICE):
            theirs = disk.pread(new_fd, min(_SLICE, size - start), start)
            ours = disk.pread(old_fd, _SLICE, start) if old_fd >= 0 else TEMPLATE[start : start + _SLICE]
            for at in range(0, len(theirs), PAGE):
                image = theirs[at : at + PAGE]
                if image != ours[at : at + PAGE]:
                    yield (start + at) // PAGE + 1, image
    finally:
        disk.close(new_fd)
        if old_fd >= 0:
            disk.close(old_fd)
