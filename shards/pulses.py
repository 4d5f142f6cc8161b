"""Which of the supervisor's processes are stuck, by their pulses. Pure: no clock, no processes.

What always holds: a process that waits for its disk (sync, commit, storage) is never taken for stuck as long as it beats: killing
it would give the disk more to do. One that does not beat is stuck only after as long as a turn may hold the interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engine.watchdog import GRACE_S
from ..router.pulse import Beat

_WAITS_FOR_DISK = ("sync", "commit", "storage")


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why a process is killed."""

    silent: bool
    """It does not beat: something holds the interpreter, or the process is stopped."""
    for_s: float
    beat: Beat


@dataclass(slots=True)
class PulseWatch:
    """The pulse of one process."""

    budget_s: float
    """The longest that any turn of it may take."""
    _number: int = 0
    _since_s: float = 0.0
    _told: bool = False

    def look(self, beat: Beat | None, now_s: float) -> Stuck | None:
        """`beat`: the last one, None before the first. Says once that it is stuck."""
        if beat is None or self._told:
            return None
        if beat.number != self._number:
            self._number, self._since_s = beat.number, now_s
            over = beat.within not in ("loop", *_WAITS_FOR_DISK) and beat.stuck_s > beat.budget_s + GRACE_S
            return self._stuck(False, beat.stuck_s, beat) if over else None
        silent_s = now_s - self._since_s
        return self._stuck(True, silent_s, beat) if silent_s > self.budget_s + GRACE_S else None

    def _stuck(self, silent: bool, for_s: float, beat: Beat) -> Stuck:
        self._told = True
        return Stuck(silent, for_s, beat)
