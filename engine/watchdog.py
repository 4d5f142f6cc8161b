"""Whether the turn that runs is past its budget: time without suspension, counted in looks. Pure.

What always holds: a step is as old as the first look that saw it, so it is never taken for older than it is; once it is past its
budget it stays condemned until another one is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

GRACE_S = 5.0
"""How long a turn may go on past its budget before its shard is restarted: it is stuck where it cannot be broken."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the running step has shown."""

    age_s: float
    over: bool
    """It must end."""
    first: bool
    """It must end, and the look before did not say so."""


class Watchdog:
    """Told at every look whether the step that runs is the one of the look before."""

    __slots__ = ("_condemned", "_since_s")

    def __init__(self) -> None:
        self._since_s = 0.0
        self._condemned = False

    def idle(self) -> None:
        """Nothing runs."""
        self._condemned = False

    def look(self, same: bool, budget_s: float, now_s: float) -> Look:
        """A step runs. `budget_s`: what it may have."""
        if not same:
            self._since_s = now_s
            self._condemned = False
        age_s = now_s - self._since_s
        over = self._condemned or (same and age_s >= budget_s)
        first, self._condemned = over and not self._condemned, over
        return Look(age_s, over, first)

    def condemn(self) -> None:
        """The step must end for another reason than its age."""
        self._condemned = True
