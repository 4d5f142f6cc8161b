"""Keeps history within its bounds: by age, by bytes of an object, by bytes of the data folder. The oldest is thinned first.

exact → a point a minute → a point an hour → folded into the base. What always holds: a step frees space or moves on, so that
thinning ends; the newest minute is never touched by a bound of one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import lz4.block

from ..engine.database import PAGE, TEMPLATE
from .history import EXACT, HOUR_MS, MINUTE_MS, History
from .runs import Point, joined, merge, pack_runs, thin, unpack_run

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
    rowid: int
    generation: int
    fresh: bool
    toc: bytes
    data: bytes


def before(days: int, now_ms: int) -> int:
    """What is older is folded into the base: milliseconds since the epoch."""
    return now_ms - days * 86_400_000


def bound_object(history: History, object_id: bytes, bounds: Bounds, now_ms: int) -> None:
    """Fold what is too old, thin what is too much."""
    connection = history.connection(object_id)
    while rows := _oldest(history, object_id, "to_ms < ?", before(bounds.days, now_ms)):
        with connection:
            _fold(history, object_id, rows)
    bytes_max = bounds.object_bytes_max + 2 * _size(history, object_id)
    for step, coarser in _STEPS:
        while _used(history, object_id) > bytes_max:
            rows = _oldest(history, object_id, f"step_ms = {step} and to_ms < ?", now_ms - MINUTE_MS)
            if not rows or not _thin(history, object_id, rows, coarser):
                break


def bound_folder(history: History, groups: list[int], bounds: Bounds, now_ms: int) -> None:
    """Thin the oldest runs of whatever objects until the files fit."""
    for step, coarser in _STEPS:
        while sum(_total(history, group) for group in groups) > bounds.bytes_max:
            if not any([_thin_oldest(history, group, step, coarser, now_ms) for group in groups]):
                break


def _thin_oldest(history: History, group: int, step: int, coarser: int, now_ms: int) -> bool:
    """Thin the object of the group with the oldest run of that step; whether anything became less."""
    query = "select id from runs where step_ms = ? and from_ms <= ? order by from_ms limit 1"
    row = history.of_group(group).execute(query, (step, now_ms)).fetchone()
    if row is None:
        return False
    rows = _oldest(history, cast("bytes", row[0]), f"step_ms = {step} and from_ms <= ?", now_ms)
    return _thin(history, cast("bytes", row[0]), rows, coarser)


def _oldest(history: History, object_id: bytes, where: str, value: int) -> list[_Row]:
    """The oldest runs of one generation, one after the other, if they are what is asked for."""
    query = (
        "select rowid, generation, fresh, toc, data from runs where id = ? and step_ms >= 0 and "
        f"{where} order by generation, first, part limit {_ROWS}"
    )
    found = [_Row(*row) for row in history.connection(object_id).execute(query, (object_id, value))]  # pyright: ignore[reportArgumentType]
    kept = [row for row in found if row.generation == found[0].generation]
    for at, row in enumerate(kept):
        if at and row.fresh:
            return kept[:at]
    return kept


def _points(rows: list[_Row]) -> Iterator[Point]:
    for row in rows:
        yield from unpack_run(row.toc, row.data)


def _thin(history: History, object_id: bytes, rows: list[_Row], coarser: int) -> bool:
    """One step; whether it freed anything."""
    used = _used(history, object_id)
    connection = history.connection(object_id)
    with connection:
        if not coarser:
            _fold(history, object_id, rows)
            return True
        points = thin(list(joined(_points(rows))), coarser)
        history.replace_runs(object_id, [row.rowid for row in rows], rows[0].generation, pack_runs(points), coarser)
    return _used(history, object_id) < used or len(rows) > 1


def _fold(history: History, object_id: bytes, rows: list[_Row]) -> None:
    """Put the oldest runs into the base."""
    connection = history.connection(object_id)
    if rows[0].fresh:
        connection.execute("delete from pages where id = ?", (object_id,))
    base = history.base(object_id)
    assert base is not None, "runs have a base"
    points = list(joined(_points(rows)))
    if points:
        if base.change == 0 or rows[0].fresh:  # the template, until now
            for number in range(1, len(TEMPLATE) // PAGE + 1):
                _put(connection, object_id, number, TEMPLATE[(number - 1) * PAGE : number * PAGE])
        merged = merge(points)
        for number, image in merged.pages.items():
            _put(connection, object_id, number, image)
        connection.execute("delete from pages where id = ? and page > ?", (object_id, merged.size_pages))
        connection.execute(
            "update objects set generation = ?, change = ?, ms = ?, pages = ? where id = ?",
            (rows[0].generation, merged.change, merged.time_ms, merged.size_pages, object_id),
        )
    for row in rows:
        connection.execute("delete from runs where rowid = ?", (row.rowid,))
    connection.execute(
        "update objects set bytes = (select coalesce(sum(length(data)), 0) from pages where id = ?1) + "
        "(select coalesce(sum(length(toc) + length(data)), 0) from runs where id = ?1 and step_ms >= 0) where id = ?1",
        (object_id,),
    )


def _put(connection: object, object_id: bytes, number: int, image: bytes) -> None:
    connection.execute(  # type: ignore[attr-defined]
        "insert into pages values(?, ?, ?) on conflict(id, page) do update set data = excluded.data",
        (object_id, number, lz4.block.compress(image)),
    )


def _used(history: History, object_id: bytes) -> int:
    base = history.base(object_id)
    return base.bytes if base is not None else 0


def _size(history: History, object_id: bytes) -> int:
    """Bytes of the object at its newest point."""
    query = "select toc from runs where id = ? and step_ms >= 0 order by generation desc, first desc, part desc limit 1"
    row = history.connection(object_id).execute(query, (object_id,)).fetchone()
    base = history.base(object_id)
    points = unpack_run(cast("bytes", row[0]), b"") if row is not None else []
    size = points[-1].size_pages if points else 0
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
