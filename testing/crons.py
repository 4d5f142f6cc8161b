"""The crons of a world's programs: they run when time passes their minutes.

What always holds: crons move no time themselves, so a world in which nothing else will happen stands still; what a run raises is
in the world's log, as in a gateway's.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from contextvars import Context

from ..router.control import Message
from ..router.scheduled import ScheduledRuns
from ..sdk.crons import Cron
from ..sdk.doors import MakeWorker
from ..shards.cron_schedule import MINUTE_MS, Schedule
from .clocks import WorldClock
from .process import Report
from .story import Story
from .virtual import VirtualLoop


class WorldCrons:
    """Of all programs of a world. `makers`: how each one's Worker is made, by its name."""

    def __init__(
        self,
        crons: tuple[Cron, ...],
        makers: Mapping[str, MakeWorker | None],
        clock: WorldClock,
        loop: VirtualLoop,
        report: Report,
        story: Story,
    ) -> None:
        self._clock = clock
        self._story = story
        self._schedule = Schedule.begin(crons, clock.now_ms())
        self._next_ms = self._after()
        self._count = 0
        self._runs = ScheduledRuns(None, loop, report, _nobody, makers=makers)

    def _after(self) -> float:
        last = datetime.datetime.fromtimestamp(self._schedule.minute * 60, datetime.UTC)
        found = [cron.after(last) for cron in self._schedule.crons]
        return min((moment.timestamp() * 1000 for moment in found), default=math.inf)

    def next_s(self) -> float:
        """When the next one is due, by the loop's time; inf: none is."""
        return self._next_ms if self._next_ms == math.inf else self._clock.loop_time(self._next_ms)

    def look(self) -> None:
        """Begin what is due."""
        self._schedule, due = self._schedule.on_time(self._clock.now_ms())
        self._next_ms = self._after()
        for each in due:
            self._count += 1
            self._story.tell("scheduled", each.cron, minute=each.scheduled_ms // MINUTE_MS)
            message: Message = {"run": f"cron-{self._count}", "cron": each.cron}
            Context().run(self._runs.begin, {**message, "scheduled_ms": each.scheduled_ms, "program": each.program})


def _nobody(_message: Message) -> None:
    """There is no supervisor that counts the runs."""
