"""When crons are due, as pure decisions: the state and the time in, the runs that begin out.

What always holds: a minute's slot is given out at most once; slots of the time in which nothing ran, or in which the clock was
put forward, are not made up for, but for those of the last two minutes.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..sdk.crons import Cron

MINUTE_MS = 60_000
LATE_MINUTES_MAX = 2
"""A slot that could not be given out for this long is missed."""
BACK_MINUTES_MAX = 60
"""A clock put back by up to this: slots wait until it is as late as it was. By more: it had been wrong before."""


@dataclass(frozen=True, slots=True)
class Due:
    """One run: which cron, and its minute in ms since the epoch."""

    cron: str
    scheduled_ms: int
    program: str = ""
    """Whose `scheduled` it runs; empty: there is only one program."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`minute`: the last one whose slots were given out, in minutes since the epoch."""

    crons: tuple[Cron, ...]
    minute: int

    @classmethod
    def begin(cls, crons: Sequence[Cron], now_ms: int) -> Schedule:
        """The minute that runs counts as over: the first slot is that of the next."""
        return cls(tuple(crons), now_ms // MINUTE_MS)

    def adopt(self, crons: Sequence[Cron]) -> Schedule:
        """Other crons from now on; no slot comes twice."""
        return replace(self, crons=tuple(crons))

    def on_time(self, now_ms: int) -> tuple[Schedule, tuple[Due, ...]]:
        """The state afterwards, and what is due, oldest first."""
        now = now_ms // MINUTE_MS
        if now < self.minute - BACK_MINUTES_MAX:
            return replace(self, minute=now), ()
        if now <= self.minute:
            return self, ()
        first = max(self.minute + 1, now - LATE_MINUTES_MAX)
        due = tuple(
            Due(cron.text, minute * MINUTE_MS, cron.program)
            for minute in range(first, now + 1)
            for cron in self.crons
            if cron.matches(_moment(minute))
        )
        return replace(self, minute=now), due


def wait_s(now_ms: int) -> float:
    """Seconds to the next minute: never woken early, and often enough to see a clock that was put."""
    return min((MINUTE_MS - now_ms % MINUTE_MS) / 1000 + 0.001, 10.0)


def _moment(minute: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(minute * 60, datetime.UTC)
