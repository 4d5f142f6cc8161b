"""Objects' files: where each is, brought up to date before it is opened, and what of it the logs still hold.

What always holds: a file is opened only after everything that the dead logs hold of it was applied; an object leaves the
ledger only when a mark for its newest commit is durable; an unmarked new object is rebuilt from the template.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..engine.commits import CommitRecord
from ..engine.database import Located, read_change
from ..engine.disk import Disk
from ..engine.errors import DataFolderError, PerdureError, StorageFull
from ..engine.ids import ClassKey
from .log import SessionLog
from .recovery import DeadLogs, Readers, write_images
from .replay import Place, plan

FIRST_GENERATION = 1


@dataclass(slots=True)
class Live:
    """An object with commits that no mark covers."""

    class_key: str
    name: str | None
    generation: int
    first_segment: int
    """The oldest segment of this session that is needed; 0: a dead session's log is."""
    change: int
    since_s: float
    images: int = 0
    size_pages: int = 0
    time_ms: int = 0
    complete: int = 0
    """The main file holds everything up to this change, unsynced."""
    segment_at_complete: int = 0
    images_at_complete: int = 0


class ObjectFiles:
    """Implements the engine's Files over DATA/objects, the session's own log and the dead ones."""

    def __init__(self, disk: Disk, data: str, session: str, log: SessionLog, dead: DeadLogs) -> None:
        self.live: dict[bytes, Live] = {}
        """Oldest unmarked commit first."""
        self.images = 0
        """Page images that are live."""
        self.dead = dead
        self.now_s = 0.0
        self._disk = disk
        self._data = data
        self._live_folder = f"{data}/live/{session}"
        self._log = log
        self._rebuild: set[bytes] = set()
        self._behind = list(dead.objects)
        disk.make_folder(self._live_folder)

    def path(self, key: ClassKey, object_id: bytes, generation: int) -> str:
        """DATA/objects/<class key>/<2 hex>/<id>.<generation>.sqlite."""
        text = object_id.hex()
        return f"{self._data}/objects/{key.folder}/{text[:2]}/{text}.{generation}.sqlite"

    def _generation(self, object_id: bytes) -> int:
        live = self.live.get(object_id)
        if live is not None:
            return live.generation
        dead = self.dead.objects.get(object_id)
        return FIRST_GENERATION if dead is None else dead.generation

    # ------------------------------------------------------------------ Files
    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        """Whether the object has any committed state."""
        if object_id in self.live or object_id in self.dead.objects:
            return True
        return self._disk.exists(self.path(key, object_id, FIRST_GENERATION))

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        """Bring the main file up to date and say where it is. Raises LogDamaged, StorageFull, DataFolderError."""
        generation = self._generation(object_id)
        path = self.path(key, object_id, generation)
        try:
            change = self._bring_up(object_id, path)
            exists = self._disk.exists(path)
            if exists:
                change = max(change, self._change_of(path))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk of the data folder is full", hint="free space there") from error
            raise DataFolderError(f"cannot use {path}: {error.strerror}") from error
        return Located(exists, path, f"{self._live_folder}/{object_id.hex()}.{generation}.sqlite", generation, change)

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        """The scratch files are gone: the next `locate` applies this session's log."""
        if object_id in self.live:
            self._rebuild.add(object_id)

    def closed(self, object_id: bytes, change: int) -> None:
        """The database was closed with its main file complete up to `change`."""
        self.complete(object_id, change)

    def _change_of(self, path: str) -> int:
        fd = self._disk.open(path, write=False)
        try:
            return read_change(self._disk, fd)
        finally:
            self._disk.close(fd)

    def _bring_up(self, object_id: bytes, path: str) -> int:
        dead = self.dead.objects.get(object_id)
        live = self.live.get(object_id)
        if dead is not None and live is None:
            change = self.dead.apply(object_id, path)
            live = Live(dead.class_key, dead.name, dead.generation, 0, change, self.now_s, complete=change)
            live.size_pages = self._pages_of(path)
            self.live[object_id] = live
            return change
        if live is None:
            return 0
        if object_id in self._rebuild:
            self._apply_own(object_id, live, path)
            self._rebuild.discard(object_id)
        return live.change

    def _pages_of(self, path: str) -> int:
        fd = self._disk.open(path, write=False)
        try:
            return self._disk.size(fd) // 4096
        finally:
            self._disk.close(fd)

    def _apply_own(self, object_id: bytes, live: Live, path: str) -> None:
        """Apply the commits of this session that no mark covers, and perhaps some that one does."""
        places: list[Place] = []
        segments: list[tuple[str, str, int]] = []
        for reader, index in self._log.readers(live.first_segment):
            segments.append((reader.path, self._log.session, reader.number))
            commits = index.commits.get(object_id)
            if commits is not None:
                places += [
                    Place(commits.generation, change, len(segments) - 1, position)
                    for position, change in zip(commits.positions, commits.changes, strict=True)
                ]
        todo = plan(object_id, places, None)
        with Readers(self._disk, segments) as readers:
            write_images(self._disk, path, object_id, todo, readers)
        self.complete(object_id, todo.change)

    # ------------------------------------------------------------------ the ledger
    def committed(self, record: CommitRecord, segment: int) -> None:
        """A commit is durable in that segment of this session's log."""
        live = self.live.get(record.object_id)
        if live is None:
            live = self.live[record.object_id] = Live(
                record.class_key, record.name, record.generation, segment, record.change, self.now_s
            )
        live.change = record.change
        live.size_pages = record.size_pages
        live.time_ms = record.time_ms
        if live.name is None:
            live.name = record.name
        count = len(record.pages)
        live.images += count
        self.images += count

    def complete(self, object_id: bytes, change: int) -> None:
        """The main file holds everything up to `change`, unsynced."""
        live = self.live.get(object_id)
        if live is not None and change > live.complete:
            live.complete = change
            live.segment_at_complete = self._log.number
            live.images_at_complete = live.images

    def marked(self, object_id: bytes, change: int, complete_segment: int, complete_images: int) -> None:
        """A mark is durable; `complete_…` as they were when the group was synced."""
        live = self.live.get(object_id)
        if live is None:
            return
        self.dead.done(object_id)
        self.images -= complete_images
        del self.live[object_id]
        if live.change > change:
            live.images -= complete_images
            live.images_at_complete = max(live.images_at_complete - complete_images, 0)
            live.first_segment = complete_segment
            live.since_s = self.now_s
            self.live[object_id] = live

    def first_needed(self) -> int:
        """The oldest segment of this session that any object needs."""
        needed = self._log.number
        for live in self.live.values():
            if live.first_segment:
                needed = min(needed, live.first_segment)
        return needed

    def bring_up_one(self, broken: set[bytes]) -> bytes | None:
        """Bring one more object of the dead logs up to date; None when all are.

        Raises what `locate` raises; the object is added to `broken` then, and left out from then on.
        """
        while self._behind:
            object_id = self._behind.pop()
            dead = self.dead.objects.get(object_id)
            if dead is None or object_id in self.live:
                continue
            try:
                self.locate(ClassKey(dead.class_key), object_id)
            except PerdureError:
                broken.add(object_id)
                raise
            return object_id
        return None


def remove_scratch(disk: Disk, data: str, sessions: list[str]) -> None:
    """Delete the dead sessions' scratch folders: nothing that they hold is trusted."""
    for session in sessions:
        folder = f"{data}/live/{session}"
        if not disk.exists(folder):
            continue
        try:
            for name in disk.list_folder(folder):
                disk.unlink(f"{folder}/{name}", missing_ok=True)
            disk.remove_folder(folder)
        except FileNotFoundError:  # another shard is at it too
            continue
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise


__all__ = ["ObjectFiles", "remove_scratch"]
