"""The archivist: `python -m perdure.shards.archivist`, a process beside each shard for what would stop its loop.

It folds segments of the log into history and makes whole files: for restore, import, export, fork. One job after the
other, each a plain message; it has no state that a job does not name, so it may be killed and started again at any time.
"""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from typing import cast

import apsw
import lz4.block
import setproctitle

from ..engine.database import PAGE
from ..engine.disk import Disk, LocalDisk
from ..engine.errors import InvalidArgument, PerdureError, StorageError, StorageFull
from ..router.control import Control, Message
from ..router.slots import group_of
from . import wholefiles
from .folding import Folder
from .history import History, Moment
from .runs import RUN_PAGES_MAX, Point, Run, pack_run
from .segment import SegmentReader
from .sqlite_transactions import transaction
from .thinning import Bounds, before, bound_folder, bound_object, give_back

_NICENESS = 10
_BASE_SLICE = 256
_AGED_AT_ONCE = 64
"""Objects of one job: others wait for it."""


class Archivist:
    """Does jobs. `work` gives the answer as plain values, or raises PerdureError."""

    def __init__(self, disk: Disk, folder: str) -> None:
        """`folder`: DATA/history."""
        self._disk = disk
        self._history = History(folder)
        self._kinds: dict[str, Callable[[Message], Message]] = {
            "fold": self._fold,
            "give_up": self._give_up,
            "age": self._age,
            "base": self._base,
            "build": self._build,
            "find": self._find,
            "reaches": self._reaches,
            "moments": self._moments,
            "newest": self._newest,
            "prepare": self._prepare,
            "confirm": self._confirm,
            "forget": self._forget,
            "of_class": self._of_class,
            "export": self._export,
            "adopt": self._adopt,
        }

    def work(self, job: Message) -> Message:
        """Do one job."""
        kind = self._kinds.get(str(job["kind"]))
        if kind is None:
            raise InvalidArgument(f"the archivist knows no job {job['kind']!r}")
        try:
            return kind(job)
        except apsw.FullError as error:
            raise StorageFull("the disk of the data folder is full", hint="free space there") from error
        except apsw.Error as error:
            raise StorageError(f"history cannot be used: {error}", hint="see DATA/history, and the disk") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk of the data folder is full", hint="free space there") from error
            raise StorageError(f"the archivist cannot work: {error}", hint="see the disk of the data folder") from error

    def close(self) -> None:
        self._history.close()

    # ------------------------------------------------------------------ history
    def _fold(self, job: Message) -> Message:
        """Fold a segment, for the objects of some groups or for one. A full disk drops history, not the job."""
        groups = frozenset(cast("list[int]", job["groups"]))
        only = bytes.fromhex(cast("str", job["object"])) if job.get("object") else None

        def wanted(object_id: bytes) -> bool:
            return object_id == only if only is not None else group_of(object_id) in groups

        dropped: list[int] = []
        while True:
            try:
                reader = SegmentReader(
                    self._disk, cast("str", job["path"]), cast("str", job["session"]), cast("int", job["number"])
                )
            except FileNotFoundError:
                if only is None:
                    raise
                return {"missing": {}}  # it was folded for all objects, and trimmed, since the shard asked
            try:
                if only is not None and self._index_says_no(reader, job, only):
                    return {"missing": {}}
                folded = Folder(self._history, wanted).fold(reader, cast("int | None", job["end"]))
                break
            except apsw.FullError:
                found = self._drop_largest(groups.difference(dropped))  # trying made an empty file again
                if not found:
                    raise
                dropped += found
            finally:
                reader.close()
        for group in {group_of(object_id) for object_id in folded.forgotten}:
            self._history.wash(group)
        if only is None:
            self._keep_bounds(job, folded.objects, sorted(groups))
        return {
            "commits": folded.commits,
            "raw_bytes": folded.raw_bytes,
            "stored_bytes": folded.stored_bytes,
            "missing": {object_id.hex(): list(found) for object_id, found in folded.missing.items()},
            "dropped": dropped,
        }

    def _drop_largest(self, groups: Collection[int]) -> list[int]:
        mine = [group for group in self._history.groups() if group in groups]
        if not mine:
            return []
        largest = max(mine, key=lambda group: os.path.getsize(self._history.path(group)))
        self._history.drop_group(largest)
        return [largest]

    def _give_up(self, job: Message) -> Message:
        """Make room, because writes come before history."""
        return {"dropped": self._drop_largest(frozenset(cast("list[int]", job["groups"])))}

    def _index_says_no(self, reader: SegmentReader, job: Message, object_id: bytes) -> bool:
        """Whether the segment's own index shows that it has nothing of the object."""
        if not job["index_at"] or job["end"] is None:
            return False
        index, _, _ = reader.index(cast("int", job["end"]), cast("int", job["index_at"]))
        return object_id not in index.commits and object_id not in index.deletes

    def _keep_bounds(self, job: Message, objects: set[bytes], groups: list[int]) -> None:
        bounds, now_ms = Bounds(*cast("list[int]", job["bounds"])), cast("int", job["now_ms"])
        for object_id in objects:
            of_class = self._bounds_of(job, self._history.class_of(object_id))
            bound_object(self._history, object_id, of_class, now_ms)
        mine = [group for group in self._history.groups() if group in groups]
        bound_folder(self._history, mine, bounds, now_ms)
        for group in {group_of(object_id) for object_id in objects}:
            give_back(self._history, group)

    def _bounds_of(self, job: Message, class_key: str) -> Bounds:
        """Those of the class, where it has its own."""
        bounds = cast("list[int]", job["bounds"])
        own = cast("dict[str, list[int]]", job.get("class_bounds") or {}).get(class_key)
        return Bounds(own[0], own[1], bounds[2]) if own else Bounds(*bounds)

    def _age(self, job: Message) -> Message:
        """Fold what is too old, of some objects that nobody writes any more; how many are left."""
        groups, now_ms = cast("list[int]", job["groups"]), cast("int", job["now_ms"])
        classes = cast("dict[str, list[int]]", job.get("class_bounds") or {})
        days = min([cast("list[int]", job["bounds"])[0], *(bounds[0] for bounds in classes.values())])
        done = 0
        for group in [group for group in self._history.groups() if group in groups]:
            old: list[tuple[bytes, Bounds]] = []
            for object_id, class_key in self._history.older(group, before(days, now_ms)):
                bounds = self._bounds_of(job, class_key)
                if self._history.has_older(object_id, before(bounds.days, now_ms)):
                    old.append((object_id, bounds))
            for object_id, bounds in old[: _AGED_AT_ONCE - done]:
                bound_object(self._history, object_id, bounds, now_ms)
            done += len(old)
            if old:
                give_back(self._history, group)
                self._history.wash(group)
            if done > _AGED_AT_ONCE:
                return {"left": done - _AGED_AT_ONCE}
        return {"left": 0}

    def _base(self, job: Message) -> Message:
        """Begin an object's history with its main file as it is."""
        object_id = bytes.fromhex(cast("str", job["object"]))
        at = Moment(cast("int", job["generation"]), cast("int", job["change"]), cast("int", job["time_ms"]))
        path = cast("str", job["path"])
        fd = self._disk.open(path, write=False)
        try:
            size = self._disk.size(fd) // PAGE
            self._history.set_base(object_id, cast("str", job["class_key"]), at, self._packed_pages(fd, size), size)
        finally:
            self._disk.close(fd)
        return {"bytes": size * PAGE}

    def _packed_pages(self, fd: int, size: int) -> Iterator[tuple[int, bytes]]:
        for start in range(0, size, _BASE_SLICE):
            data = self._disk.pread(fd, min(_BASE_SLICE, size - start) * PAGE, start * PAGE)
            for at in range(0, len(data), PAGE):
                yield start + at // PAGE + 1, lz4.block.compress(data[at : at + PAGE])

    def _find(self, job: Message) -> Message:
        found = self._history.at_time(bytes.fromhex(cast("str", job["object"])), cast("int", job["time_ms"]))
        return {"generation": found.generation, "change": found.change, "time_ms": found.time_ms}

    def _reaches(self, job: Message) -> Message:
        self._history.check_known(
            bytes.fromhex(cast("str", job["object"])), cast("int", job["generation"]), cast("int", job["change"])
        )
        return {}

    def _moments(self, job: Message) -> Message:
        """The newest points, and what history as a whole has of the object."""
        object_id = bytes.fromhex(cast("str", job["object"]))
        base = self._history.base(object_id)
        points: list[list[int]] = []
        for moment in self._history.moments(object_id):
            points.append([moment.generation, moment.change, moment.time_ms, moment.bytes])
            if len(points) >= cast("int", job["limit"]):
                break
        oldest = next(iter(self._history.moments(object_id, newest_first=False)), None)
        return {
            "points": points,
            "bytes": base.bytes if base is not None else 0,
            "oldest_ms": oldest.time_ms if oldest is not None else None,
        }

    def _newest(self, job: Message) -> Message:
        """The last commit that is known of the object: (0, 0) for none."""
        base = self._history.base(bytes.fromhex(cast("str", job["object"])))
        return {"newest": list(base.last) if base is not None else [0, 0]}

    def _of_class(self, job: Message) -> Message:
        """The first objects of a class in those groups, up to a number: `{"objects": [hex…]}`."""
        found: list[str] = []
        for group in cast("list[int]", job["groups"]):
            limit = cast("int", job["limit"]) - len(found)
            found += [object_id.hex() for object_id in self._history.of_class(group, str(job["class_key"]), limit)]
        return {"objects": found}

    def _forget(self, job: Message) -> Message:
        object_id = bytes.fromhex(cast("str", job["object"]))
        with transaction(self._history.connection(object_id)):
            self._history.forget(object_id)
        self._history.wash(group_of(object_id))
        return {}

    # ------------------------------------------------------------------ whole files
    def _build(self, job: Message) -> Message:
        """The state at a point as a file of its own, unfinished and unsynced."""
        object_id = bytes.fromhex(cast("str", job["object"]))
        target = cast("str", job["target"])
        generation, change = cast("int", job["generation"]), cast("int", job["change"])
        self._history.check_known(object_id, generation, change)
        self._disk.unlink(target, missing_ok=True)
        fd = self._disk.open(target, create=True, exclusive=True)
        try:
            at, size = self._history.write_state(object_id, generation, change, self._disk, fd)
        finally:
            self._disk.close(fd)
        if job.get("finish"):
            size = wholefiles.finish(self._disk, target, cast("int", job["finish"]))
        elif job.get("plain"):
            wholefiles.make_plain(self._disk, target)
        return {"generation": at.generation, "change": at.change, "time_ms": at.time_ms, "size_pages": size}

    def _export(self, job: Message) -> Message:
        """A copy of a main file that is pinned meanwhile, for any program."""
        target = cast("str", job["target"])
        size = wholefiles.copy(self._disk, cast("str", job["path"]), target)
        wholefiles.make_plain(self._disk, target)
        return {"bytes": size}

    def _adopt(self, job: Message) -> Message:
        """An object's file from any SQLite database."""
        size = wholefiles.adopt(
            self._disk,
            cast("str", job["source"]),
            cast("str", job["target"]),
            cast("int", job["generation"]),
            cast("int", job["bytes_max"]),
        )
        return {"size_pages": size}

    def _prepare(self, job: Message) -> Message:
        """Note in history what a new whole file changes, before it gets its place."""
        object_id = bytes.fromhex(cast("str", job["object"]))
        old, new = cast("str | None", job["old"]), cast("str", job["new"])
        if self._history.base(object_id) is None and old is not None:
            self._base({**job, "path": old, "generation": job["old_generation"], "change": job["old_change"]})
        elif old is not None:  # the file before may have its place without its confirmation, after a kill
            self._history.confirm(object_id, cast("int", job["old_generation"]))
        size = wholefiles.sync(self._disk, new)
        runs = self._replacement(old, new, size, cast("int", job["time_ms"]))
        self._history.prepare(object_id, cast("int", job["generation"]), runs, fresh=old is None)
        return {}

    def _replacement(self, old: str | None, new: str, size: int, time_ms: int) -> Iterator[Run]:
        """One large point, in pieces."""
        pages: dict[int, bytes] = {}
        part = 0
        for number, image in wholefiles.differing(self._disk, old, new):
            if len(pages) == RUN_PAGES_MAX:
                part += 1
                yield pack_run([Point(1, time_ms, 0, pages)], part)
                pages = {}
            pages[number] = image
        yield pack_run([Point(1, time_ms, size, pages)], part + 1 if part else 0)

    def _confirm(self, job: Message) -> Message:
        object_id = bytes.fromhex(cast("str", job["object"]))
        self._history.confirm(object_id, cast("int", job["generation"]), cast("str", job["class_key"]))
        return {}


def main() -> None:
    """Read jobs from the control channel, one a line, until it ends."""
    control = Control.from_environment()
    start = control.read_start()
    setproctitle.setproctitle(f"perdure {start['name']}")
    os.nice(_NICENESS)
    archivist = Archivist(LocalDisk(), cast("str", start["folder"]))
    control.send({"type": "ready"})
    jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(control, jobs), daemon=True).start()
    while True:
        job = jobs.get()
        answer: Message = {"type": "done", "job": job["job"]}
        try:
            answer["result"] = archivist.work(job)
        except PerdureError as error:
            answer["error"] = error.to_wire()
        control.send(answer)


def _listen(control: Control, jobs: queue.SimpleQueue[Message]) -> None:
    """Hand in the jobs. When the shard is gone the process ends at once: it holds the lock of the data folder."""
    try:
        for job in control.messages():
            jobs.put(job)
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
