"""What a program's front door derives from, and the context that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class ExecutionContext:
    """`self.ctx` of a Worker: work that goes on after the response."""

    def __init__(self, report: Callable[[str, str, dict[str, object]], None] | None = None) -> None:
        self.props: object = None
        self.tasks: set[asyncio.Future[object]] = set()
        self._report = report

    def waitUntil(self, awaitable: Awaitable[object]) -> None:
        """Let `awaitable` go on after the response; the gateway waits for it when it drains. Failures are logged."""
        task = asyncio.ensure_future(awaitable)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[object]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._report is not None:
            self._report("warning", "wait_until_failed", {"error": str(task.exception())})

    def passThroughOnException(self) -> None:
        """Accepted; there is no origin server to pass to."""

    wait_until = waitUntil


class WorkerEntrypoint:
    """The stateless front door: the class named `Default` answers HTTP requests with `fetch(self, request)`."""

    def __init__(self, ctx: ExecutionContext, env: object) -> None:
        self.ctx = ctx
        self.env = env
