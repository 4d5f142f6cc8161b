"""All file operations of the runtime go through a Disk, so that a test can forget what was not synced.

What always holds: nothing outside this module calls `os.open`, `os.rename`, `os.unlink`, `os.link` or `fsync` on a file of
the data folder. Offsets and lengths are bytes. Errors are OSError as the system raises them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Protocol


class Disk(Protocol):
    """Files by descriptor, folders by path."""

    vfs: str
    """Name of the SQLite VFS whose files live on this disk ("" for SQLite's own)."""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = True) -> int: ...
    def close(self, fd: int) -> None: ...
    def pread(self, fd: int, length: int, offset: int) -> bytes: ...
    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None: ...
    def pwritev(self, fd: int, parts: list[bytes | memoryview], offset: int) -> None: ...
    def copy(self, source: int, target: int, length: int, offset: int) -> None: ...
    def truncate(self, fd: int, length: int) -> None: ...
    def allocate(self, fd: int, length: int) -> None: ...
    def size(self, fd: int) -> int: ...
    def sync_data(self, fd: int) -> None: ...
    def write_back(self, fd: int, offset: int, length: int) -> None: ...
    def sync_folder(self, path: str) -> None: ...
    def sync_all(self, path: str) -> None: ...
    def link(self, source: str, target: str) -> None: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str, *, missing_ok: bool = False) -> None: ...
    def make_folder(self, path: str) -> None: ...
    def remove_folder(self, path: str) -> None: ...
    def list_folder(self, path: str) -> list[str]: ...
    def exists(self, path: str) -> bool: ...


_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
_WRITE_AND_WAIT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, WRITE, WAIT_AFTER


class LocalDisk:
    """The machine's own file system."""

    vfs = ""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = True) -> int:
        flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC
        if create:
            flags |= os.O_CREAT
        if exclusive:
            flags |= os.O_EXCL
        return os.open(path, flags, 0o600)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        data = os.pread(fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]  # short read: the end of the file, or a signal
        done = len(data)
        while done < length:
            more = os.pread(fd, length - done, offset + done)
            if not more:
                break
            parts.append(more)
            done += len(more)
        return b"".join(parts)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def pwritev(self, fd: int, parts: list[bytes | memoryview], offset: int) -> None:
        total = sum(len(part) for part in parts)
        done = os.pwritev(fd, parts, offset) if len(parts) <= 512 else 0
        if done < total:
            rest = memoryview(b"".join(parts))[done:]
            self.pwrite(fd, rest, offset + done)

    def copy(self, source: int, target: int, length: int, offset: int) -> None:
        """Copy bytes to the same place of another file, inside the kernel where that can be."""
        done = 0
        while done < length:
            try:
                count = os.copy_file_range(source, target, length - done, offset + done, offset + done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                self.pwrite(target, self.pread(source, length - done, offset + done), offset + done)
                return
            if count == 0:
                return
            done += count

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def allocate(self, fd: int, length: int) -> None:
        """Reserve space so that later writes of it cannot fail for want of it."""
        os.posix_fallocate(fd, 0, length)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def write_back(self, fd: int, offset: int, length: int) -> None:
        """Have what is dirty of a part written now (`length` 0: to the end), so that no later sync of anything waits for it.

        It makes nothing durable, and errors are left to the sync that must follow: the kernel tells it of them.
        """
        _libc.sync_file_range(fd, offset, length, _WRITE_AND_WAIT)

    def sync_folder(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_all(self, path: str) -> None:
        """Sync the whole file system that `path` (a folder) lies on; reports errors since Linux 5.8."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(fd) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), path)
        finally:
            os.close(fd)

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str, *, missing_ok: bool = False) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def make_folder(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def remove_folder(self, path: str) -> None:
        os.rmdir(path)

    def list_folder(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)
