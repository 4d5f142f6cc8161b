"""Runs: commits of one object one after the other, packed together, as history keeps them. Pure functions.

What always holds: merging adjacent points gives the state after the last of them; a packed run is at most a MiB of page
images, unless one point alone has more, which is cut into pieces then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import lz4.block
import msgpack

from ..engine.database import PAGE

RUN_PAGES_MAX = 256


@dataclass(frozen=True, slots=True)
class Point:
    """The state of an object after one commit, or after several that were merged: the pages changed since the point before."""

    change: int
    time_ms: int
    size_pages: int
    pages: dict[int, bytes]


class Entry(NamedTuple):
    """A point's line in a run's table of contents."""

    change: int
    time_ms: int
    size_pages: int
    pages: Sequence[int]


@dataclass(frozen=True, slots=True)
class Run:
    """`part` 0: whole points. From 1 on: a piece of one large point, whose last piece has its size."""

    first: int
    last: int
    part: int
    from_ms: int
    to_ms: int
    toc: bytes
    data: bytes
    ends: bool = True
    """False for a piece that others must follow."""

    @property
    def bytes(self) -> int:
        return len(self.toc) + len(self.data)


def pack_run(points: Sequence[Point], part: int = 0) -> Run:
    """Points of ascending change numbers as one run."""
    toc = cast("bytes", msgpack.packb([(p.change, p.time_ms, p.size_pages, tuple(p.pages)) for p in points]))
    raw = b"".join(image for point in points for image in point.pages.values())
    data = cast("bytes", lz4.block.compress(raw)) if raw else b""
    times = [point.time_ms for point in points]
    ends = points[-1].size_pages > 0
    return Run(points[0].change, points[-1].change, part, min(times), max(times), toc, data, ends)


def entries(toc: bytes) -> list[Entry]:
    """A run's table of contents."""
    return [Entry(*line) for line in cast("list[list[int]]", msgpack.unpackb(toc))]  # pyright: ignore[reportArgumentType]


def images(data: bytes) -> bytes:
    """A run's page images, one after the other in the order of its table of contents."""
    return cast("bytes", lz4.block.decompress(data)) if data else b""


def unpack_run(toc: bytes, data: bytes) -> list[Point]:
    """The inverse of `pack_run`."""
    raw, position, points = images(data), 0, list[Point]()
    for entry in entries(toc):
        pages: dict[int, bytes] = {}
        for number in entry.pages:
            pages[number] = raw[position : position + PAGE]
            position += PAGE
        points.append(Point(entry.change, entry.time_ms, entry.size_pages, pages))
    return points


def joined(points: Iterable[Point]) -> Iterator[Point]:
    """Whole points: pieces are put together, those without their end are left out."""
    pieces: list[Point] = []
    for point in points:
        if pieces and pieces[-1].change != point.change:
            pieces = []
        pieces.append(point)
        if point.size_pages:
            yield merge(pieces)
            pieces = []


def pack_runs(points: Iterable[Point]) -> Iterator[Run]:
    """As many runs as it takes."""
    waiting: list[Point] = []
    count = 0
    for point in points:
        if waiting and count + len(point.pages) > RUN_PAGES_MAX:
            yield pack_run(waiting)
            waiting, count = [], 0
        if len(point.pages) > RUN_PAGES_MAX:
            yield from _pieces(point)
            continue
        waiting.append(point)
        count += len(point.pages)
    if waiting:
        yield pack_run(waiting)


def _pieces(point: Point) -> Iterator[Run]:
    numbers = list(point.pages)
    starts = range(0, len(numbers), RUN_PAGES_MAX)
    for part, start in enumerate(starts, start=1):
        pages = {number: point.pages[number] for number in numbers[start : start + RUN_PAGES_MAX]}
        size = point.size_pages if part == len(starts) else 0
        yield pack_run([Point(point.change, point.time_ms, size, pages)], part)


def merge(points: Sequence[Point]) -> Point:
    """One point for adjacent ones: the last image of each page that the last size keeps."""
    last = points[-1]
    pages: dict[int, bytes] = {}
    for point in points:
        pages.update(point.pages)
    return Point(
        last.change,
        last.time_ms,
        last.size_pages,
        {number: image for number, image in pages.items() if number <= last.size_pages},
    )


def thin(points: Sequence[Point], step_ms: int) -> list[Point]:
    """One point for each `step_ms` of time: the last of it, with the images of those before."""
    groups: list[list[Point]] = []
    for point in points:
        if groups and groups[-1][-1].time_ms // step_ms == point.time_ms // step_ms:
            groups[-1].append(point)
        else:
            groups.append([point])
    return [merge(group) for group in groups]
