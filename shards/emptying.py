"""Objects that a deleteAll() has left with nothing: when they leave memory their files go too. Their past stays.

What always holds: a file goes only while nobody runs on the object, when it is still as it was found empty; that it is gone is in
the log before it goes, and its generation under the floor before that; no event of the object fails.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from ..engine.disk import Disk
from ..engine.errors import Overloaded, PerdureError
from ..engine.ids import ClassKey
from ..engine.residents import Residents
from ..engine.turns import outside
from ..router.slots import group_of
from .catalogue import Catalogue
from .committer import Committer
from .files import ObjectFiles
from .records import DELETE, Head

WAITING_MAX = 100_000
"""Beyond it files stay, until their objects are empty another time."""
_TOGETHER = 32


class Emptied:
    """One task at a time, some objects together. `add` is what the files tell it."""

    def __init__(
        self,
        disk: Disk,
        files: ObjectFiles,
        committer: Committer,
        residents: Residents,
        catalogue: Catalogue,
        *,
        on_catalogue: Callable[[Callable[[], None]], asyncio.Future[None]],
        flush_meters: Callable[[], Awaitable[None]],
        report: Callable[[str, str, dict[str, object]], None],
    ) -> None:
        """`on_catalogue(work)`: runs `work` on the catalogue's thread. `flush_meters`: brings all counts there."""
        self._disk, self._files, self._committer = disk, files, committer
        self._residents, self._catalogue = residents, catalogue
        self._on_catalogue, self._flush_meters, self._report = on_catalogue, flush_meters, report
        self._waiting: dict[bytes, tuple[ClassKey, int]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, key: ClassKey, object_id: bytes, change: int) -> None:
        """An object's database was closed with nothing in it at `change`."""
        if self._closed or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting[object_id] = (key, change)
        if self._task is None or self._task.done():
            loop = self._residents.turns.loop  # another object's turn may have closed the database, to open its own
            self._task = loop.create_task(self._run(), name="emptied objects", context=outside())

    async def finish(self, seconds: float) -> None:
        """What waits goes, as far as the time suffices; nothing is taken in any more."""
        self._closed = True
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()

    async def _run(self) -> None:
        while self._waiting:
            some = list(itertools.islice(self._waiting.items(), _TOGETHER))
            for object_id, _ in some:
                del self._waiting[object_id]
            try:
                async with AsyncExitStack() as stack:
                    await self._remove([(object_id, *found) for object_id, found in some], stack)
            except (PerdureError, OSError) as error:  # what the log says is gone goes at the next start
                self._report("warning", "emptied_objects_stay", {"objects": len(some), "error": str(error)})

    async def _remove(self, some: list[tuple[bytes, ClassKey, int]], stack: AsyncExitStack) -> None:
        gone: dict[bytes, tuple[str, Head]] = {}
        for object_id, key, change in some:
            if self._residents.is_resident(object_id):  # it is used again: whoever closes it will look again
                continue
            try:
                await stack.enter_async_context(self._residents.vacated(object_id, "emptied"))
            except Overloaded:  # somebody copies or replaces its file
                continue
            located = self._files.locate(key, object_id)
            if located.exists and located.change == change:
                head = Head(DELETE, object_id, key.unique, generation=located.generation)
                gone[object_id] = (located.path, head)
        if not gone:
            return
        await self._on_catalogue(lambda: self._raise_floors([head for _, head in gone.values()]))
        await self._committer.appended([head for _, head in gone.values()])
        try:
            await self._on_catalogue(lambda: self._unlink([path for path, _ in gone.values()]))
        except OSError as error:  # the record says that they are gone: only a new start can see to that
            self._committer.end(error)
            raise
        for object_id, (_, head) in gone.items():  # until now their DELETE records had to be kept
            self._files.deleted(object_id, head.generation)
        await self._flush_meters()
        await self._on_catalogue(lambda: self._forget(list(gone)))

    def _raise_floors(self, heads: list[Head]) -> None:
        floors: dict[int, int] = {}
        for head in heads:
            group = group_of(head.object_id)
            floors[group] = max(floors.get(group, 0), head.generation)
        for group, generation in floors.items():
            self._catalogue.raise_floor(group, generation)

    def _unlink(self, paths: list[str]) -> None:
        """On the thread: a large file's blocks are freed when its name goes."""
        for path in paths:
            self._disk.unlink(path, missing_ok=True)
        for path in {os.path.dirname(path): path for path in paths}.values():
            self._files.sync_place(path)

    def _forget(self, object_ids: list[bytes]) -> None:
        for object_id in object_ids:
            self._catalogue.delete(object_id)
