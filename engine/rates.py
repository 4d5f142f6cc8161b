"""How often each object is called: the soft limit, and the list of the most called.

An object counts its calls; nothing else happens in a call. Once a second the counts of those that were called are read, and kept
for ten seconds for objects that come near the limit. Above the limit an object is logged once a minute, with advice; where
`soft_limit_enforce` is set it refuses what is more than ten seconds' worth within ten seconds.

What always holds: at most `TRACKED_MAX` objects are kept; an object that is not kept is called less than a hundredth of the limit
(or less than all that are kept).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import PerdureError
from .mailbox import overloaded

if TYPE_CHECKING:
    from .instance import Instance
    from .shelf import Shelf

WINDOW_S = 10.0
TRACKED_MAX = 1_000
LOG_EVERY_S = 60.0
NO_BOUND = 1 << 62
_NEAR = 100
"""Objects above a hundredth of the limit are kept."""


@dataclass(frozen=True, slots=True)
class HotObject:
    """One line of the list of the most called objects."""

    object_id: bytes
    class_name: str
    name: str | None
    requests_per_s: float
    queued: int
    above_soft_limit: bool


class _Track:
    """Calls of one object by second, for ten seconds."""

    __slots__ = ("counts", "logged_s", "total")

    def __init__(self) -> None:
        self.counts: deque[tuple[float, int]] = deque()
        self.total = 0
        self.logged_s: float | None = None

    def add(self, now_s: float, count: int) -> None:
        self.counts.append((now_s, count))
        self.total += count
        while self.counts and self.counts[0][0] < now_s - WINDOW_S + 0.5:  # each is of the second before it
            self.total -= self.counts.popleft()[1]

    def per_s(self) -> float:
        return self.total / WINDOW_S


class Rates:
    """The objects of a shard that are called often."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._tracks: dict[Instance, _Track] = {}

    def read(self, instance: Instance) -> None:
        """Take the calls that an object has counted. Once a second for each object in memory that was called."""
        count = instance.calls_max - instance.calls_left
        instance.calls_left = instance.calls_max
        track = self._tracks.get(instance)
        limit = instance.limits.soft_limit_rps
        if track is None:
            if count * _NEAR < limit or (len(self._tracks) >= TRACKED_MAX and not self._make_room(count)):
                return
            track = self._tracks[instance] = _Track()
        self._add(instance, track, count)

    def slide(self) -> None:
        """Once a second: the window moves on for objects that were not called since."""
        for instance, track in list(self._tracks.items()):
            if instance.calls_left == instance.calls_max:
                self._add(instance, track, 0)

    def _add(self, instance: Instance, track: _Track, count: int) -> None:
        now_s, limit = self._shelf.now_s, instance.limits.soft_limit_rps
        track.add(now_s, count)
        if not track.total or instance.broken is not None:
            self.forget(instance)
            return
        if instance.limits.soft_limit_enforce:
            instance.calls_max = instance.calls_left = max(int(limit * WINDOW_S) - track.total, 0)
        if self._above(instance, track):
            if track.logged_s is None or now_s - track.logged_s >= LOG_EVERY_S:
                track.logged_s = now_s
                self._report(instance, track)

    def forget(self, instance: Instance) -> None:
        """It is called no more, or leaves memory."""
        self._tracks.pop(instance, None)
        instance.calls_max = instance.calls_left = first_bound(instance)

    def _make_room(self, count: int) -> bool:
        """Drop the least called object that is called less than `count` in ten seconds."""
        least = min(self._tracks, key=lambda instance: self._tracks[instance].total)
        if self._tracks[least].total >= count:
            return False
        self.forget(least)
        return True

    def _report(self, instance: Instance, track: _Track) -> None:
        fields: dict[str, object] = {
            "object": str(instance),
            "id": instance.object_id.hex(),
            "requests_per_s": round(track.per_s()),
            "soft_limit_rps": instance.limits.soft_limit_rps,
            "hint": "one object has one thread of control: spread its load over several objects, by part of the key",
        }
        self._shelf.report("warning", "above_soft_limit", fields)

    def _above(self, instance: Instance, track: _Track) -> bool:
        return track.total > instance.limits.soft_limit_rps * WINDOW_S or instance.calls_max <= 0

    def hottest(self, count: int) -> list[HotObject]:
        """The most called objects, first the most called: means over ten seconds."""
        ordered = sorted(self._tracks.items(), key=lambda item: item[1].total, reverse=True)
        return [
            HotObject(
                instance.object_id,
                instance.runtime.name,
                instance.name,
                track.per_s(),
                instance.queued,
                self._above(instance, track),
            )
            for instance, track in ordered[:count]
        ]

    def statistics(self) -> dict[str, int]:
        return {"above_soft_limit": sum(self._above(instance, track) for instance, track in self._tracks.items())}


def first_bound(instance: Instance) -> int:
    """How many calls an object may be given before its counts are read."""
    limits = instance.limits
    return int(limits.soft_limit_rps * WINDOW_S) if limits.soft_limit_enforce else NO_BOUND


def refusal(instance: Instance) -> PerdureError:
    """What callers get above an enforced limit."""
    rate = instance.limits.soft_limit_rps
    return overloaded(instance, f"Too many requests for one object within a 10 second window (soft_limit_rps: {rate})")
