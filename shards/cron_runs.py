"""Gives due crons to gateways, and hears what became of them. The supervisor has it; when they are due `cron_schedule` says.

What always holds: a slot is given to one gateway, once; when that gateway dies the run counts as lost and is not made again.
Slots that find no gateway wait for one for two minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ..engine.clock import Clock
from ..engine.errors import InvalidArgument, NotConnected, PerdureError, from_wire
from ..router.control import Message
from ..sdk.crons import Cron
from .cron_schedule import LATE_MINUTES_MAX, MINUTE_MS, Due, Schedule, wait_s

Report = Callable[[str, str, dict[str, object]], None]


class Gateway(Protocol):
    """What is needed of a child process."""

    name: str

    def send(self, message: Message) -> None: ...


@dataclass(slots=True, eq=False)
class _Run:
    """One that a gateway has."""

    due: Due
    gateway: Gateway
    outcome: asyncio.Future[Message]


class CronRuns:
    """`serving()`: the gateways that take runs now, in order."""

    def __init__(self, clock: Clock, serving: Callable[[], Sequence[Gateway]], report: Report) -> None:
        self._clock = clock
        self._serving = serving
        self._report = report
        self._crons: tuple[Cron, ...] = ()
        self._schedule: Schedule | None = None
        self._waiting: list[Due] = []
        self._runs: dict[int, _Run] = {}
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ time
    def adopt(self, crons: Sequence[Cron]) -> None:
        """The crons of the configuration that runs now."""
        self._crons = tuple(crons)
        if self._schedule is not None:
            self._schedule = self._schedule.adopt(self._crons)

    def start(self) -> None:
        """Everything serves: from the next minute on."""
        if self._schedule is None:
            self._schedule = Schedule.begin(self._crons, self._clock.now_ms())
            self._arm()

    def stop(self) -> None:
        """Begin nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(wait_s(self._clock.now_ms()), self.look)

    def look(self) -> None:
        """Give out what is due, or waits, now."""
        assert self._schedule is not None, "it was not started"
        self._arm()
        now_ms = self._clock.now_ms()
        self._schedule, due = self._schedule.on_time(now_ms)
        self._waiting += due
        self.give()
        kept: list[Due] = []
        for each in self._waiting:
            if now_ms - each.scheduled_ms < (LATE_MINUTES_MAX + 1) * MINUTE_MS:
                kept.append(each)
            else:
                fields: dict[str, object] = {"cron": each.cron, "scheduled_ms": each.scheduled_ms}
                self._report("error", "scheduled_missed", {**fields, "hint": "no gateway served"})
        self._waiting = kept

    # ------------------------------------------------------------------ gateways
    def give(self) -> None:
        """To a gateway, if one serves: called when one has become ready, too."""
        while self._waiting and self._serving():
            self._give(self._waiting.pop(0))

    def _give(self, due: Due) -> _Run:
        self._last += 1
        gateway = self._serving()[0]
        run = _Run(due, gateway, asyncio.get_running_loop().create_future())
        run.outcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # who gave it may not ask
        self._runs[self._last] = run
        message: Message = {"cron": due.cron, "scheduled_ms": due.scheduled_ms, "program": due.program}
        gateway.send({"type": "scheduled", "run": self._last, **message})
        return run

    def answered(self, message: Message) -> None:
        """A gateway says how a run ended."""
        run = self._runs.pop(cast("int", message["run"]), None)
        if run is not None and not run.outcome.done():
            run.outcome.set_result(message)

    def gone(self, gateway: Gateway) -> None:
        """A gateway is dead: what it ran is lost."""
        for number in [number for number, run in self._runs.items() if run.gateway is gateway]:
            run = self._runs.pop(number)
            fields: dict[str, object] = {"cron": run.due.cron, "scheduled_ms": run.due.scheduled_ms}
            self._report("error", "scheduled_lost", {**fields, "process": gateway.name})
            if not run.outcome.done():
                run.outcome.set_exception(
                    PerdureError(
                        f"{gateway.name} died while scheduled() ran: how far it came is not known",
                        hint="runs are not made again; start it with `perdure trigger` when that is right",
                    )
                )

    # ------------------------------------------------------------------ by hand
    async def trigger(self, cron: str | None = None, at_ms: int | None = None) -> Message:
        """The command `trigger`: run it now, and say how it ended: cron, scheduled_ms, took_ms, error (None: it went well).

        `cron` may be any text, as the program gets it; None: the only one there is, or none at all. Raises InvalidArgument.
        """
        if cron is None and len(self._crons) > 1:
            known = ", ".join(f"'{each.text}'" for each in self._crons)
            raise InvalidArgument("the program has several crons: say which one", hint=f"one of {known}")
        if not self._serving():
            raise NotConnected("no gateway serves", hint="try again when one does: see the log", retryable=True)
        text = cron if cron is not None else "".join(each.text for each in self._crons)
        program = next((each.program for each in self._crons if each.text == text), "")
        due = Due(text, self._clock.now_ms() if at_ms is None else at_ms, program)
        answer = await self._give(due).outcome
        error = cast("dict[str, object] | None", answer["error"])
        if error is not None:
            from_wire(error)  # it is one that the caller can read
        return {"cron": due.cron, "scheduled_ms": due.scheduled_ms, "took_ms": answer["took_ms"], "error": error}
