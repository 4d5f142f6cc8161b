"""Objects' files: where each is, brought up to date before it is opened, and what of it the logs still hold.

What always holds: a file is opened only after everything that the dead logs hold of it was applied; an object leaves the
ledger only when a mark for its newest commit is durable; an unmarked new object is rebuilt from the template; a file says
itself of which generation it is, and commits of an earlier one are nothing to it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from ..engine.commits import CommitRecord
from ..engine.database import Located, read_version
from ..engine.disk import Disk
from ..engine.errors import DataFolderError, Overloaded, PerdureError, StorageFull
from ..engine.ids import ClassKey
from ..router.slots import group_of
from .log import SessionLog
from .recovery import DeadLogs, Readers, generation_of, write_images
from .replay import Place, plan


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
    alarm_ms: int | None = None
    """What its commits say last of its alarm, as in `CommitRecord`; None: nothing."""
    before: int = 0
    """Commits up to this change are not needed of this session's log: marked, or taken from a dead one's."""


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
        self._begun: dict[bytes, tuple[int, int]] = {}
        """Object → (segment where the parts of its large commit begin, page images in them), until it is durable."""
        self.floors: dict[int, int] = {}
        """Group → the newest generation of any object of it that is gone: a new file begins above it."""
        self.on_alarm: Callable[[bytes, str, str | None, int], None] | None = None
        """Told by a durable commit when an object's alarm is due: id, class key, name, ms; 0 for never."""
        self.on_unsure: Callable[[bytes], None] | None = None
        """What the log said of an object's alarm counts no more: its file is another."""
        self.on_emptied: Callable[[ClassKey, bytes, int], None] | None = None
        self._pinned: dict[bytes, bool] = {}
        """Objects whose main files are being copied → whether the file stayed as it was since."""
        self._behind = list(dead.objects)
        disk.make_folder(self._live_folder)

    def path(self, key: ClassKey, object_id: bytes) -> str:
        """DATA/objects/<class key>/<2 hex>/<id>.sqlite."""
        text = object_id.hex()
        return f"{self._data}/objects/{key.folder}/{text[:2]}/{text}.sqlite"

    def path_of(self, object_id: bytes) -> str:
        """Of an object that is live."""
        return self.path(ClassKey(self.live[object_id].class_key), object_id)

    def new_path(self, object_id: bytes) -> str:
        """Where a file that is to replace the object's is made: on the same file system, forgotten after a crash."""
        return f"{self._live_folder}/{object_id.hex()}.new"

    # ------------------------------------------------------------------ Files
    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        """Whether the object has any committed state."""
        if object_id in self.live:
            return True
        dead = self.dead.objects.get(object_id)
        if dead is not None and (dead.exists or dead.deleted):
            return dead.exists
        return self._disk.exists(self.path(key, object_id))

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        """Bring the main file up to date and say where it is. Raises LogDamaged, StorageFull, DataFolderError."""
        path = self.path(key, object_id)
        try:
            change = self._bring_up(object_id, path)
            exists = self._disk.exists(path)
            generation, written = self._version_of(path) if exists else (0, 0)
            change = max(change, written)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk of the data folder is full", hint="free space there") from error
            raise DataFolderError(f"cannot use {path}: {error.strerror}") from error
        generation = generation or self.floors.get(group_of(object_id), 0) + 1
        return Located(exists, path, f"{self._live_folder}/{object_id.hex()}.sqlite", generation, change)

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        """The scratch files are gone: the next `locate` applies this session's log."""
        self.images -= self._begun.pop(object_id, (0, 0))[1]
        if object_id in self.live:
            self._rebuild.add(object_id)

    def may_fold(self, object_id: bytes) -> bool:
        """Whether a checkpoint may change the main file now."""
        return object_id not in self._pinned

    def pin(self, object_id: bytes) -> None:
        """Let nothing be folded into the main file until `unpin`. Raises Overloaded when it is pinned already."""
        if object_id in self._pinned:
            raise Overloaded("this object is being copied already", hint="try again when that is done")
        self._pinned[object_id] = True

    def unpin(self, object_id: bytes) -> bool:
        """Whether the main file stayed as it was; a rebuild after a failed commit changes it all the same."""
        return self._pinned.pop(object_id, False)

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        """Of the object's file, or of the one that it would get. Raises what `locate` raises."""
        return self.locate(key, object_id).generation

    def emptied(self, key: ClassKey, object_id: bytes, change: int) -> None:
        """The database was closed with nothing in it at `change`: its file need not stay."""
        if self.on_emptied is not None:
            self.on_emptied(key, object_id, change)

    def closed(self, object_id: bytes, change: int) -> None:
        """The database was closed with its main file complete up to `change`."""
        self.complete(object_id, change)

    def change_of(self, path: str) -> int:
        """Up to which change number a main file is complete."""
        return self._version_of(path)[1]

    def bytes_of(self, path: str) -> int:
        """Of a main file."""
        return self._pages_of(path) * 4096

    def _version_of(self, path: str) -> tuple[int, int]:
        fd = self._disk.open(path, write=False)
        try:
            return read_version(self._disk, fd)
        finally:
            self._disk.close(fd)

    def _bring_up(self, object_id: bytes, path: str) -> int:
        dead = self.dead.objects.get(object_id)
        live = self.live.get(object_id)
        if dead is not None and live is None:
            if dead.deleted:
                self._remove_deleted(object_id, dead.deleted, path)
            change = self.dead.apply(object_id, path)
            if (
                change is None
            ):  # deleted, or replaced by a whole file: the folder says so durably, nothing is left to do
                self.sync_place(path)
                self.dead.done(object_id)
                if dead.alarm_ms is not None and self.on_unsure is not None:
                    self.on_unsure(object_id)
                return 0
            live = Live(
                dead.class_key, dead.name, dead.generation, 0, change, self.now_s, complete=change, before=change
            )
            live.size_pages = self._pages_of(path)
            live.alarm_ms = dead.alarm_ms
            self.live[object_id] = live
            return change
        if live is None:
            return 0
        if object_id in self._rebuild:
            self._apply_own(object_id, live, path)
            self._rebuild.discard(object_id)
        return live.change

    def _remove_deleted(self, object_id: bytes, generation: int, path: str) -> None:
        self._raise_floor(object_id, generation)
        if 0 < generation_of(self._disk, path) <= generation:
            self._disk.unlink(path, missing_ok=True)
            self.sync_place(path)

    def sync_place(self, path: str) -> None:
        """Make it durable that a main file is there, or not: its folder and those above it may all be new. Raises OSError."""
        folder = path.rpartition("/")[0]
        while len(folder) >= len(self._data):
            if self._disk.exists(folder):
                self._disk.sync_folder(folder)
            folder = folder.rpartition("/")[0]

    def _pages_of(self, path: str) -> int:
        fd = self._disk.open(path, write=False)
        try:
            return self._disk.size(fd) // 4096
        finally:
            self._disk.close(fd)

    def _apply_own(self, object_id: bytes, live: Live, path: str) -> None:
        """Apply the commits of this session that no mark covers, and perhaps some that one does."""
        if object_id in self._pinned:
            self._pinned[object_id] = False
        places: list[Place] = []
        segments: list[tuple[str, str, int]] = []
        for reader, index in self._log.readers(live.first_segment):
            segments.append((reader.path, self._log.session, reader.number))
            commits = index.commits.get(object_id)
            if commits is not None:
                places += [
                    Place(commits.generation, change, len(segments) - 1, position, part)
                    for position, change, part in zip(commits.positions, commits.changes, commits.parts, strict=True)
                ]
        todo = plan(object_id, places, (live.generation, live.before))
        if todo.places:  # else its commits are in dead logs, which were applied before it was opened
            with Readers(self._disk, segments) as readers:
                write_images(self._disk, path, object_id, todo, readers, believed=True)
            self.complete(object_id, todo.change)

    # ------------------------------------------------------------------ the ledger
    def committed(self, record: CommitRecord, segment: int) -> None:
        """A commit is durable in that segment of this session's log."""
        segment, parts = self._begun.pop(record.object_id, (segment, 0))
        live = self.live.get(record.object_id)
        if live is None:
            live = self.live[record.object_id] = Live(
                record.class_key, record.name, record.generation, segment, record.change, self.now_s
            )
            live.before = record.change - 1
        live.change = record.change
        live.size_pages = record.size_pages
        live.time_ms = record.time_ms
        if live.name is None:
            live.name = record.name
        count = len(record.pages)
        live.images += count + parts
        self.images += count
        if record.alarm_ms is not None:
            live.alarm_ms = record.alarm_ms
            if self.on_alarm is not None:
                self.on_alarm(record.object_id, record.class_key, live.name, record.alarm_ms)

    def partial(self, record: CommitRecord, segment: int) -> None:
        """A part of a large commit lies in that segment: it is needed until the commit is marked, or given up."""
        first, images = self._begun.get(record.object_id, (segment, 0))
        self._begun[record.object_id] = (first, images + len(record.pages))
        self.images += len(record.pages)

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
            live.before = change
            live.since_s = self.now_s
            self.live[object_id] = live

    def replaced(self, object_id: bytes) -> None:
        """A whole file of the next generation, complete and synced, has the object's place: no log is needed for it."""
        self._let_go(object_id)

    def deleted(self, object_id: bytes, generation: int) -> None:
        """A record that the object is gone is durable. If it comes again, then as a later generation."""
        self._let_go(object_id)
        self._raise_floor(object_id, generation)

    def _raise_floor(self, object_id: bytes, generation: int) -> None:
        group = group_of(object_id)
        self.floors[group] = max(self.floors.get(group, 0), generation)

    def _let_go(self, object_id: bytes) -> None:
        live = self.live.pop(object_id, None)
        if live is not None:
            self.images -= live.images
        self.images -= self._begun.pop(object_id, (0, 0))[1]
        self._rebuild.discard(object_id)
        self.dead.done(object_id)

    def first_needed(self) -> int:
        """The oldest segment of this session that any object needs."""
        needed = self._log.number
        for live in self.live.values():
            if live.first_segment:
                needed = min(needed, live.first_segment)
        return min([needed, *(segment for segment, _ in self._begun.values())])

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
    """Delete the dead sessions' scratch folders: nothing that they hold is trusted.

    Also of sessions whose log is gone: a power cut may bring back a folder that was deleted before it.
    """
    live = f"{data}/live"
    left = disk.list_folder(live) if disk.exists(live) else []
    for session in {*sessions, *(name for name in left if not disk.exists(f"{data}/log/{name}"))}:
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
