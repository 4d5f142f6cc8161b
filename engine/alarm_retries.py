"""What becomes of an alarm after a run: outcome and state in, next state out. Pure.

What always holds: a run that ended well leaves nothing; one that raised is tried again RETRIES_MAX times; one that was lost for
no fault of its own is tried again for ever; each try waits at least twice as long as the one before, up to 2 << 9 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

RETRIES_MAX = 6
"""Counted retries: seven runs in all (spec: alarms, delivery)."""
_FIRST_MS = 2_000
_DOUBLINGS_MAX = 9
_JITTER = 0.25


class Outcome(Enum):
    """How a run ended. LOST: its process died, or the object was reset by something else than the run."""

    DONE = "done"
    RAISED = "raised"
    LOST = "lost"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Armed:
    """An alarm that is set. `scheduled_ms`: what `setAlarm` was given; `due_ms`: when it runs next, as a retry perhaps."""

    scheduled_ms: int
    due_ms: int
    counted: int = 0
    """Retries that count, of which there are RETRIES_MAX."""
    uncounted: int = 0

    @classmethod
    def first(cls, scheduled_ms: int) -> Armed:
        """Before its first run."""
        return cls(scheduled_ms, scheduled_ms)

    @property
    def retries(self) -> int:
        """Runs that it has had."""
        return self.counted + self.uncounted


def delay_ms(retries: int, jitter: float) -> int:
    """How long to wait after that many failed runs before this one. `jitter`: from 0 to 1, at random."""
    return round((_FIRST_MS << min(retries, _DOUBLINGS_MAX)) * (1 + _JITTER * jitter))


def after(armed: Armed, outcome: Outcome, now_ms: int, jitter: float) -> Armed | None:
    """The alarm after a run that ended now; None: there is none any more."""
    if outcome in (Outcome.DONE, Outcome.DROPPED):
        return None
    due_ms = now_ms + delay_ms(armed.retries, jitter)
    if outcome is Outcome.LOST:
        return Armed(armed.scheduled_ms, due_ms, armed.counted, armed.uncounted + 1)
    if armed.counted >= RETRIES_MAX:
        return None
    return Armed(armed.scheduled_ms, due_ms, armed.counted + 1, armed.uncounted)
