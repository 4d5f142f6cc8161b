"""From a segment of the log to history: its commits, object by object, as runs.

What always holds: a segment may be folded again after a crash, whole or for one object, and history is the same; memory is
bounded, whatever a segment holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..engine.database import PAGE
from ..router.slots import group_of
from .history import History
from .records import COMMIT, DELETE, FORGET, PART, Head
from .runs import RUN_PAGES_MAX, Point, Run, pack_run
from .segment import SegmentReader
from .sqlite_transactions import transaction

_RUN_POINTS = 4_096
_WAITING_PAGES = 16_384


@dataclass(slots=True)
class Folded:
    """What a segment gave.

    `missing`: objects whose earlier history is not known, so that they need a base: class key, and of which generation.
    """

    commits: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    missing: dict[bytes, tuple[str, int]] = field(default_factory=dict[bytes, tuple[str, int]])
    objects: set[bytes] = field(default_factory=set[bytes])
    forgotten: set[bytes] = field(default_factory=set[bytes])


@dataclass(slots=True)
class _Waiting:
    """Points of one object that are not stored yet."""

    class_key: str
    generation: int
    points: list[Point] = field(default_factory=list[Point])
    pages: int = 0
    part: int = 0


class Folder:
    """Folds one segment. `wanted(object_id)`: whether an object's history is ours to write."""

    def __init__(self, history: History, wanted: Callable[[bytes], bool]) -> None:
        self.result = Folded()
        self._history = history
        self._wanted = wanted
        self._waiting: dict[bytes, _Waiting] = {}
        self._ready: dict[int, list[tuple[bytes, str, int, Run]]] = {}
        self._pages = 0

    def fold(self, reader: SegmentReader, end: int | None) -> Folded:
        """All batches up to `end` (None: to the last whole one). Raises LogDamaged, apsw.Error."""
        for header, heads, _ in reader.batches(end):
            wanted = [head for head in heads if head.kind in (COMMIT, PART, DELETE) and self._wanted(head.object_id)]
            if not wanted:
                continue
            raw = reader.payload(header) if any(head.pages for head in wanted) else b""
            if raw is None:
                raise reader.damage(header.position)
            position = 0
            for head in heads:
                length = len(head.pages) * PAGE
                if head.kind in (COMMIT, PART) and self._wanted(head.object_id):
                    self._take(head, raw[position : position + length])
                elif head.kind == DELETE and head.change == FORGET and self._wanted(head.object_id):
                    self._forget(head)
                position += length
            if self._pages > _WAITING_PAGES:
                self._store_all()
        self._store_all()
        return self.result

    def _take(self, head: Head, raw: bytes) -> None:
        waiting = self._waiting.get(head.object_id)
        if waiting is not None and (
            waiting.generation != head.generation
            or head.part
            or waiting.pages + len(head.pages) > RUN_PAGES_MAX
            or len(waiting.points) >= _RUN_POINTS
        ):
            self._store_object(head.object_id)
            waiting = None
        if waiting is None:
            waiting = self._waiting[head.object_id] = _Waiting(head.class_key, head.generation)
        pages = {number: raw[at * PAGE : (at + 1) * PAGE] for at, number in enumerate(head.pages)}
        size = head.size_pages if head.kind == COMMIT else 0
        waiting.points.append(Point(head.change, head.time_ms, size, pages))
        waiting.pages += len(pages)
        self._pages += len(pages)
        self.result.commits += head.kind == COMMIT
        self.result.raw_bytes += len(raw)
        if head.part:  # a large commit's piece is a run of its own
            waiting.part = -head.part if head.part < 0 else head.part + 1
            self._store_object(head.object_id)

    def _forget(self, head: Head) -> None:
        """An operator deleted it: nothing of it stays, but what history knows of later generations already."""
        self._store_all()
        object_id = head.object_id
        base = self._history.base(object_id)
        if base is None or base.last[0] <= head.generation:
            with transaction(self._history.connection(object_id)):
                self._history.forget(object_id, head.generation)
            self.result.forgotten.add(object_id)
        self.result.missing.pop(object_id, None)

    def _store_object(self, object_id: bytes) -> None:
        waiting = self._waiting.pop(object_id, None)
        if waiting is None:
            return
        self._pages -= waiting.pages
        run = pack_run(waiting.points, waiting.part)
        entry = (object_id, waiting.class_key, waiting.generation, run)
        self._ready.setdefault(group_of(object_id), []).append(entry)

    def _store_all(self) -> None:
        for object_id in list(self._waiting):
            self._store_object(object_id)
        ready, self._ready = self._ready, {}
        for group, runs in ready.items():
            with transaction(self._history.of_group(group)):
                for object_id, class_key, generation, run in runs:
                    self._store(object_id, class_key, generation, run)

    def _store(self, object_id: bytes, class_key: str, generation: int, run: Run) -> None:
        if self.result.missing.get(object_id, ("", 0))[1] >= generation:
            return
        fresh = run.first == 1 and run.part <= 1
        if not self._history.add(object_id, class_key, generation, [run], fresh=fresh):
            self.result.missing[object_id] = class_key, generation
        self.result.objects.add(object_id)
        self.result.stored_bytes += run.bytes
