"""Runs of the Worker's `scheduled` in one gateway, as the supervisor asks for them.

What always holds: each run is answered once, with `ok` or with its error; runs may overlap; a run takes 15 minutes at
most; a drain waits for them as long as it may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from ..engine.blocking import run_worker
from ..engine.calls import REQUEST_ID
from ..engine.errors import DeadlineExceeded, DurableObjectAbort, PerdureError
from ..engine.tracebacks import shown
from ..sdk.doors import MakeWorker
from ..sdk.entrypoints import ExecutionContext
from ..sdk.scheduled import ScheduledController, run_scheduled
from .control import Message
from .logs import Report

SCHEDULED_WALL_S = 900.0
"""spec/limits.md: the wall time of a cron's run."""


class ScheduledRuns:
    """`make_worker` as in Front. `answer(message)` goes to the supervisor."""

    def __init__(
        self,
        make_worker: Callable[[ExecutionContext], object] | None,
        loop: asyncio.AbstractEventLoop,
        report: Report,
        answer: Callable[[Message], None],
        wall_s: float = SCHEDULED_WALL_S,
        makers: Mapping[str, MakeWorker | None] | None = None,
    ) -> None:
        """`makers`: of each program, by its name; runs that name none are of `make_worker`."""
        self._makers = makers or {}
        self._make_worker = make_worker
        self._loop = loop
        self._report = report
        self._answer = answer
        self._wall_s = wall_s
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, message: Message) -> None:
        """Run it beside everything else. `message`: run, cron, scheduled_ms, program."""
        task = self._loop.create_task(self._run(message), name=f"scheduled {message['run']}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, message: Message) -> None:
        began_s = self._loop.time()
        context = ExecutionContext(self._report)
        try:
            error = await self._outcome(message, context)
        except asyncio.CancelledError:
            self._report("error", "scheduled_failed", {"cron": message["cron"], "error": "cut off by the drain"})
            cut = PerdureError("scheduled() was cut off: its gateway was drained", retryable=True)
            self._answer({"type": "scheduled", "run": message["run"], "took_ms": 0, "error": cut.to_wire()})
            raise
        took_ms = round((self._loop.time() - began_s) * 1000)
        answer: Message = {"type": "scheduled", "run": message["run"], "took_ms": took_ms}
        self._answer({**answer, "error": error.to_wire() if error is not None else None})
        if context.tasks:
            await asyncio.wait(context.tasks)

    async def _outcome(self, message: Message, context: ExecutionContext) -> PerdureError | None:
        """What went wrong; it is in the log then."""
        controller = ScheduledController(str(message["cron"]), cast("int", message["scheduled_ms"]))
        REQUEST_ID.set(f"scheduled-{message['run']}")
        fields: dict[str, object] = {"cron": controller.cron, "scheduled_ms": controller.scheduledTime}
        bound = asyncio.timeout(self._wall_s)
        try:
            async with bound:
                await run_worker(self._handle(message, context, controller))
            return None
        except PerdureError as error:
            told = {"error": error.message, "hint": error.hint, "traceback": shown(error)}
            self._report("error", "scheduled_failed", {**fields, **{key: text for key, text in told.items() if text}})
            return error
        except (Exception, SystemExit, DurableObjectAbort) as error:
            if bound.expired() and isinstance(error, TimeoutError):
                late = DeadlineExceeded(f"scheduled() took longer than its {self._wall_s:.0f} s and was cancelled")
                self._report("error", "scheduled_failed", {**fields, "error": late.message})
                return late
            text = shown(error)
            self._report("error", "scheduled_failed", {**fields, "traceback": text})
            return PerdureError(f"{type(error).__name__}: {error}", name=type(error).__name__, stack=text, remote=True)

    async def _handle(self, message: Message, context: ExecutionContext, controller: ScheduledController) -> None:
        make = self._makers.get(str(message.get("program") or ""), self._make_worker)
        await run_scheduled(make(context) if make else None, controller)

    async def close(self, seconds: float) -> None:
        """Wait for what runs; what is not done by then is cancelled."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
