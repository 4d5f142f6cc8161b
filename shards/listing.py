"""The operations `list` and `describe`: the catalogue, with what the log knows and the catalogue does not yet.

What always holds: an object whose first commit was acknowledged is listed; pages come in the order (class key, name, id), objects
without a name first; a page resumed after its last row misses nothing and repeats nothing that stood still. Nothing of the
shard's loop waits for the files: they are read on a thread.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

from ..engine.errors import InvalidArgument, ObjectNotFound
from ..engine.residents import Residents
from ..router.slots import group_of
from .catalogue import Catalogue
from .files import ObjectFiles

LIST_LIMIT_MAX = 10_000
_COLUMNS = "id, class, name, created_ms, active_ms, bytes"
_Place = tuple[str, bool, str, bytes]


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as it is listed. Times are 0 when the log does not tell them (an object that recovery has not reached)."""

    object_id: bytes
    class_key: str
    name: str | None
    created_ms: int
    active_ms: int
    bytes: int

    @property
    def place(self) -> _Place:
        """Where it stands in the order of a list."""
        return self.class_key, self.name is not None, self.name or "", self.object_id

    def to_wire(self) -> dict[str, object]:
        """As `list` and `describe` give it."""
        return {
            "id": self.object_id.hex(),
            "class": self.class_key,
            "name": self.name,
            "created_ms": self.created_ms,
            "active_ms": self.active_ms,
            "bytes": self.bytes,
        }


class Listing:
    """Reads the catalogue files of one shard, beside the marker that writes them."""

    def __init__(self, catalogue: Catalogue, files: ObjectFiles, residents: Residents) -> None:
        self._catalogue = catalogue
        self._files = files
        self._residents = residents
        self.rebuild: asyncio.Future[None] | None = None
        """Finds the objects of groups whose file was missing; until it is done the files are neither whole nor settled."""

    async def _whole(self) -> None:
        if self.rebuild is not None:
            await asyncio.shield(self.rebuild)

    async def list(
        self,
        limit: int,
        class_key: str | None = None,
        prefix: str | None = None,
        after: list | None = None,  # pyright: ignore[reportMissingTypeArgument,reportUnknownParameterType] - checked at run time
    ) -> dict[str, object]:
        """One page: `{"objects": [...], "next": …}`. `prefix`: of names. `after`: the `next` of the page before; None at the end.

        Raises InvalidArgument for a limit outside 1..10,000 or an `after` that is none.
        """
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise InvalidArgument(f"limit must be from 1 to {LIST_LIMIT_MAX}, got {limit}")
        wanted = _Wanted(class_key, prefix or "", _place_of(cast("list[object] | None", after)))
        await self._whole()
        unmarked = [row for row in self._unmarked() if wanted.takes(row, unsure_of_name=True)]
        rows = await asyncio.to_thread(self._page, wanted, unmarked, limit)
        following = [rows[-1].class_key, rows[-1].name, rows[-1].object_id] if len(rows) == limit else None
        return {"objects": [row.to_wire() for row in rows], "next": following}

    async def describe(self, object_id: bytes) -> dict[str, object]:
        """What is known of one object, and whether it is resident. Raises ObjectNotFound when it has no stored state."""
        await self._whole()
        unmarked = next((row for row in self._unmarked({object_id})), None)
        found = await asyncio.to_thread(self._find, object_id)
        row = found if unmarked is None else _merged(unmarked, found)
        if row is None:
            raise ObjectNotFound(
                f"there is no object {object_id.hex()}", hint="it never stored anything, or it was deleted"
            )
        return {**row.to_wire(), "resident": self._residents.is_resident(object_id)}

    def _unmarked(self, only: set[bytes] | None = None) -> Iterator[Listed]:
        """Objects with commits that no mark covers: the catalogue may not know them, or not their last commit."""
        live, dead = self._files.live, self._files.dead.objects
        for object_id in live if only is None else only & live.keys():
            item = live[object_id]
            size = item.size_pages * 4096
            yield Listed(object_id, item.class_key, item.name, item.time_ms, item.time_ms, size)
        for object_id in dead if only is None else only & dead.keys():
            if object_id not in live:
                behind = dead[object_id]
                yield Listed(object_id, behind.class_key, behind.name, 0, 0, 0)

    # ------------------------------------------------------------------ on a thread
    def _page(self, wanted: _Wanted, unmarked: list[Listed], limit: int) -> list[Listed]:
        newer = {row.object_id: row for row in unmarked}
        known: set[bytes] = set()
        pages: list[list[Listed]] = []
        for group in self._catalogue.groups:
            page, found = self._read_group(group, wanted, newer, limit)
            # The catalogue's name, also where the log knows another: it is what the page is ordered by.
            pages.append(
                [
                    replace(_merged(newer[row.object_id], row), name=row.name) if row.object_id in newer else row
                    for row in page
                ]
            )
            known |= found
        pages.append(sorted((row for row in unmarked if row.object_id not in known), key=_by_place))
        merged = heapq.merge(*pages, key=_by_place)
        return [row for row, _ in zip((row for row in merged if wanted.takes(row)), range(limit), strict=False)]

    def _read_group(
        self, group: int, wanted: _Wanted, newer: Iterable[bytes], limit: int
    ) -> tuple[list[Listed], set[bytes]]:
        """A page of one group's file, and which of `newer` the file has."""
        connection = self._catalogue.reader(group)
        if connection is None:
            return [], set()
        try:
            query, bindings = wanted.query(limit)
            page = [_row(row) for row in connection.execute(query, bindings)]
            asked = [object_id for object_id in newer if group_of(object_id) == group]
            found = {
                object_id
                for object_id in asked
                if connection.execute("select 1 from objects where id = ?", (object_id,)).fetchone() is not None
            }
        finally:
            connection.close()
        return page, found

    def _find(self, object_id: bytes) -> Listed | None:
        connection = self._catalogue.reader(group_of(object_id))
        if connection is None:
            return None
        try:
            row = connection.execute(f"select {_COLUMNS} from objects where id = ?", (object_id,)).fetchone()
        finally:
            connection.close()
        return None if row is None else _row(row)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a list asks for."""

    class_key: str | None
    prefix: str
    after: _Place | None

    def takes(self, row: Listed, *, unsure_of_name: bool = False) -> bool:
        """Whether the row belongs to the page. `unsure_of_name`: the row may have a name that only the catalogue knows."""
        if self.class_key is not None and row.class_key != self.class_key:
            return False
        if unsure_of_name and row.name is None:
            return True
        if self.prefix and not (row.name or "").startswith(self.prefix):
            return False
        return self.after is None or row.place > self.after

    def query(self, limit: int) -> tuple[str, tuple[str | bytes | int, ...]]:
        """The select of a group's page; the index over class and name gives its order."""
        clauses: list[str] = []
        bindings: list[str | bytes | int] = []
        if self.class_key is not None:
            clauses.append("class = ?")
            bindings.append(self.class_key)
        if self.prefix:
            clauses.append("name >= ? and substr(name, 1, ?) = ?")
            bindings += [self.prefix, len(self.prefix), self.prefix]
        if self.after is not None:
            class_key, named, name, object_id = self.after
            clauses.append("class >= ?")
            bindings.append(class_key)
            if named:
                clauses.append("(class > ? or name > ? or (name = ? and id > ?))")
                bindings += [class_key, name, name, object_id]
            else:
                clauses.append("(class > ? or name is not null or id > ?)")
                bindings += [class_key, object_id]
        where = f" where {' and '.join(clauses)}" if clauses else ""
        return f"select {_COLUMNS} from objects{where} order by class, name, id limit ?", (*bindings, limit)


def _by_place(row: Listed) -> _Place:
    return row.place


def _place_of(after: list[object] | None) -> _Place | None:
    if after is None:
        return None
    if len(after) == 3:
        class_key, name, object_id = after
        if isinstance(class_key, str) and isinstance(name, str | None) and isinstance(object_id, bytes):
            return class_key, name is not None, name or "", bytes(object_id)
    raise InvalidArgument(f"after must be the `next` of a page, got {after!r}")


def _row(row: tuple[object, ...]) -> Listed:
    object_id, class_key, name, created_ms, active_ms, size = row
    return Listed(
        bytes(cast("bytes", object_id)),
        str(class_key),
        None if name is None else str(name),
        int(cast("int", created_ms)),
        int(cast("int", active_ms)),
        int(cast("int", size)),
    )


def _merged(newer: Listed, found: Listed | None) -> Listed:
    """What both know of one object: the log the last commit, the catalogue the name and the first."""
    if found is None:
        return newer
    return Listed(
        found.object_id,
        found.class_key,
        found.name or newer.name,
        found.created_ms,
        max(found.active_ms, newer.active_ms),
        newer.bytes or found.bytes,
    )
