"""The local driver of Blobs: files in a folder, each complete and synced or not there."""

from __future__ import annotations

import os

from ..engine.disk import Disk
from ..engine.errors import InvalidArgument


class FolderBlobs:
    """Blobs under `folder`."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        disk.make_folder(folder)

    def _path(self, name: str) -> str:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise InvalidArgument(f"{name!r} is no name of a blob")
        return f"{self._folder}/{name}"

    def put(self, name: str, data: bytes, *, create_only: bool = False) -> bool:
        """Durable when it returns; False when `create_only` and the name is taken."""
        disk, path = self._disk, self._path(name)
        folder = os.path.dirname(path)
        disk.make_folder(folder)
        temporary = f"{path}.{os.getpid()}.new"
        disk.unlink(temporary, missing_ok=True)
        fd = disk.open(temporary, create=True, exclusive=True)
        try:
            disk.pwrite(fd, data, 0)
            disk.sync_data(fd)
        finally:
            disk.close(fd)
        if create_only:
            try:
                disk.link(temporary, path)
            except FileExistsError:
                return False
            finally:
                disk.unlink(temporary)
        else:
            disk.rename(temporary, path)
        disk.sync_folder(folder)
        return True

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a blob from `offset`. Raises FileNotFoundError."""
        fd = self._disk.open(self._path(name), write=False)
        try:
            wanted = self._disk.size(fd) - offset if length is None else length
            return self._disk.pread(fd, max(wanted, 0), offset)
        finally:
            self._disk.close(fd)

    def list(self, prefix: str = "") -> list[str]:
        """Names that begin with `prefix`, sorted."""
        found: list[str] = []
        for folder, _, names in os.walk(self._folder):
            inside = os.path.relpath(folder, self._folder)
            for name in names:
                full = name if inside == "." else f"{inside}/{name}"
                if full.startswith(prefix) and not name.endswith(".new"):
                    found.append(full)
        return sorted(found)

    def delete(self, name: str) -> None:
        """Remove a blob; nothing happens when there is none."""
        self._disk.unlink(self._path(name), missing_ok=True)
