"""When a dead process is started again: pure decisions, no clock, no processes.

A death after having served is restarted at once. Deaths before serving back off; five within a minute are a crash loop,
which is told clearly and tried again only every five seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CRASH_LOOP_DEATHS = 5
CRASH_LOOP_WINDOW_S = 60.0
_FIRST_DELAY_S = 0.1
_LOOP_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class Restart:
    """What to do about a death."""

    delay_s: float
    crash_loop: bool


@dataclass(slots=True)
class Restarts:
    """The deaths of one process."""

    early_deaths: list[float] = field(default_factory=list[float])

    def on_death(self, now_s: float, served: bool) -> Restart:
        """`served`: it had said that it is ready."""
        if served:
            self.early_deaths.clear()
            return Restart(0.0, False)
        self.early_deaths = [at for at in self.early_deaths if now_s - at < CRASH_LOOP_WINDOW_S] + [now_s]
        count = len(self.early_deaths)
        if count >= CRASH_LOOP_DEATHS:
            return Restart(_LOOP_DELAY_S, True)
        return Restart(_FIRST_DELAY_S * 2 ** (count - 1), False)
