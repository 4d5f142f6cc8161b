"""What the supervisor does about processes that are stuck, and about events that end their shards.

What always holds: a stuck process is named with what it ran before it is killed; it counts as dead only when the kernel says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import structlog

from ..engine.limits import Limits
from .children import Child, Phase
from .pulses import PulseWatch, Stuck
from .restarts import EXIT_MEMORY, Suspects, is_by_event

_LOOK_S = 0.5


class Watched:
    """Looks at the pulses of the supervisor's processes twice a second."""

    def __init__(
        self,
        everyone: Callable[[], Iterable[Child]],
        settings: Mapping[str, object],
        classes: Mapping[str, object],
    ) -> None:
        limits = Limits.from_settings(settings)
        budgets = [limits, *limits.of_classes(classes).values()]
        self._budget_s = max(found.turn_ms_max for found in budgets) / 1000
        self._everyone = everyone
        self._log = structlog.get_logger("supervisor")
        self._watches: dict[int, PulseWatch] = {}
        self._suspects = Suspects()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def raise_budget(self, budget_s: float) -> None:
        """The program's own budget (`limits.cpu_ms`) is larger than what was set."""
        self._budget_s = max(self._budget_s, budget_s)

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        alive = {child.pid: child for child in self._everyone() if child.phase is not Phase.DEAD}
        self._watches = {pid: watch for pid, watch in self._watches.items() if pid in alive}
        for pid, child in alive.items():
            watch = self._watches.setdefault(pid, PulseWatch(self._budget_s))
            watch.budget_s = self._budget_s
            stuck = watch.look(child.pulse.last(), self._loop.time())
            if stuck is not None:
                self._kill(child, stuck)

    def _kill(self, child: Child, stuck: Stuck) -> None:
        running = child.pulse.running()
        beat = stuck.beat
        self._log.error(
            "stuck",
            process=child.name,
            pid=child.pid,
            within=beat.within if not stuck.silent else "code that holds the interpreter",
            for_s=round(stuck.for_s, 1),
            object=None if running is None else running.object,
            object_id=None if running is None else running.object_id.hex(),
            method=None if running is None else running.method,
            place=beat.place or None,
            hint="the process is killed and started again; nothing acknowledged is lost",
        )
        child.killed_as_stuck = True
        child.kill()

    # ------------------------------------------------------------------ events that end their shard
    def on_shard_death(self, child: Child) -> None:
        """Name what ran; from the third time within a minute on it is refused."""
        if child.returncode == EXIT_MEMORY:
            self._log.error("out_of_memory", process=child.name, hint="see its messages above; shard_memory_hard_mb")
        running = child.pulse.running()
        if running is None or not is_by_event(child.returncode, child.killed_as_stuck):
            return
        fields = {"object": running.object, "object_id": running.object_id.hex(), "method": running.method}
        self._log.error("died_running", process=child.name, **fields)
        refused = self._suspects.on_death(self._loop.time(), running)
        if refused is not None:
            seconds = round(refused.until_s - self._loop.time())
            self._log.error("event_refused", for_s=seconds, **fields, hint="it ended its shard again and again")

    def refused(self) -> list[object]:
        """For a shard's start message: id, method, name, seconds."""
        now_s = self._loop.time()
        return [
            {
                "id": found.running.object_id.hex(),
                "method": found.running.method,
                "object": found.running.object,
                "for_s": found.until_s - now_s,
            }
            for found in self._suspects.refused(now_s)
        ]


def budget_of(message: Mapping[str, object]) -> float:
    """What a shard that is ready says of its program's budget, in seconds."""
    return cast("float", message.get("budget_s") or 0.0)
