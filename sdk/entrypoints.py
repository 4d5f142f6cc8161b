"""What a program's Workers derive from, and the context that they get."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import NoReturn

from ..engine.errors import DurableObjectAbort
from ..engine.raw import Raw
from .env import with_attributes

WAIT_UNTIL_S_MAX = 900.0  # spec/limits.md
HANDLERS = {
    "fetch": "request",
    "scheduled": "controller",
    "queue": "batch",
    "tail": "events",
    "trace": "traces",
    "email": "message",
    "test": "ctrl",
}
"""Of a Worker, and what each is given first."""


class ExecutionContext:
    """`self.ctx` of a Worker: work that goes on after the response, what the caller gave, the program's own exports."""

    def __init__(
        self, report: Callable[[str, str, dict[str, object]], None] | None = None, props: object = None
    ) -> None:
        self.props = with_attributes(props)
        """What the binding through which it was called says: `services[].props`, `ctx.exports.Name({"props": …})`."""
        self.exports: object = None
        """The program's own classes as bindings: namespaces of objects, and Workers."""
        self.tasks: set[asyncio.Future[object]] = set()
        self._report = report

    def waitUntil(self, awaitable: Awaitable[object]) -> None:
        """Let `awaitable` go on after the response, at most 15 minutes; a drain waits for it. Failures are logged."""
        task = asyncio.ensure_future(_bounded(awaitable))
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[object]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._report is not None:
            self._report("warning", "wait_until_failed", {"error": str(task.exception()) or repr(task.exception())})

    def passThroughOnException(self) -> None:
        """Accepted; there is no origin server to pass to."""

    def abort(self, reason: str | None = None) -> NoReturn:
        """End the event at once: it fails with `reason`, and what `waitUntil` was given is cancelled.

        Raises DurableObjectAbort, always.
        """
        for task in list(self.tasks):
            task.cancel()
        raise DurableObjectAbort(reason or "Application called abort(): the event was ended")

    wait_until = waitUntil
    pass_through_on_exception = passThroughOnException


async def _bounded(awaitable: Awaitable[object]) -> object:
    async with asyncio.timeout(WAIT_UNTIL_S_MAX):
        return await awaitable


CURRENT: ContextVar[ExecutionContext | None] = ContextVar("perdure_execution_context", default=None)
"""Of the Worker whose code runs."""


class WorkerEntrypoint:
    """The stateless front door: the class named `Default` answers HTTP requests with `fetch(self, request)`.

    Classes of other names are reached through bindings to services.
    """

    _ctx = Raw("ctx")
    _env = Raw("env")

    def __init__(self, ctx: ExecutionContext, env: object) -> None:
        self.ctx = ctx
        self.env = env
