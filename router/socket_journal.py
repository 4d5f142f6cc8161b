"""Which sockets a process holds, in a file that outlives it: when it dies, another tells their objects that they are gone.

What always holds: a socket is written down before its object hears that it is open, and struck out when the object has heard of
its end, or needs to hear nothing; a line that is not whole ends the file. Nothing is synced: the file outlives its process, not
a power cut, after which no object's socket is held by anybody, and each is told so when it is loaded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import cast

import msgpack

from ..engine.disk import Disk
from ..engine.socket_calls import SOCKET_ID_BYTES, SocketRef

FOLDER = "sockets"
"""In the data folder: a file for each process that holds sockets, by its identity."""
_HEAD = struct.Struct("<II")
_DEAD_LEAST = 4_096
"""So many lines that say nothing any more are not worth a new file."""
_LINE_BYTES_MAX = 1 << 20


def path_of(data: str, identity: str) -> str:
    """Of the journal of a process. Raises nothing: an identity is made by the runtime."""
    return f"{data}/{FOLDER}/{identity.replace(' ', '-').replace('/', '-')}"


class SocketJournal:
    """Of the running process. `live()`: what it holds now, for when the file is made anew."""

    def __init__(
        self,
        disk: Disk,
        path: str,
        live: Callable[[], Iterable[SocketRef]],
        hold: Callable[[int], None] = lambda _fd: None,
    ) -> None:
        """The file is made with the first socket. Its folder must be there. `hold`: called with the descriptor of each file
        before that has its name."""
        self.path = path
        self._disk = disk
        self._live = live
        self._hold = hold
        self._fd = -1
        self._end = 0
        self._opened = self._closed = 0

    def opened(self, ref: SocketRef) -> None:
        """Raises OSError."""
        if self._fd < 0:
            self._fd = self._made(b"")
        self._opened += 1
        self._write(_line(_fields(ref)))

    def closed(self, ref: SocketRef) -> None:
        """Raises OSError."""
        self._closed += 1
        self._write(_line([ref.socket]))
        if self._closed > max(_DEAD_LEAST, 2 * (self._opened - self._closed)):
            self._make_anew()

    def _write(self, line: bytes) -> None:
        self._disk.pwrite(self._fd, line, self._end)
        self._end += len(line)

    def _make_anew(self) -> None:
        """What is struck out goes. Whoever reads meanwhile finds the old file or the new one, whole."""
        refs = list(self._live())
        content = b"".join(_line(_fields(ref)) for ref in refs)
        fd = self._made(content)
        self._disk.close(self._fd)
        self._fd, self._end = fd, len(content)
        self._opened, self._closed = len(refs), 0

    def _made(self, content: bytes) -> int:
        """A file of that content, with its name."""
        anew = f"{self.path}.new"
        fd = self._disk.open(anew, create=True)
        self._disk.truncate(fd, 0)
        self._hold(fd)
        self._disk.pwrite(fd, content, 0)
        self._disk.rename(anew, self.path)
        return fd

    def end(self) -> None:
        """The process ends in order, and its sockets with it, or another has them: nobody need be told."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
            self._disk.unlink(self.path, missing_ok=True)


def journals(disk: Disk, data: str) -> list[str]:
    """Paths of the journals that are there: of processes that live, and of dead ones."""
    folder = f"{data}/{FOLDER}"
    if not disk.exists(folder):
        return []
    return [f"{folder}/{name}" for name in sorted(disk.list_folder(folder)) if not name.endswith(".new")]


def read_journal(disk: Disk, path: str) -> list[SocketRef]:
    """The sockets that the process had when it died. Raises OSError."""
    fd = disk.open(path, write=False)
    try:
        data = disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
    found: dict[bytes, SocketRef] = {}
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if not 0 < length <= _LINE_BYTES_MAX or len(body) < length or zlib.crc32(body) != check:
            break
        at += _HEAD.size + length
        socket, *fields = cast("list[object]", msgpack.unpackb(body))
        if fields:
            class_key, object_id, name = cast("tuple[str, bytes, str | None]", tuple(fields))
            found[cast("bytes", socket)] = SocketRef(class_key, object_id, name, cast("bytes", socket), True)
        else:
            found.pop(cast("bytes", socket), None)
    return [ref for ref in found.values() if len(ref.socket) == SOCKET_ID_BYTES]


def _fields(ref: SocketRef) -> list[object]:
    return [ref.socket, ref.class_key, ref.object_id, ref.name]


def _line(fields: list[object]) -> bytes:
    body = cast("bytes", msgpack.packb(fields))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body
