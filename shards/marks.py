"""The marker: completes objects' main files in groups, syncs each group once, marks them, and lets old segments go.

complete → sync → catalogue → mark → fold into history → trim. What always holds: a mark is appended only after a sync that
began when the file was complete; objects are taken by the age of their oldest unmarked commit, so that the oldest segment
is always the next to go; a failed sync of main files is never tried again, the shard stops and recovery writes them anew.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import apsw

from ..engine.disk import Disk
from ..engine.errors import PerdureError, StorageFull
from ..engine.ids import ClassKey
from ..engine.limits import Limits
from ..engine.residents import Residents
from .catalogue import Catalogue, Row
from .committer import Committer
from .files import ObjectFiles
from .log import SessionLog
from .records import MARK, TRIM, Head
from .timeline import SegmentPlace, Timeline

CYCLE_S = 0.5
AGE_S_MAX = 30.0
"""An object with unmarked commits is marked after this time at the latest, busy or not."""
AGING_S = 3_600.0
_FIRST_AGING_S = 60.0
_HURRY_S = 0.01
_SLICE = 32
_GROUP_MAX = 2_048
_INDEX_OBJECTS_MAX = 4_000
"""Objects in the index of the current segment, of about 500 bytes each, that are kept while nobody needs them."""
_LARGE_IMAGES = 1_024
_SLICE_BYTES = 8 << 20
_CATCH_UP = 256
_AHEAD_CYCLES = 3
_LITTLE = 256
"""Objects that the next session may have to bring up to date when it begins."""
_BEHIND = 0.9
"""Part of the log's bytes beyond which segments go without being folded."""


@dataclass(frozen=True, slots=True)
class _Due:
    object_id: bytes
    change: int
    generation: int
    segment: int
    images: int


class Marker:
    """One task of the shard. `recovered` is called once, when nothing of the dead logs is needed any more."""

    def __init__(
        self,
        disk: Disk,
        data: str,
        log: SessionLog,
        files: ObjectFiles,
        committer: Committer,
        residents: Residents,
        catalogue: Catalogue,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        recovered: Callable[[], None],
        stop: Callable[[BaseException], None],
        report: Callable[[str, str, dict[str, object]], None],
        thread: Executor | None = None,
    ) -> None:
        self.may_trim = False
        """No older dead session is left, whose frames this log's marks speak for."""
        self._disk, self._data, self._log, self._files = disk, data, log, files
        self._committer, self._residents, self._catalogue = committer, residents, catalogue
        self._limits, self._loop = limits, loop
        self._recovered, self._stop, self._report = recovered, stop, report
        self.timeline: Timeline | None = None
        """Folds segments into history before they go; None: they just go."""
        self._told = False
        self._folded = log.first
        """Segments of this session below it are in history, or given up."""
        self._folding: asyncio.Task[None] | None = None
        self._dead_folding: asyncio.Task[None] | None = None
        self._deleted = [
            (ClassKey(found.class_key), object_id)
            for object_id, found in files.dead.objects.items()
            if found.deleted and not found.exists
        ]
        """Objects that were deleted before this session: the catalogue may not have been told any more."""
        self._broken: set[bytes] = set()
        self._full_s = -AGE_S_MAX - 1
        """When it was last said that the disk is full."""
        self._aging: asyncio.Task[None] | None = None
        self._age_at_s: float | None = None
        """When history is next looked through for what is too old."""
        self.thread: Executor = thread or ThreadPoolExecutor(1, thread_name_prefix="marks sync")
        residents.on_settled = files.complete
        committer.no_room = self.give_up_history
        self._giving_up: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[None] | None = None
        """Done after a cycle that marks everything."""

    async def run(self) -> None:
        """Work until cancelled. Ends the shard through `stop` when something fails that must not."""
        try:
            while True:
                asked, self._asked = self._asked, None
                await self.cycle(everything=asked is not None)
                if asked is not None and not asked.done():
                    asked.set_result(None)
                await asyncio.sleep(_HURRY_S if self._behind() or self._asked is not None else CYCLE_S)
        except (OSError, PerdureError) as error:
            self._report("error", "marks_failed", {"error": str(error)})
            self._stop(error)

    async def mark_ahead(self) -> None:
        """Mark what was written until now, and what is written meanwhile, as far as that gets less: little shall be left."""
        for _ in range(_AHEAD_CYCLES):
            self._asked = self._loop.create_future()
            await self._asked
            if len(self._files.live) < _LITTLE:
                return

    @property
    def folding(self) -> bool:
        """Whether history is being written."""
        tasks = (self._folding, self._dead_folding, self._giving_up, self._aging)
        return not self._told or any(task is not None and not task.done() for task in tasks)

    def pressure(self) -> float:
        """How full the log is: 1 at the first of its bounds (bytes, page images, live objects)."""
        limits = self._limits
        return max(
            self._log.bytes / limits.log_bytes_max,
            self._files.images / limits.log_page_images_max,
            len(self._files.live) / limits.log_live_objects_max,
        )

    def _behind(self) -> bool:
        return self.pressure() > 0.5 or len(self._files.dead.objects) > len(self._broken)

    async def cycle(self, *, everything: bool = False) -> int:
        """Mark what is due (or all), trim; the number of marks. Raises OSError when a sync fails."""
        files = self._files
        files.now_s = self._residents.now_s
        await self._catch_up()
        chosen = self._choose(everything)
        await self._settle(chosen)
        due = self._due(chosen)
        if due:
            rows = [self._row(item) for item in due]
            large = [self._files.path_of(item.object_id) for item in due if item.images > _LARGE_IMAGES]
            try:
                with self._committer.beside():
                    await self._loop.run_in_executor(self.thread, self._sync, rows, large)
            except apsw.FullError:  # the files are synced, but nobody may be missing from the catalogue: next time
                due = []
                self._say_full()
        if due:
            await self._committer.appended(
                [Head(MARK, d.object_id, generation=d.generation, change=d.change) for d in due]
            )
            for item in due:
                files.marked(item.object_id, item.change, item.segment, item.images)
        if not files.dead.objects and not self._told:
            self._told = True
            if files.dead.sessions:
                self._report("info", "up_to_date", {"sessions": len(files.dead.sessions)})
            self._dead_folding = self._loop.create_task(self._fold_dead(), name="fold dead logs")
        await self._end_segment()
        if self.may_trim and not files.dead.objects:
            await self._trim()
        self._age()
        return len(due)

    async def _catch_up(self) -> None:
        """Bring some objects of the dead logs up to date before anyone calls them."""
        for count in range(_CATCH_UP):
            if len(self._files.live) > self._limits.log_live_objects_max:
                return
            try:
                if self._files.bring_up_one(self._broken) is None:
                    return
            except PerdureError as error:
                self._report("error", "object_not_recovered", {"error": error.message, "hint": error.hint})
            if count % 4 == 3:
                await asyncio.sleep(0)

    def _choose(self, everything: bool) -> list[bytes]:
        live = self._files.live
        if everything:
            return list(live)
        urgent = self.pressure() > 0.5
        before = self._files.now_s - AGE_S_MAX
        chosen: list[bytes] = []
        for object_id, item in live.items():
            old = item.since_s <= before or item.first_segment == 0
            if not old and not (urgent and len(chosen) * 2 < len(live) + 1):
                break
            chosen.append(object_id)
            if len(chosen) >= _GROUP_MAX:
                break
        return chosen

    async def _settle(self, chosen: list[bytes]) -> None:
        waiting = 0
        for count, object_id in enumerate(chosen):
            try:
                change = self._residents.settle(object_id)
            except StorageFull:
                self._say_full()
                continue
            if change is None:
                waiting += 1
            elif change:
                self._files.complete(object_id, change)
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        if waiting:  # busy ones complete when their running turn is durable; the late go with the next group
            await asyncio.sleep(0.02)

    def _say_full(self) -> None:
        """Objects keep what they have in their -wal files and the log, until there is room: no reason to stop."""
        if self._files.now_s - self._full_s > AGE_S_MAX:
            self._full_s = self._files.now_s
            self._report("warning", "marks_wait", {"reason": "the disk is full", "hint": "free space there"})

    def _due(self, chosen: list[bytes]) -> list[_Due]:
        due: list[_Due] = []
        for object_id in chosen:
            live = self._files.live.get(object_id)
            if live is not None and live.complete:
                due.append(
                    _Due(object_id, live.complete, live.generation, live.segment_at_complete, live.images_at_complete)
                )
        return due

    def _row(self, item: _Due) -> Row:
        live = self._files.live[item.object_id]
        return Row(item.object_id, live.class_key, live.name, live.size_pages * 4096, live.time_ms, live.alarm_ms)

    def _sync(self, rows: list[Row], large: list[str]) -> None:
        """On the thread: one sync for all files of the group and their folders, then the catalogue's own.

        `large`: files of which much may be dirty. It is written first, in slices: the log's sync waits for one at most.
        """
        for path in large:
            self._write_back(path)
        self._disk.sync_all(self._data)
        self._catalogue.write(rows)

    def _write_back(self, path: str) -> None:
        try:
            fd = self._disk.open(path, write=False)
        except FileNotFoundError:  # deleted since
            return
        try:
            for start in range(0, self._disk.size(fd), _SLICE_BYTES):
                self._disk.write_back(fd, start, _SLICE_BYTES)
        finally:
            self._disk.close(fd)

    async def _end_segment(self) -> None:
        """Where many objects were written once and all are marked, go on to a new segment: the index of this one can go."""
        log = self._log
        if self._files.live or len(log.index.commits) < _INDEX_OBJECTS_MAX or not self.may_trim:
            return
        if await self._loop.run_in_executor(self.thread, log.make_room):
            log.ends_early = True
            await self._committer.appended([Head(TRIM, change=log.first)])

    async def _trim(self) -> None:
        needed = self._files.first_needed()
        self._begin_folding(needed)
        first = min(needed, self._folded)
        if first > self._log.first:
            await self._committer.appended([Head(TRIM, change=first)])
            await self._loop.run_in_executor(self.thread, self._log.delete, self._log.let_go(first))

    def _begin_folding(self, needed: int) -> None:
        """Fold what can go, beside everything else. History is given up before a write is refused."""
        if self._folded >= needed:
            return
        if self.timeline is None or self._log.bytes > self._limits.log_bytes_max * _BEHIND:
            if self.timeline is not None:
                fields: dict[str, object] = {"segments": needed - self._folded, "reason": "the log is full"}
                self._report("warning", "history_dropped", fields)
            self._folded = needed
        elif self._folding is None or self._folding.done():
            self._folding = self._loop.create_task(self._fold(needed), name="fold")

    def give_up_history(self) -> None:
        """The disk is full: history goes, its largest file first, while the log has room for some batches yet."""
        if self.timeline is not None and (self._giving_up is None or self._giving_up.done()):
            self._giving_up = self._loop.create_task(self._give_up(self.timeline), name="give up history")

    async def _give_up(self, timeline: Timeline) -> None:
        try:
            dropped = await timeline.give_up()
        except PerdureError as error:
            self._report("error", "history_failed", {"error": error.message, "hint": error.hint})
            return
        if dropped:
            self._report("warning", "history_dropped", {"reason": "the disk is full", "groups": dropped})
        else:
            await asyncio.sleep(CYCLE_S)  # nothing is left to give: this need not be asked with each batch

    def _age(self) -> None:
        """Let go of what is too old of objects that are not written any more."""
        now_s = self._files.now_s
        if self._age_at_s is None:
            self._age_at_s = now_s + _FIRST_AGING_S
        if self.timeline is not None and now_s >= self._age_at_s and (self._aging is None or self._aging.done()):
            self._age_at_s = now_s + AGING_S
            self._aging = self._loop.create_task(self._age_history(self.timeline), name="age history")

    async def _age_history(self, timeline: Timeline) -> None:
        try:
            await timeline.age()
        except PerdureError as error:
            self._report("error", "history_failed", {"error": error.message, "hint": error.hint})

    async def _fold(self, until: int) -> None:
        while self._folded < until:
            number = self._folded
            for place in self._log.places():
                if place[2] == number:
                    await self._fold_one(place)
            self._folded = max(self._folded, number + 1)

    async def _fold_dead(self) -> None:
        """What dead sessions leave behind goes into history before their logs go."""
        for place in self._files.dead.places() if self.timeline is not None else ():
            await self._fold_one(place)
        for key, object_id in self._deleted:
            if not self._files.exists(key, object_id):
                await self.on_thread(functools.partial(self._catalogue.delete, object_id))
        self._recovered()

    async def _fold_one(self, place: SegmentPlace) -> None:
        """One segment. What fails is said, and its objects' histories begin anew: they have a gap."""
        assert self.timeline is not None, "history is kept"
        try:
            answer = await self.timeline.fold(place)
            if answer["dropped"]:
                self._report("warning", "history_dropped", {"reason": "the disk is full", "groups": answer["dropped"]})
            missing = cast("dict[str, tuple[str, int]]", answer["missing"])
            for object_id, (class_key, generation) in missing.items():
                await self.timeline.take_base(ClassKey(class_key), bytes.fromhex(object_id), generation)
        except PerdureError as error:
            self._report("error", "history_failed", {"segment": place[0], "error": error.message, "hint": error.hint})

    def on_thread(self, work: Callable[[], None]) -> asyncio.Future[None]:
        """Do something with the catalogue, which is used from one thread."""
        return self._loop.run_in_executor(self.thread, work)

    async def close(self) -> bool:
        """Mark everything; True when nothing is left that only the log holds."""
        for _ in range(20):
            await self.cycle(everything=True)
            if not self._files.live and not self._files.dead.objects:
                return True
        return False

    async def shut_behind(self) -> None:
        """Like `shut`, but what the thread is at may take its time: other things go on meanwhile."""
        self._cancel()
        await asyncio.to_thread(self.thread.shutdown)

    def shut(self) -> None:
        self._cancel()
        self.thread.shutdown()

    def _cancel(self) -> None:
        for task in (self._folding, self._dead_folding, self._giving_up, self._aging):
            if task is not None:
                task.cancel()
