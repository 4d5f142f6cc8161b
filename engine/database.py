"""One object's SQLite file: opened through a link in the session's scratch folder, committed here, captured for the log.

What always holds: SQLite never checkpoints by itself, also not when a connection closes; the file proper never has a -wal
beside it; what `capture` returns is exactly what was committed since the last capture; our own descriptor on the main file is
opened before SQLite's and closed after it, because closing any descriptor of a file drops all of a process's locks on it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Protocol, cast

import apsw

from .clock import Clock, SystemClock
from .connections import Guard, open_connection, translate
from .disk import Disk
from .errors import VersionMismatch
from .ids import ClassKey
from .limits import Limits

PAGE = 4096
_WAL_HEADER = 32
_FRAME = 24 + PAGE
_FRAME_HEAD = struct.Struct(">IIII")
_CHANGE = struct.Struct(">4sQI4x")
_CHANGE_OFFSET = 72  # bytes 72..91 of the header are reserved for expansion; SQLite leaves them as they are
APPLICATION_ID = 0x50524431
"""`PRD` and the format's number. A file with a higher number is of a newer perdure."""
CAPTURE_FRAMES_MAX = 256
"""Page images that one capture reads at once: 1 MiB, a few milliseconds of reading, compressing and writing."""


class Files(Protocol):
    """Where objects' files are, brought up to date by whoever owns them."""

    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        """Whether the object has any committed state."""
        ...

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        """Bring the object's main file up to date with the log, and say where it is. Raises PerdureError."""
        ...

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        """The scratch files are gone: the next `locate` applies the log again."""
        ...

    def closed(self, object_id: bytes, change: int) -> None:
        """The database was closed with its main file complete up to `change`."""
        ...

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        """Of the object's file, or of the one that it would get. Raises PerdureError."""
        ...

    def emptied(self, key: ClassKey, object_id: bytes, change: int) -> None:
        """The database was closed with nothing in it at `change`, after a deleteAll(): its file need not stay."""
        ...

    def may_fold(self, object_id: bytes) -> bool:
        """Whether a checkpoint may change the main file now: not while somebody copies it."""
        ...


@dataclass(frozen=True, slots=True)
class Located:
    """Where an object's file is. `change`: number of its last commit."""

    exists: bool
    path: str
    live_path: str
    generation: int
    change: int


@dataclass(frozen=True, slots=True)
class Capture:
    """What was committed since the last capture: the last image of each page, and the database's size in pages.

    A large one comes in pieces: `part` is -1, -2, … for those before the last, whose `part` says how many there were.
    """

    pages: dict[int, bytes]
    size_pages: int
    part: int = 0


def _without_lookaside() -> None:
    """Lookaside costs 100 KiB a connection and can only be turned off before the first one of the process."""
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, 0, 0)
    apsw.initialize()


def _build_template() -> bytes:
    """The empty database with its hidden tables, in WAL mode, the same bytes for every version of SQLite."""
    connection = apsw.Connection(":memory:")
    connection.execute(
        f"pragma page_size={PAGE};"
        f"pragma application_id={APPLICATION_ID};"
        "create table _cf_KV(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
        "create table _cf_METADATA(key TEXT PRIMARY KEY, value) WITHOUT ROWID"
    ).fetchall()
    image = bytearray(connection.serialize("main"))
    connection.close()
    image[18:20] = b"\x02\x02"  # file format: WAL
    image[92:100] = bytes(8)  # which SQLite wrote it last: nobody yet
    assert len(image) % PAGE == 0, "the template is whole pages"
    return bytes(image)


_without_lookaside()
TEMPLATE = _build_template()


def read_version(disk: Disk, fd: int) -> tuple[int, int]:
    """(generation, change number) in the header of an open main file; (0, 0) when there is none.

    Every page 1 of a generation carries its number, so it can be believed as soon as the file is; the change number of an
    unfinished checkpoint may be an older one.
    """
    data = disk.pread(fd, _CHANGE.size, _CHANGE_OFFSET)
    if len(data) < _CHANGE.size:
        return 0, 0
    magic, change, after_first = _CHANGE.unpack(data)
    return (after_first + 1, change) if magic == b"PRDU" else (0, 0)


def write_version(disk: Disk, fd: int, generation: int, change: int) -> None:
    """Write generation and change number into the header of an open main file (unsynced)."""
    disk.pwrite(fd, _CHANGE.pack(b"PRDU", change, generation - 1), _CHANGE_OFFSET)


class Database:
    """An open connection with its scratch files. One statement at a time; never across threads."""

    __slots__ = (
        "_captured",
        "_disk",
        "_located",
        "_main_fd",
        "_pages",
        "_part",
        "_salts",
        "_until",
        "_wal_fd",
        "change",
        "complete",
        "connection",
        "guard",
        "linked",
    )

    def __init__(self, disk: Disk, located: Located, limits: Limits | None = None, clock: Clock | None = None) -> None:
        """Open the located file, or the template where there is none. Raises StorageError, VersionMismatch."""
        limits = limits or Limits()
        self._disk = disk
        self._located = located
        self.change = located.change
        self.complete = located.change
        """The main file holds everything up to this change number, unsynced."""
        self.linked = located.exists
        self._captured = 0
        self._pages = 0
        self._until = 0
        """Where the large capture that is under way ends, in frames; 0: none is."""
        self._part = 0
        self._salts = b""
        self._wal_fd = -1
        self.guard = Guard(limits.statement_cpu_ms_max, clock or SystemClock())
        self._main_fd = self._prepare()
        try:
            self.connection = self._connect(limits)
        except apsw.Error as error:
            disk.close(self._main_fd)
            raise translate(error) from error
        except BaseException:
            disk.close(self._main_fd)
            raise

    def _prepare(self) -> int:
        disk, live = self._disk, self._located.live_path
        for suffix in ("", "-wal", "-journal", "-shm"):  # nothing that this session did not write is trusted
            disk.unlink(live + suffix, missing_ok=True)
        if self._located.exists:
            disk.link(self._located.path, live)
            return disk.open(live)
        fd = disk.open(live, create=True, exclusive=True)
        disk.pwrite(fd, TEMPLATE, 0)
        write_version(disk, fd, self._located.generation, 0)
        return fd

    def _connect(self, limits: Limits) -> apsw.Connection:
        header = self._disk.pread(self._main_fd, 100, 0)
        found = int.from_bytes(header[68:72], "big")
        if found > APPLICATION_ID and found >> 8 == APPLICATION_ID >> 8:
            raise VersionMismatch(
                f"{self._located.path} has format {chr(found & 0xFF)}, this perdure understands {chr(APPLICATION_ID & 0xFF)}",
                hint="upgrade perdure",
            )
        connection = open_connection(self._located.live_path, self._disk.vfs, self.guard, limits)
        connection.set_wal_hook(self._on_commit)  # after wal_autocheckpoint, which removes it
        return connection

    def _on_commit(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def capture(self) -> Capture | None:
        """The pages committed since the last capture, or the next piece of them; None when there are none.

        Asserts the frames' salts, page size and the last one's commit flag: a wrong capture is a lost write.
        """
        if self._pages == self._captured:
            return None
        if self._wal_fd < 0:
            self._wal_fd = self._disk.open(self._located.live_path + "-wal", write=False)
        if self._captured == 0 or self._pages < self._captured:
            self._read_wal_header()
        until = self._until or self._pages
        if until - self._captured > CAPTURE_FRAMES_MAX:
            self._until = until
            self._part += 1
            pages, _ = self._read_frames(self._captured + CAPTURE_FRAMES_MAX)
            return Capture(pages, 0, -self._part)
        pages, size = self._read_frames(until)
        assert size > 0, "the last captured frame is no commit"
        parts, self._part, self._until = self._part, 0, 0
        self.change += 1
        return Capture(pages, size, parts)

    def _read_frames(self, until: int) -> tuple[dict[int, bytes], int]:
        """Page images from the last captured frame up to `until`, and the commit size of the last."""
        count = until - self._captured
        data = self._disk.pread(self._wal_fd, count * _FRAME, _WAL_HEADER + self._captured * _FRAME)
        assert len(data) == count * _FRAME, "the -wal is shorter than what was committed"
        pages: dict[int, bytes] = {}
        size = 0
        for start in range(0, len(data), _FRAME):
            number, size, salt1, salt2 = _FRAME_HEAD.unpack_from(data, start)
            assert data[start + 8 : start + 16] == self._salts, f"frame of another -wal: salts {salt1:x} {salt2:x}"
            pages[number] = data[start + 24 : start + _FRAME]
        self._captured = until
        return pages, size

    def _read_wal_header(self) -> None:
        header = self._disk.pread(self._wal_fd, _WAL_HEADER, 0)
        assert int.from_bytes(header[8:12], "big") == PAGE, "the -wal has another page size"
        self._salts = header[16:24]
        self._captured = 0

    def size_pages(self) -> int:
        """Pages of the database, free ones included."""
        return cast("int", self.connection.pragma("page_count"))

    def uncaptured(self) -> bool:
        """Whether commits wait for a capture."""
        return self._pages != self._captured

    def wal_bytes(self) -> int:
        """Size of the -wal's used part."""
        return self._pages * _FRAME

    def make_place(self) -> None:
        """Make the folder of a new object's file while failing is still cheap. Raises OSError."""
        if not self.linked:
            self._disk.make_folder(os.path.dirname(self._located.path))

    def publish(self) -> None:
        """Give a new object's file its place, once, when its first commit is durable: never before.

        A file without a durable commit could come back after a power cut with nothing in it. Its folder is synced with
        the mark. Raises OSError.
        """
        if self.linked:
            return
        self._disk.unlink(self._located.path, missing_ok=True)
        self._disk.link(self._located.live_path, self._located.path)
        self.linked = True

    def checkpoint(self) -> int:
        """Fold the -wal into the main file, unsynced; the change number it is complete up to.

        Only when everything committed was captured and is durable in the log.
        """
        assert not self.uncaptured(), "a checkpoint would fold commits that no log holds"
        if self._pages:
            try:
                frames, folded = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.Error as error:
                raise translate(error) from error
            assert frames == folded, f"checkpoint stopped at frame {folded} of {frames}"
            self._pages = self._captured = 0
            self.complete = self.change
            write_version(self._disk, self._main_fd, self._located.generation, self.change)
        return self.change

    def close(self) -> None:
        """Close the connection, then our own descriptors, and remove the scratch files. No checkpoint happens."""
        self.connection.close(True)
        if self._wal_fd >= 0:
            self._disk.close(self._wal_fd)
        self._disk.close(self._main_fd)
        for suffix in ("-wal", "-journal", "-shm", ""):
            self._disk.unlink(self._located.live_path + suffix, missing_ok=True)
