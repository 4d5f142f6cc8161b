"""Keeps history within its bounds: by age, by bytes of an object, by bytes of the data folder. The oldest is thinned first.

exact → a point a minute → a point an hour → folded into the base. What always holds: a step frees space or moves on, so that
thinning ends; the newest minute is never touched by a bound of one object; a point that is cut into pieces is taken whole or
not at all, and only piece by piece into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import apsw
import lz4.block

from ..engine.database import PAGE, TEMPLATE
from .history import EXACT, HOUR_MS, MINUTE_MS, History
from .runs import Point, entries, merge, pack_runs, thin, unpack_run
from .sqlite_transactions import transaction

_ROWS = 64
"""Runs that one step reads: at most 64 MiB of page images."""
_STEPS = ((EXACT, MINUTE_MS), (MINUTE_MS, HOUR_MS), (HOUR_MS, 0))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of history. `object_bytes_max` is without twice the object's size; `bytes_max` is for all groups of this shard."""

    days: int
    object_bytes_max: int
    bytes_max: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A run, without its page images."""

    rowid: int
    generation: int
    first: int
    part: int
    to_ms: int
    step_ms: int
    fresh: bool
    toc: bytes

    @property
    def ends(self) -> bool:
        """Whether it is no piece, or the last one."""
        return not self.part or entries(self.toc)[-1].size_pages > 0


def before(days: int, now_ms: int) -> int:
    """What is older is folded into the base: milliseconds since the epoch."""
    return now_ms - days * 86_400_000


def bound_object(history: History, object_id: bytes, bounds: Bounds, now_ms: int) -> None:
    """Fold what is too old, thin what is too much."""
    old = before(bounds.days, now_ms)
    while rows := _oldest(history, object_id, lambda row: row.to_ms < old):
        _fold(history, object_id, rows)
    bytes_max = bounds.object_bytes_max + 2 * _size(history, object_id)
    for step, coarser in _STEPS:
        while _used(history, object_id) > bytes_max:
            rows = _oldest(history, object_id, lambda row: row.to_ms < now_ms - MINUTE_MS, step)
            if not rows:
                break
            _thin(history, object_id, rows, coarser)


def bound_folder(history: History, groups: list[int], bounds: Bounds, now_ms: int) -> None:
    """Thin the oldest runs of whatever objects until the files fit."""
    for step, coarser in _STEPS:
        while sum(_total(history, group) for group in groups) > bounds.bytes_max:
            if not any([_thin_oldest(history, group, step, coarser, now_ms) for group in groups]):
                break


def _thin_oldest(history: History, group: int, step: int, coarser: int, now_ms: int) -> bool:
    """Thin the object of the group with the oldest run of that step; whether there was any."""
    query = "select id from runs where step_ms = ? and from_ms <= ? order by from_ms limit 1"
    found = history.of_group(group).execute(query, (step, now_ms)).fetchall()
    if not found:
        return False
    object_id = cast("bytes", found[0][0])
    rows = _oldest(history, object_id, lambda row: row.to_ms <= now_ms, step)
    if rows:
        _thin(history, object_id, rows, coarser)
    return bool(rows)


def _oldest(history: History, object_id: bytes, accepts: Callable[[_Row], bool], step: int | None = None) -> list[_Row]:
    """The oldest runs of one generation, one after the other: whole points in one run each, or one large point's pieces."""
    connection = history.connection(object_id)
    only = "" if step is None else f"and step_ms = {step} "
    query = (
        "select rowid, generation, first, part, to_ms, step_ms, fresh, toc from runs where id = ? and step_ms >= 0 "
        f"{only}order by generation, first, part"
    )
    taken: list[_Row] = []
    for values in connection.execute(query, (object_id,)):
        row = _Row(*values)  # pyright: ignore[reportArgumentType]
        if taken and (row.generation, row.first) != (taken[-1].generation, taken[-1].first) and not taken[-1].ends:
            _remove(connection, object_id, taken)  # pieces that were given up: their commit began again
            return _oldest(history, object_id, accepts, step)
        large = row.part > 0
        if taken and (row.generation != taken[0].generation or row.fresh or large != (taken[0].part > 0)):
            break
        if not large and not accepts(row):
            break
        taken.append(row)
        if (large and row.ends) or (len(taken) >= _ROWS and not large):
            break
    if taken and taken[0].part and not (taken[-1].ends and accepts(taken[-1])):
        return []  # the rest of it is still to come, or it is too new
    return taken


def _remove(connection: apsw.Connection, object_id: bytes, rows: Sequence[_Row]) -> None:
    with transaction(connection):
        freed = sum(_delete(connection, row.rowid) for row in rows)
        connection.execute("update objects set bytes = bytes - ? where id = ?", (freed, object_id))


def _delete(connection: apsw.Connection, rowid: int) -> int:
    """The bytes that it had."""
    query = "delete from runs where rowid = ? returning length(toc) + length(data)"
    return cast("int", connection.execute(query, (rowid,)).fetchall()[0][0])


def _points(connection: apsw.Connection, rows: Sequence[_Row]) -> Iterator[Point]:
    for row in rows:
        found = connection.execute("select data from runs where rowid = ?", (row.rowid,)).fetchall()
        yield from unpack_run(row.toc, cast("bytes", found[0][0]))


def _thin(history: History, object_id: bytes, rows: Sequence[_Row], coarser: int) -> None:
    """One step: merge what lies in the same minute or hour, or fold it into the base."""
    connection = history.connection(object_id)
    if not coarser:
        _fold(history, object_id, rows)
    elif rows[0].part:  # a large point stands alone
        with transaction(connection):
            connection.executemany(
                "update runs set step_ms = ? where rowid = ?", [(coarser, row.rowid) for row in rows]
            )
    else:
        with transaction(connection):
            runs = pack_runs(thin(list(_points(connection, rows)), coarser))
            history.replace_runs(object_id, [row.rowid for row in rows], rows[0].generation, runs, coarser)


def _fold(history: History, object_id: bytes, rows: Sequence[_Row]) -> None:
    """Put the oldest runs into the base."""
    connection = history.connection(object_id)
    with transaction(connection):
        base = history.base(object_id)
        assert base is not None, "runs have a base"
        grown = 0
        if rows[0].fresh:
            grown -= _drop_pages(connection, object_id, 0)
        if base.change == 0 or rows[0].fresh:  # the template, until now
            for number in range(1, len(TEMPLATE) // PAGE + 1):
                grown += _put(connection, object_id, number, TEMPLATE[(number - 1) * PAGE : number * PAGE])
        last: Point | None = None
        found = _points(connection, rows)
        for point in found if rows[0].part else [merge(list(found))]:
            for number, image in point.pages.items():
                grown += _put(connection, object_id, number, image)
            last = point
        assert last is not None, "runs have points"
        assert last.size_pages, "whole points are folded"
        grown -= _drop_pages(connection, object_id, last.size_pages)
        grown -= sum(_delete(connection, row.rowid) for row in rows)
        connection.execute(
            "update objects set generation = ?, change = ?, ms = ?, pages = ?, bytes = bytes + ? where id = ?",
            (rows[0].generation, last.change, last.time_ms, last.size_pages, grown, object_id),
        )


def _put(connection: apsw.Connection, object_id: bytes, number: int, image: bytes) -> int:
    """Set a page of the base; by how many bytes it grew."""
    data = lz4.block.compress(image)
    found = connection.execute(
        "select length(data) from pages where id = ? and page = ?", (object_id, number)
    ).fetchall()
    connection.execute(
        "insert into pages values(?, ?, ?) on conflict(id, page) do update set data = excluded.data",
        (object_id, number, data),
    )
    return len(data) - (cast("int", found[0][0]) if found else 0)


def _drop_pages(connection: apsw.Connection, object_id: bytes, size_pages: int) -> int:
    """Cut the base; the bytes that went."""
    query = "delete from pages where id = ? and page > ? returning length(data)"
    return sum(cast("int", row[0]) for row in connection.execute(query, (object_id, size_pages)).fetchall())


def _used(history: History, object_id: bytes) -> int:
    base = history.base(object_id)
    return base.bytes if base is not None else 0


def _size(history: History, object_id: bytes) -> int:
    """Bytes of the object at its newest point."""
    query = "select toc from runs where id = ? and step_ms >= 0 order by generation desc, first desc, part desc limit 1"
    found = history.connection(object_id).execute(query, (object_id,)).fetchall()
    base = history.base(object_id)
    size = entries(cast("bytes", found[0][0]))[-1].size_pages if found else 0
    return (size or (base.size_pages if base is not None else 0)) * PAGE


def _total(history: History, group: int) -> int:
    """Bytes in use in a group's file."""
    connection = history.of_group(group)
    pages = cast("int", connection.pragma("page_count")) - cast("int", connection.pragma("freelist_count"))
    return pages * PAGE


def give_back(history: History, group: int) -> None:
    """Return free pages to the file system."""
    history.of_group(group).execute("pragma incremental_vacuum").fetchall()


__all__ = ["Bounds", "before", "bound_folder", "bound_object", "give_back"]
