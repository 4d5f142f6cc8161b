"""Which resident objects have not been used for longest.

What always holds: nothing is kept, and a call costs nothing, as long as there is room; the order is that of the coarse clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instance import Instance

_TRIES_MAX = 64
"""Objects that are looked at to find one that may leave: the time of a call that needs room is bounded."""


class LeastRecent:
    """A heap by the time of the last use, put in order again only when an object comes to its top."""

    def __init__(self, residents: Callable[[], Collection[Instance]], may_leave: Callable[[Instance], bool]) -> None:
        self._residents = residents
        self._may_leave = may_leave
        self._heap: list[tuple[float, int, Instance]] = []
        self._numbers: Iterator[int] = count()

    def added(self, instance: Instance) -> None:
        """A new resident. It matters only once there was no room."""
        if self._heap:
            heappush(self._heap, (instance.used_s, next(self._numbers), instance))

    def take(self, is_resident: Callable[[Instance], bool]) -> Instance | None:
        """The least recently used one that may leave, of the first that are looked at; None: there is none."""
        if not self._heap or len(self._heap) > 2 * len(self._residents()):
            self._heap = [(instance.used_s, next(self._numbers), instance) for instance in self._residents()]
            heapify(self._heap)
        passed: list[tuple[float, int, Instance]] = []
        found: Instance | None = None
        while self._heap and len(passed) < _TRIES_MAX:
            used_s, number, instance = heappop(self._heap)
            if not is_resident(instance):
                continue
            if instance.used_s > used_s:
                heappush(self._heap, (instance.used_s, number, instance))
            elif self._may_leave(instance):
                found = instance
                break
            else:
                passed.append((instance.shelf.now_s, number, instance))
        for entry in passed:  # behind all that are used less: they are not looked at again at once
            heappush(self._heap, entry)
        return found

    def forget(self) -> None:
        """There is room again."""
        self._heap = []
