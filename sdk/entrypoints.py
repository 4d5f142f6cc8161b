"""What a program's front door derives from, and the context that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

WAIT_UNTIL_S_MAX = 900.0  # spec/limits.md


class ExecutionContext:
    """`self.ctx` of a Worker: work that goes on after the response."""

    def __init__(self, report: Callable[[str, str, dict[str, object]], None] | None = None) -> None:
        self.props: object = None
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

    wait_until = waitUntil


async def _bounded(awaitable: Awaitable[object]) -> object:
    async with asyncio.timeout(WAIT_UNTIL_S_MAX):
        return await awaitable


CURRENT: ContextVar[ExecutionContext | None] = ContextVar("perdure_execution_context", default=None)
"""Of the Worker whose code runs."""


class WorkerEntrypoint:
    """The stateless front door: the class named `Default` answers HTTP requests with `fetch(self, request)`."""

    def __init__(self, ctx: ExecutionContext, env: object) -> None:
        self.ctx = ctx
        self.env = env
