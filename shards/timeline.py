"""The past of a shard's objects: points by time, restores, and every other change of a whole file — import and deletion.

What always holds: a new file is complete, synced, and noted in history before it takes the old one's place by a rename; the
rename is what counts, and commits of the earlier generation are nothing to the new file; while a file changes nobody
runs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import quote

import apsw

from ..engine.alarms import UNSURE_MS
from ..engine.bookmarks import END_OF_GENERATION, Position
from ..engine.clock import Clock
from ..engine.database import Located
from ..engine.disk import Disk
from ..engine.errors import InvalidArgument, ObjectNotFound, PerdureError, StorageError, StorageFull
from ..engine.ids import ClassKey
from ..engine.limits import Limits
from ..engine.residents import Residents
from ..engine.turns import outside
from ..router.control import Message
from ..router.slots import group_of
from .archive import Archive
from .catalogue import Catalogue, Row
from .committer import Committer
from .files import ObjectFiles
from .log import SessionLog
from .records import DELETE, FORGET, Head

T = TypeVar("T")
SegmentPlace = tuple[str, str, int, int | None, int]
"""Path, session, number, valid bytes (None: to the last whole batch), where its index is."""


class Timeline:
    """Implements the engine's History, and what operators ask for."""

    def __init__(
        self,
        disk: Disk,
        log: SessionLog,
        files: ObjectFiles,
        committer: Committer,
        residents: Residents,
        catalogue: Catalogue,
        archive: Archive,
        clock: Clock,
        limits: Limits,
        groups: list[int],
        *,
        class_limits: Mapping[str, Limits] | None = None,
        on_catalogue: Callable[[Callable[[], None]], asyncio.Future[None]],
        flush_meters: Callable[[], Awaitable[None]],
    ) -> None:
        """`class_limits`: class key → bounds of its own. `on_catalogue(work)`: runs `work` on the catalogue's thread.

        `flush_meters`: brings all counts there.
        """
        self._disk, self._log, self._files = disk, log, files
        self._committer, self._residents, self._catalogue = committer, residents, catalogue
        self._archive, self._clock, self._limits, self._groups = archive, clock, limits, groups
        self._class_limits = dict(class_limits or {})
        self._stamps = itertools.count(int(log.session.split("-")[0]) << 32)
        self._on_catalogue = on_catalogue
        self._flush_meters = flush_meters
        self.on_replaced: Callable[[bytes], None] = lambda _: None
        """Told of an object whose file is another, or gone: its alarm may be too."""
        self._changing: set[asyncio.Task[Any]] = set()
        """Whole files that are being changed."""

    # ------------------------------------------------------------------ folding
    def segments(self) -> list[SegmentPlace]:
        """What history may not have yet: the dead logs and this session's, oldest first."""
        return [*self._files.dead.places(), *self._log.places()]

    async def fold(self, place: SegmentPlace) -> Message:
        """Fold a segment for all objects, before it is dropped. Raises PerdureError."""
        path, session, number, end, index_at = place
        return await self._archive.ask(
            "fold",
            urgent=False,
            path=path,
            session=session,
            number=number,
            end=end,
            index_at=index_at,
            **self._bounds(),
        )

    async def give_up(self) -> list[int]:
        """Drop the largest file of history of this shard's groups, for the room: which; [] when there is none."""
        answer = await self._archive.ask("give_up", groups=self._groups)
        return cast("list[int]", answer["dropped"])

    def _bounds(self) -> Message:
        limits = self._limits
        share = limits.history_bytes_max * len(self._groups) // 64
        of_classes = {
            key: [found.history_days, found.history_object_bytes_max] for key, found in self._class_limits.items()
        }
        return {
            "groups": self._groups,
            "bounds": [limits.history_days, limits.history_object_bytes_max, max(share, 1 << 20)],
            "class_bounds": of_classes,
            "now_ms": self._clock.now_ms(),
        }

    async def age(self) -> None:
        """Let go of what is too old, of objects that were not written since. Raises PerdureError."""
        if self._catalogue.has_history():
            while cast("int", (await self._archive.ask("age", urgent=False, **self._bounds()))["left"]):
                continue

    async def fold_object(self, key: ClassKey, object_id: bytes) -> None:
        """Bring an object's history up to its newest durable commit."""
        located = self._files.locate(key, object_id)
        if located.exists:  # its generation counts, also when the replacement that made it ended before it said so
            await self._archive.ask(
                "confirm", object=object_id.hex(), generation=located.generation, class_key=key.unique
            )
        for path, session, number, end, index_at in self.segments():
            answer = await self._archive.ask(
                "fold",
                path=path,
                session=session,
                number=number,
                end=end,
                index_at=index_at,
                groups=self._groups,
                object=object_id.hex(),
            )
            missing = cast("dict[str, tuple[str, int]]", answer["missing"])
            if missing and missing[object_id.hex()][1] >= located.generation:
                await self.take_base(key, object_id)
                return
        newest = await self._archive.ask("newest", object=object_id.hex())
        if located.exists and newest["newest"] < [located.generation, located.change]:  # pyright: ignore[reportOperatorIssue]
            await self.take_base(key, object_id)  # what was given up when the disk was full is a gap

    async def take_base(self, key: ClassKey, object_id: bytes, generation: int = 1 << 62) -> None:
        """Begin the history of an object that had none with its file as it is now.

        `generation`: of what had none. A later one has its own: the log may still speak of a file that was deleted.
        """
        await self._residents.complete(object_id)
        located = self._files.locate(key, object_id)
        if not located.exists or located.generation > generation:
            return
        change = self._files.change_of(located.path)
        self._files.pin(object_id)
        try:
            await self._archive.ask(
                "base",
                object=object_id.hex(),
                class_key=key.unique,
                path=located.path,
                generation=located.generation,
                change=change,
                time_ms=self._clock.now_ms(),
            )
        finally:
            whole = self._files.unpin(object_id)
        if not whole:
            await self._archive.ask("forget", object=object_id.hex())

    # ------------------------------------------------------------------ History
    def stamp(self) -> int:
        """Grows with each call, and from session to session: their numbers never go back."""
        return next(self._stamps)

    async def find(self, key: ClassKey, object_id: bytes, time_ms: int) -> Position:
        """The newest commit not after that time. Raises HistoryGone."""
        await self.fold_object(key, object_id)
        found = await self._archive.ask("find", object=object_id.hex(), time_ms=time_ms)
        return Position(cast("int", found["generation"]), cast("int", found["change"]))

    async def reaches(self, key: ClassKey, object_id: bytes, position: Position) -> None:
        """Raises HistoryGone when that point cannot be restored."""
        await self.fold_object(key, object_id)
        await self._archive.ask(
            "reaches", object=object_id.hex(), generation=position.generation, change=position.change
        )

    async def restore(self, key: ClassKey, object_id: bytes, name: str | None, position: Position) -> None:
        """Put the state at a point in the place of the object's file, which nobody uses."""
        await self.fold_object(key, object_id)
        target = self._files.new_path(object_id)

        async def make(generation: int) -> None:
            await self._archive.ask(
                "build",
                object=object_id.hex(),
                generation=position.generation,
                change=position.change,
                target=target,
                finish=generation,
            )

        await self._replace(key, object_id, name, target, make)

    async def moments(self, key: ClassKey, object_id: bytes, limit: int) -> Message:
        """The newest points, bytes of history, and the oldest time."""
        await self.fold_object(key, object_id)
        return await self._archive.ask("moments", object=object_id.hex(), limit=limit)

    # ------------------------------------------------------------------ whole files
    async def _replace(
        self, key: ClassKey, object_id: bytes, name: str | None, target: str, make: Callable[[int], Awaitable[None]]
    ) -> int:
        """Make a file, note in history what it changes, give it its place; its bytes."""
        located = self._files.locate(key, object_id)
        generation = located.generation + 1
        try:
            await make(generation)
            size = self._files.bytes_of(target)
            await self._archive.ask(
                "prepare",
                object=object_id.hex(),
                class_key=key.unique,
                old=located.path if located.exists else None,
                old_generation=located.generation,
                old_change=located.change,
                new=target,
                generation=generation,
                time_ms=self._clock.now_ms(),
            )
            # Before the rename: an object that is there is never missing from the catalogue.
            row = Row(object_id, key.unique, name, size, self._clock.now_ms(), UNSURE_MS)
            await self._in_catalogue(lambda: self._catalogue.write([row]))
            await self._to_the_end(self._place(object_id, target, located.path))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk of the data folder is full", hint="free space there") from error
            raise StorageError(f"the new file cannot be put in its place: {error.strerror}") from error
        finally:
            if self._disk.exists(target):
                await self._on_thread(lambda: self._disk.unlink(target, missing_ok=True))
        with contextlib.suppress(PerdureError):  # it is done; `fold_object` confirms it before anyone asks for the past
            await self._archive.ask("confirm", object=object_id.hex(), generation=generation, class_key=key.unique)
        return size

    async def _on_thread(self, work: Callable[[], None]) -> None:
        """For large files: their blocks are freed when a name goes, and a folder's sync waits for all that was written."""
        with self._committer.beside():
            await self._on_catalogue(work)

    async def _place(self, object_id: bytes, target: str, path: str) -> None:
        await self._on_thread(lambda: self._put_in_place(target, path))
        await self._sync_place(path)
        self._files.replaced(object_id)
        self.on_replaced(object_id)

    def _put_in_place(self, target: str, path: str) -> None:
        self._disk.make_folder(os.path.dirname(path))
        self._disk.rename(target, path)

    async def _sync_place(self, path: str) -> None:
        """A name that may or may not be durable can be neither believed nor taken back: then the shard begins anew."""
        try:
            await self._on_thread(lambda: self._files.sync_place(path))
        except OSError as error:
            self._committer.end(error)
            raise StorageError(f"the folder of {path} cannot be synced: {error.strerror}") from error

    async def _in_catalogue(self, work: Callable[[], None]) -> None:
        try:
            await self._on_catalogue(work)
        except apsw.FullError as error:
            raise StorageFull("the disk of the data folder is full", hint="free space there") from error

    async def export(self, key: ClassKey, object_id: bytes, target: str, at: Position | None) -> Message:
        """Write a plain SQLite file with the object's state, now or at a point. Raises NotFound, HistoryGone."""
        if self._disk.exists(target):
            raise InvalidArgument(f"{target} exists already")
        try:
            return await self._export(key, object_id, target, at)
        except BaseException:
            self._disk.unlink(target, missing_ok=True)
            raise

    async def _export(self, key: ClassKey, object_id: bytes, target: str, at: Position | None) -> Message:
        if at is not None:
            await self.fold_object(key, object_id)
            built = await self._archive.ask(
                "build",
                object=object_id.hex(),
                generation=at.generation,
                change=at.change,
                target=target,
                plain=True,
            )
            size = cast("int", built["size_pages"]) * 4096
            return {"bytes": size, **{name: built[name] for name in ("generation", "change", "time_ms")}}
        await self._residents.complete(object_id)
        located = self._locate(key, object_id)
        generation, change = located.generation, self._files.change_of(located.path)
        self._files.pin(object_id)
        try:
            answer = await self._archive.ask("export", path=located.path, target=target)
        finally:
            whole = self._files.unpin(object_id)
        if not whole:
            raise StorageError("the object was rebuilt while it was copied", hint="try again")
        return {**answer, "generation": generation, "change": change, "time_ms": self._clock.now_ms()}

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        """Of the object's file."""
        return self._files.locate(key, object_id).generation

    async def import_file(self, key: ClassKey, object_id: bytes, name: str | None, source: str, replace: bool) -> int:
        """Make a SQLite file the object's; its bytes.

        Raises ImportRefused, InvalidArgument when the object exists and `replace` is false.
        """
        return await self._to_the_end(self._import(key, object_id, name, source, replace))

    async def _import(self, key: ClassKey, object_id: bytes, name: str | None, source: str, replace: bool) -> int:
        async with self._residents.vacated(object_id, "replaced by an import"):
            if self._files.exists(key, object_id) and not replace:
                raise InvalidArgument("the object exists already", hint="--replace puts the file in its place")
            await self.fold_object(key, object_id)
            return await self._adopt(key, object_id, name, source)

    async def vacuum(self, key: ClassKey, object_id: bytes, name: str | None) -> tuple[int, int]:
        """Write the object's file anew without its free pages; its bytes before and after. Raises ObjectNotFound."""
        return await self._to_the_end(self._vacuum(key, object_id, name))

    async def _vacuum(self, key: ClassKey, object_id: bytes, name: str | None) -> tuple[int, int]:
        async with self._residents.vacated(object_id, "written anew"):
            located = self._locate(key, object_id)
            before = self._files.bytes_of(located.path)
            await self.fold_object(key, object_id)
            return before, await self._adopt(key, object_id, name, f"file:{quote(located.path)}?immutable=1")

    async def _adopt(self, key: ClassKey, object_id: bytes, name: str | None, source: str) -> int:
        target = self._files.new_path(object_id)
        limits = self._class_limits.get(key.unique, self._limits)

        async def make(generation: int) -> None:
            await self._archive.ask(
                "adopt", source=source, target=target, generation=generation, bytes_max=limits.object_bytes_max
            )

        return await self._replace(key, object_id, name, target, make)

    def _locate(self, key: ClassKey, object_id: bytes) -> Located:
        located = self._files.locate(key, object_id)
        if not located.exists:
            raise ObjectNotFound(
                f"there is no object {object_id.hex()}", hint="`perdure objects list` shows those that exist"
            )
        return located

    async def restore_now(self, key: ClassKey, object_id: bytes, name: str | None, position: Position) -> Position:
        """Restore without waiting for the object's next start; the point that undoes it."""
        return await self._to_the_end(self._restore_now(key, object_id, name, position))

    async def _restore_now(self, key: ClassKey, object_id: bytes, name: str | None, position: Position) -> Position:
        async with self._residents.vacated(object_id, "restored to an earlier state"):
            generation = self._files.locate(key, object_id).generation
            await self.restore(key, object_id, name, position)
        return Position(generation, END_OF_GENERATION)

    async def delete(self, key: ClassKey, object_id: bytes) -> bool:
        """Remove an object: file, catalogue row, and its past; whether it existed."""
        return await self._to_the_end(self._delete(key, object_id))

    async def _delete(self, key: ClassKey, object_id: bytes) -> bool:
        async with self._residents.vacated(object_id, "deleted"):
            existed = self._files.exists(key, object_id)
            if existed:
                located = self._files.locate(key, object_id)
                generation = located.generation
                await self._in_catalogue(lambda: self._catalogue.raise_floor(group_of(object_id), generation))
                await self._committer.appended(
                    [Head(DELETE, object_id, key.unique, generation=generation, change=FORGET)]
                )
                try:
                    await self._on_thread(lambda: self._disk.unlink(located.path, missing_ok=True))
                except OSError as error:  # the record says that it is gone: the next start removes the file
                    self._committer.end(error)
                    raise StorageError(f"{located.path} cannot be removed: {error.strerror}") from error
                await self._sync_place(located.path)
                self.on_replaced(object_id)
                self._files.deleted(object_id, located.generation)  # until now its DELETE record must be kept
            await self._flush_meters()
            await self._in_catalogue(lambda: self._catalogue.delete(object_id))
            await self._archive.ask("forget", object=object_id.hex())
        return existed

    async def _to_the_end(self, change: Coroutine[object, object, T]) -> T:
        """Also when nobody waits any more: an object must not go on while its DELETE record, or a new file, is on the way."""
        task = asyncio.get_running_loop().create_task(change, name="change of a whole file", context=outside())
        self._changing.add(task)
        task.add_done_callback(self._changed)
        return await asyncio.shield(task)

    def _changed(self, task: asyncio.Task[Any]) -> None:
        self._changing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits gets it

    async def finish(self, seconds: float) -> None:
        """Let changes that nobody waits for any more come to their end, for that time at most."""
        if self._changing:
            await asyncio.wait(self._changing, timeout=seconds)


__all__ = ["SegmentPlace", "Timeline"]
