"""The count of open databases of one shard, so that it stays bounded."""

from __future__ import annotations

from collections.abc import Callable

from .database import Files, Located
from .ids import ClassKey


class OpenDatabases:
    """Counts the open databases on the way to the files, so that the least recently used can be closed."""

    def __init__(self, files: Files, count_max: int, make_room: Callable[[], None]) -> None:
        self._files = files
        self._count_max = count_max
        self._make_room = make_room
        self.count = 0

    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        return self._files.exists(key, object_id)

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        if self.count >= self._count_max:
            self._make_room()
        located = self._files.locate(key, object_id)
        self.count += 1
        return located

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        self._files.rebuild(key, object_id)

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        return self._files.generation(key, object_id)

    def emptied(self, key: ClassKey, object_id: bytes, change: int) -> None:
        self._files.emptied(key, object_id, change)

    def may_fold(self, object_id: bytes) -> bool:
        return self._files.may_fold(object_id)

    def closed(self, object_id: bytes, change: int) -> None:
        self.count -= 1
        self._files.closed(object_id, change)
