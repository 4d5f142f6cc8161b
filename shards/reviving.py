"""Every place of the runtime (a shard, a gateway, the endpoint) has a living process, or one that will be started.

What always holds: a place whose process is dead is started again, whatever went wrong meanwhile: a start that fails is a death
before serving, and a death that nobody has acted upon, or that the kernel told nobody of, is found by looking twice a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from .children import Phase
from .restarts import Restart, Restarts

LOOK_S = 0.5
Report = Callable[[str, str, dict[str, object]], None]


class Process(Protocol):
    """What is needed of a child process."""

    phase: Phase

    def look(self) -> None:
        """Ask the kernel whether it is dead."""
        ...


class Reviving:
    """`start(place)` starts its next process; it may raise what it likes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[str], None],
        report: Report,
        everyone: Callable[[], Iterable[Process]],
        vacant: Callable[[], Mapping[str, Process]],
    ) -> None:
        """`everyone()`: all processes. `vacant()`: places without a living process that nobody else deals with, and who died."""
        self._loop = loop
        self._start = start
        self._report = report
        self._everyone = everyone
        self._vacant = vacant
        self._restarts: dict[str, Restarts] = {}
        self._due: dict[str, asyncio.TimerHandle] = {}
        """Places that will be started, at a time."""
        self._suspects: frozenset[Process] = frozenset()
        self._looking: asyncio.TimerHandle | None = None
        self._stopped = False

    # ------------------------------------------------------------------ deaths
    def decide(self, place: str, served: bool) -> Restart:
        """What to do about a death."""
        return self._restarts.setdefault(place, Restarts()).on_death(self._loop.time(), served)

    def again(self, place: str, delay_s: float) -> None:
        """Start its next process, now or later."""
        if self._stopped or place in self._due:
            return
        if delay_s > 0:
            self._due[place] = self._loop.call_later(delay_s, self._now, place)
        else:
            self._now(place)

    def _now(self, place: str) -> None:
        self._due.pop(place, None)
        if self._stopped:
            return
        try:
            self._start(place)
        except Exception as error:  # no memory, no descriptor, no room on the disk: whatever it is, it may pass
            decision = self.decide(place, served=False)
            self.again(place, decision.delay_s)
            fields: dict[str, object] = {"process": place, "error": f"{type(error).__name__}: {error}"}
            self._report("error", "not_started", {**fields, "again_in_s": decision.delay_s})

    # ------------------------------------------------------------------ looking
    def begin(self) -> None:
        """Look from now on."""
        self._look()

    def stop(self) -> None:
        """Start nothing any more."""
        self._stopped = True
        for timer in [*self._due.values(), *([self._looking] if self._looking is not None else [])]:
            timer.cancel()
        self._due.clear()

    def _look(self) -> None:
        self._looking = self._loop.call_later(LOOK_S, self._look)
        for process in list(self._everyone()):
            if process.phase is not Phase.DEAD:
                process.look()
        vacant = {place: process for place, process in self._vacant().items() if place not in self._due}
        for place, process in vacant.items():
            if process in self._suspects:  # twice in a row: nobody is about to
                self._report("error", "not_started_again", {"process": place, "hint": "this is a bug of perdure"})
                self.again(place, self.decide(place, served=False).delay_s)
        self._suspects = frozenset(vacant.values())
