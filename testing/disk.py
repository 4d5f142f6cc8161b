"""A disk that remembers what was synced, and can give back what a machine would find after a kill or a power cut.

It works on a real folder. Beside it, it models each file's durable content and the writes since, and each folder's durable
entries and the changes since. `crash` makes another folder from that: after a kill everything that was written is there (and
still unsynced); after a power cut any subset of what was not synced is missing, the last pieces torn at 512 bytes.

For some events it may be full: then nothing new is made and no file grows, but what has its space can be written.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import apsw

from ..engine.disk import LocalDisk


@dataclass(eq=False)
class Inode:
    """A file: what is on the disk for sure, and what was written since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list[tuple[int, bytes | None]])
    """(offset, data), or (length, None) for a truncation or extension."""

    def apply(self, target: bytearray, offset: int, data: bytes | None) -> None:
        if data is None:
            if offset < len(target):
                del target[offset:]
            else:
                target.extend(bytes(offset - len(target)))
            return
        if len(target) < offset:
            target.extend(bytes(offset - len(target)))
        target[offset : offset + len(data)] = data

    def sync(self) -> None:
        for offset, data in self.pending:
            self.apply(self.durable, offset, data)
        self.pending = []

    def current(self) -> bytearray:
        content = bytearray(self.durable)
        for offset, data in self.pending:
            self.apply(content, offset, data)
        return content

    def after_power_cut(self, rng: random.Random) -> bytearray:
        content = bytearray(self.durable)
        for offset, data in self.pending:
            chance = rng.random()
            if chance < 0.35:
                continue
            if data is not None and chance < 0.6 and len(data) > 512:
                data = data[: 512 * rng.randrange(1, len(data) // 512 + 1)]
            self.apply(content, offset, data)
        return content


Entry = tuple[str, str, "Inode | None", str]
"""(kind, path, inode, other path)"""


class SimDisk(LocalDisk):
    """Implements Disk on `root`. `cut_at`: at that event (a write or a sync) `on_cut` is called, before the event happens."""

    syncs = True
    """A broken twin sets this to False: it says that it has synced, and has not."""
    syncs_everything = True

    def __init__(self, root: str) -> None:
        self.root = root
        self.events = 0
        self.cut_at = -1
        self.on_cut: Callable[[], None] = _nothing
        self.full = range(0)
        """Events during which there is no room."""
        self.refused = 0
        """How often there was none."""
        self.names: dict[str, Inode | None] = {root: None}
        """Path → file, None for a folder."""
        self.durable_names: dict[str, Inode | None] = {root: None}
        self.pending: list[Entry] = []
        self._open: dict[int, Inode] = {}
        self.vfs = f"sim{id(self):x}"
        self._vfs = SimVfs(self)

    def close_vfs(self) -> None:
        """Call once, when no file is open any more."""
        self._vfs.unregister()

    def view(self) -> SimDisk:
        """The same disk for another process: only the descriptors are its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._open = {}
        return other

    def close_all(self) -> None:
        """The process has ended: its descriptors are closed."""
        for fd in list(self._open):
            self.close(fd)

    def event(self) -> None:
        self.events += 1
        if self.events == self.cut_at:
            self.on_cut()

    def is_full(self) -> bool:
        return self.events in self.full

    def room(self) -> None:
        """Raises OSError while the disk is full."""
        if self.is_full():
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # ------------------------------------------------------------------ Disk
    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = True) -> int:
        made = create and path not in self.names
        if made:
            self.event()
            self.room()
        fd = super().open(path, create=create, exclusive=exclusive, write=write)
        if made:
            self.names[path] = inode = Inode()
            self.pending.append(("add", path, inode, ""))
        self._open[fd] = self._inode(path)
        return fd

    def _inode(self, path: str) -> Inode:
        inode = self.names[path]
        assert inode is not None, f"{path} is a folder"
        return inode

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        super().close(fd)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        self.event()
        if offset + len(data) > self.size(fd):
            self.room()
        super().pwrite(fd, data, offset)
        self._open[fd].pending.append((offset, bytes(data)))

    def pwritev(self, fd: int, parts: list[bytes | memoryview], offset: int) -> None:
        data = b"".join(parts)
        half = len(data) // 2
        self.pwrite(fd, data[:half], offset)  # so that a cut falls into the middle
        self.pwrite(fd, data[half:], offset + half)

    def copy(self, source: int, target: int, length: int, offset: int) -> None:
        self.pwrite(target, self.pread(source, length, offset), offset)

    def truncate(self, fd: int, length: int) -> None:
        self.event()
        if length > self.size(fd):
            self.room()
        super().truncate(fd, length)
        self._open[fd].pending.append((length, None))

    def allocate(self, fd: int, length: int) -> None:
        self.event()
        if length > self.size(fd):
            self.room()
        super().allocate(fd, length)
        self._open[fd].pending.append((length, None))

    def sync_data(self, fd: int) -> None:
        self.event()
        if self.syncs:
            self._open[fd].sync()

    def sync_folder(self, path: str) -> None:
        self.event()
        if self.syncs:
            self._sync_entries(lambda entry: os.path.dirname(entry[1]) == path or os.path.dirname(entry[3]) == path)

    def sync_all(self, path: str) -> None:
        self.event()
        if self.syncs and self.syncs_everything:
            self._sync_entries(_every)
            for inode in self.names.values():
                if inode is not None:
                    inode.sync()

    def _sync_entries(self, which: Callable[[Entry], bool]) -> None:
        rest: list[Entry] = []
        for entry in self.pending:
            if which(entry):
                self._apply_entry(self.durable_names, entry)
            else:
                rest.append(entry)
        self.pending[:] = rest

    def _apply_entry(self, names: dict[str, Inode | None], entry: Entry) -> None:
        kind, path, inode, other = entry
        if kind == "add":
            names[path] = inode
        elif kind == "del":
            names.pop(path, None)
        elif inode is not None:  # a file, whose old name may never have been durable
            names.pop(path, None)
            names[other] = inode
        else:
            for name in [name for name in names if name == path or name.startswith(path + "/")]:
                names[other + name[len(path) :]] = names.pop(name)

    def link(self, source: str, target: str) -> None:
        self.event()
        self.room()
        super().link(source, target)
        self.names[target] = inode = self._inode(source)
        self.pending.append(("add", target, inode, ""))

    def rename(self, source: str, target: str) -> None:
        self.event()
        super().rename(source, target)
        inode = self.names.get(source)
        for name in [name for name in self.names if name == source or name.startswith(source + "/")]:
            self.names[target + name[len(source) :]] = self.names.pop(name)
        self.pending.append(("move", source, inode, target))

    def unlink(self, path: str, *, missing_ok: bool = False) -> None:
        if missing_ok and path not in self.names:
            return
        self.event()
        super().unlink(path, missing_ok=missing_ok)
        self.names.pop(path, None)
        self.pending.append(("del", path, None, ""))

    def make_folder(self, path: str) -> None:
        if path == self.root:
            super().make_folder(path)
        missing: list[str] = []
        at = path
        while at not in self.names:
            missing.append(at)
            at = os.path.dirname(at)
        for folder in reversed(missing):
            self.event()
            self.room()
            super().make_folder(folder)
            self.names[folder] = None
            self.pending.append(("add", folder, None, ""))

    def remove_folder(self, path: str) -> None:
        self.event()
        for name in os.listdir(path):  # locks are not modelled
            os.unlink(f"{path}/{name}")
        super().remove_folder(path)
        self.names.pop(path, None)
        self.pending.append(("del", path, None, ""))

    def list_folder(self, path: str) -> list[str]:
        return [name for name in super().list_folder(path) if f"{path}/{name}" in self.names]

    def exists(self, path: str) -> bool:
        return path in self.names

    # ------------------------------------------------------------------ crashes
    def crash(self, root: str, rng: random.Random, *, power: bool) -> SimDisk:
        """The disk that the next start finds, in the folder `root`."""
        other = type(self)(root)
        names: dict[str, Inode | None]
        copies: dict[Inode, Inode] = {}

        def moved(path: str) -> str:
            return root + path[len(self.root) :]

        if power:
            names = dict(self.durable_names)
            for entry in self.pending:
                if rng.random() < 0.5:
                    self._apply_entry(names, entry)
        else:
            names = dict(self.names)
        for path in sorted(names):
            inode = names[path]
            parent = os.path.dirname(path)
            if path != self.root and moved(parent) not in other.names:
                continue  # its folder's own entry is lost
            if inode is None:
                os.makedirs(moved(path), exist_ok=True)
                other.names[moved(path)] = None
                continue
            copy = copies.get(inode)
            if copy is None:
                copy = copies[inode] = Inode()
                if power:
                    copy.durable = inode.after_power_cut(rng)
                else:
                    copy.durable, copy.pending = bytearray(inode.durable), list(inode.pending)
            other.names[moved(path)] = copy
            with open(moved(path), "wb") as file:
                file.write(copy.current())
        if power:
            other.durable_names = dict(other.names)
        else:
            other.durable_names = {
                moved(path): None if inode is None else copies.get(inode, inode)
                for path, inode in self.durable_names.items()
            }
            other.pending = [
                (
                    kind,
                    moved(path),
                    None if inode is None else copies.get(inode, inode),
                    moved(second) if second else "",
                )
                for kind, path, inode, second in self.pending
            ]
        return other


def _every(_entry: Entry) -> bool:
    return True


def _nothing() -> None:
    """No cut is wanted."""


class SimVfs(apsw.VFS):
    """SQLite's files on a SimDisk."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        super().__init__(disk.vfs, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        if name is None:  # a temporary file: nobody finds it again
            return apsw.VFSFile("", name, flags)
        return SimFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.disk.event()
        super().xDelete(filename, syncdir)
        self.disk.names.pop(filename, None)
        self.disk.pending.append(("del", filename, None, ""))


class SimFile(apsw.VFSFile):
    """One open file of SQLite."""

    def __init__(self, disk: SimDisk, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self.disk = disk
        path = name if isinstance(name, str) else name.filename()
        super().__init__("", name, flags)
        if path not in disk.names:
            disk.event()
            if disk.is_full():
                os.unlink(path)
                disk.refused += 1
                raise apsw.FullError("database or disk is full")
            disk.names[path] = inode = Inode()
            disk.pending.append(("add", path, inode, ""))
        inode = disk.names[path]
        assert inode is not None
        self.inode = inode

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.event()
        if self.disk.is_full() and offset + len(data) > self.xFileSize():
            self.disk.refused += 1
            raise apsw.FullError("database or disk is full")
        super().xWrite(data, offset)
        self.inode.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self.disk.event()
        super().xTruncate(newsize)
        self.inode.pending.append((newsize, None))

    def xSync(self, flags: int) -> None:
        self.disk.event()
        super().xSync(flags)
        if self.disk.syncs:
            self.inode.sync()
