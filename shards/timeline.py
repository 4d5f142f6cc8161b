"""The past of a shard's objects: points by time, restores, and every other change of a whole file — import and deletion.

What always holds: a new file is complete, synced, and noted in history before it takes the old one's place by a rename; the
rename is what counts, and commits of the earlier generation are nothing to the new file; while a file changes nobody
runs on it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import cast
from urllib.parse import quote

from ..engine.bookmarks import END_OF_GENERATION, Position
from ..engine.clock import Clock
from ..engine.database import Located
from ..engine.disk import Disk
from ..engine.errors import InvalidArgument, ObjectNotFound, StorageError
from ..engine.ids import ClassKey
from ..engine.limits import Limits
from ..engine.residents import Residents
from ..router.control import Message
from ..router.slots import group_of
from .archive import Archive
from .catalogue import Catalogue, Row
from .committer import Committer
from .files import ObjectFiles
from .log import SessionLog
from .records import DELETE, FORGET, Head

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
            if answer["missing"]:
                await self.take_base(key, object_id)
                return

    async def take_base(self, key: ClassKey, object_id: bytes) -> None:
        """Begin the history of an object that had none with its file as it is now."""
        await self._residents.complete(object_id)
        located = self._files.locate(key, object_id)
        if not located.exists:
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
            self._disk.make_folder(os.path.dirname(located.path))
            self._disk.rename(target, located.path)
            self._disk.sync_folder(os.path.dirname(located.path))
            self._disk.sync_folder(os.path.dirname(os.path.dirname(located.path)))
        except OSError as error:
            raise StorageError(f"the new file cannot be put in its place: {error.strerror}") from error
        finally:
            self._disk.unlink(target, missing_ok=True)
        self._files.replaced(object_id)
        await self._archive.ask("confirm", object=object_id.hex(), generation=generation, class_key=key.unique)
        size = self._files.bytes_of(located.path)
        row = Row(object_id, key.unique, name, size, self._clock.now_ms())
        await self._on_catalogue(lambda: self._catalogue.write([row]))
        return size

    async def export(self, key: ClassKey, object_id: bytes, target: str, at: Position | None) -> Message:
        """Write a plain SQLite file with the object's state, now or at a point. Raises NotFound, HistoryGone."""
        if self._disk.exists(target):
            raise InvalidArgument(f"{target} exists already")
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
            self._disk.unlink(target, missing_ok=True)
            raise StorageError("the object was rebuilt while it was copied", hint="try again")
        return {**answer, "generation": generation, "change": change, "time_ms": self._clock.now_ms()}

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        """Of the object's file."""
        return self._files.locate(key, object_id).generation

    async def import_file(self, key: ClassKey, object_id: bytes, name: str | None, source: str, replace: bool) -> int:
        """Make a SQLite file the object's; its bytes.

        Raises ImportRefused, InvalidArgument when the object exists and `replace` is false.
        """
        async with self._residents.vacated(object_id, "replaced by an import"):
            if self._files.exists(key, object_id) and not replace:
                raise InvalidArgument("the object exists already", hint="--replace puts the file in its place")
            await self.fold_object(key, object_id)
            return await self._adopt(key, object_id, name, source)

    async def vacuum(self, key: ClassKey, object_id: bytes, name: str | None) -> tuple[int, int]:
        """Write the object's file anew without its free pages; its bytes before and after. Raises ObjectNotFound."""
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
        async with self._residents.vacated(object_id, "restored to an earlier state"):
            generation = self._files.locate(key, object_id).generation
            await self.restore(key, object_id, name, position)
        return Position(generation, END_OF_GENERATION)

    async def delete(self, key: ClassKey, object_id: bytes) -> bool:
        """Remove an object: file, catalogue row, and its past; whether it existed."""
        async with self._residents.vacated(object_id, "deleted"):
            existed = self._files.exists(key, object_id)
            if existed:
                located = self._files.locate(key, object_id)
                generation = located.generation
                await self._on_catalogue(lambda: self._catalogue.raise_floor(group_of(object_id), generation))
                head = Head(DELETE, object_id, key.unique, generation=generation, change=FORGET)
                await self._committer.appended([head])
                self._files.deleted(object_id, located.generation)
                try:
                    self._disk.unlink(located.path, missing_ok=True)
                    self._disk.sync_folder(os.path.dirname(located.path))
                except OSError as error:  # the record says that it is gone: the next start removes the file
                    raise StorageError(f"{located.path} cannot be removed: {error.strerror}") from error
            await self._archive.ask("forget", object=object_id.hex())
            await self._flush_meters()
            await self._on_catalogue(lambda: self._catalogue.delete(object_id))
        return existed


__all__ = ["SegmentPlace", "Timeline"]
