"""The alarms that are due soon, in memory: those up to a horizon, the soonest first. Pure.

What always holds: every alarm that is due up to the horizon and was not taken yet is here; of later ones nothing is, but the
catalogue and the log know them; it holds a bounded number, and lowers its horizon where there are more.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable

from .catalogue import AlarmRow

READ_MAX = 1_000
"""Alarms that are read at once."""
HELD_MAX = 4 * READ_MAX
"""Above it the latest are let go, to be read again."""
AHEAD_MS = 60_000
"""How far ahead is read."""
_AGAIN_MS = 10_000


class Window:
    """Alarms by object."""

    __slots__ = ("_cut", "_heap", "_here", "ahead_ms", "horizon_ms")

    def __init__(self) -> None:
        self.ahead_ms = AHEAD_MS
        self.horizon_ms = 0
        self._cut = True
        """More lie between the last one here and what was asked for."""
        self._here: dict[bytes, AlarmRow] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._here)

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._here

    def ids(self) -> list[bytes]:
        return list(self._here)

    def wants_more(self, now_ms: int) -> bool:
        """Whether it is time to read on."""
        if self._cut and len(self._here) <= READ_MAX // 2:
            return True
        return not self._cut and now_ms >= self.horizon_ms - _AGAIN_MS

    def forget_horizon(self) -> None:
        """Something was armed that this was not told of: read again."""
        self._cut, self.horizon_ms = True, 0

    # ------------------------------------------------------------------ changes
    def learn(self, alarm: AlarmRow, *, certainly: bool = False) -> None:
        """An object's alarm is due then. `certainly`: keep it also beyond the horizon."""
        if alarm.due_ms > self.horizon_ms and not certainly:
            self._here.pop(alarm.object_id, None)
            return
        self._here[alarm.object_id] = alarm
        heapq.heappush(self._heap, (alarm.due_ms, alarm.object_id))
        if len(self._here) > HELD_MAX or len(self._heap) > 2 * HELD_MAX:
            self._shrink()

    def forget(self, object_id: bytes) -> None:
        """The object has no alarm, or somebody else takes care of it."""
        self._here.pop(object_id, None)

    def _shrink(self) -> None:
        kept = sorted(self._here.values(), key=lambda alarm: (alarm.due_ms, alarm.object_id))
        if len(kept) > HELD_MAX:
            kept = kept[: HELD_MAX // 2]
            self.horizon_ms, self._cut = min(self.horizon_ms, kept[-1].due_ms), True
        self._here = {alarm.object_id: alarm for alarm in kept}
        self._heap = [(alarm.due_ms, alarm.object_id) for alarm in kept]

    # ------------------------------------------------------------------ reading
    def begin_read(self, now_ms: int) -> int:
        """Up to when to read; from now on what is armed up to then is kept."""
        self.horizon_ms = max(self.horizon_ms if not self._cut else 0, now_ms + self.ahead_ms)
        self._cut = False
        return self.horizon_ms

    def end_read(self, rows: Iterable[AlarmRow], known: Container[bytes]) -> None:
        """What the catalogue had up to that time, or its first READ_MAX. `known`: objects of which something newer is known."""
        found = list(rows)
        if len(found) >= READ_MAX:
            self.horizon_ms, self._cut = min(self.horizon_ms, found[-1].due_ms), True
        for row in found:
            if row.object_id not in known and row.object_id not in self._here:
                self.learn(row)

    # ------------------------------------------------------------------ taking
    def next_ms(self) -> int | None:
        """When the soonest is due."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def take(self, now_ms: int) -> AlarmRow | None:
        """The one that is due longest, which is no longer here; None when none is due."""
        self._drop_stale()
        if not self._heap or self._heap[0][0] > now_ms:
            return None
        return self._here.pop(heapq.heappop(self._heap)[1])

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap:
            alarm = self._here.get(heap[0][1])
            if alarm is not None and alarm.due_ms == heap[0][0]:
                return
            heapq.heappop(heap)
