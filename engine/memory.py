"""How much memory each object is taken to hold: growth of the process while the object's steps ran. Pure.

What always holds: estimates, with what nobody is charged for, never sum to more than the process has grown by; when it shrinks
they do. They are estimates: memory that comes and goes between two looks is not seen, what steps of others free is shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)

MEASURE_FROM_BYTES = 4 << 20
"""Growth between two looks from which on every step is measured for a while."""
MEASURE_S = 5.0


class MemoryWatch(Generic[Who]):
    """Told the resident size of the process at each look, and whose step ran since the look before."""

    __slots__ = ("_estimates", "_last", "_nobody", "_until_s")

    def __init__(self, resident: int) -> None:
        self._last = resident
        self._nobody = 0
        self._estimates: dict[Who, int] = {}
        self._until_s = -1.0

    def look(self, resident: int, who: Who | None, now_s: float) -> int:
        """Charge what has grown. `who`: only its steps ran since; None: nobody knows. The estimate of `who`, in bytes."""
        grown, self._last = resident - self._last, resident
        if grown >= MEASURE_FROM_BYTES:
            self._until_s = now_s + MEASURE_S
        if grown > 0:
            if who is None:
                self._nobody += grown
            else:
                self._estimates[who] = self._estimates.get(who, 0) + grown
        elif grown < 0:
            self._shrink(-grown, who)
        return 0 if who is None else self._estimates.get(who, 0)

    def _shrink(self, freed: int, who: Who | None) -> None:
        """First what the running object held, then of everybody in proportion."""
        if who is not None and who in self._estimates:
            own = min(self._estimates[who], freed)
            self._estimates[who] -= own
            freed -= own
        total = self._nobody + sum(self._estimates.values())
        if not freed or not total:
            return
        kept = max(total - freed, 0) / total
        self._nobody = int(self._nobody * kept)
        self._estimates = {found: left for found, size in self._estimates.items() if (left := int(size * kept)) > 0}

    def wants_steps(self, now_s: float) -> bool:
        """Whether every step is to be measured: the process has grown lately."""
        return now_s < self._until_s

    def of(self, who: Who) -> int:
        """The estimate, in bytes."""
        return self._estimates.get(who, 0)

    def keep(self, alive: Callable[[Who], bool]) -> None:
        """Forget those that are gone; what they held belongs to nobody until it is freed."""
        for who in [who for who in self._estimates if not alive(who)]:
            self._nobody += self._estimates.pop(who)

    def largest(self) -> tuple[Who, int] | None:
        """Who has the largest estimate, and that."""
        if not self._estimates:
            return None
        who = max(self._estimates, key=lambda found: self._estimates[found])
        return who, self._estimates[who]
