"""`workers.waitUntil`: the `ctx.waitUntil` of whatever runs, an object or the Worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from ..engine.background import wait_until
from ..engine.errors import ProgramBug
from ..engine.turns import SCOPE
from .entrypoints import CURRENT


def waitUntil(awaitable: Awaitable[object]) -> None:
    """Let `awaitable` go on after the reply, at most 15 minutes. Raises ProgramBug where no event runs."""
    scope = SCOPE.get()
    if scope is not None:
        wait_until(scope.instance, awaitable)
        return
    context = CURRENT.get()
    if context is None:
        raise ProgramBug("waitUntil() was called outside any event")
    context.waitUntil(awaitable)


def keep(task: asyncio.Task[None]) -> None:
    """The running event's task goes on after the reply, as long as its response does: a drain of the Worker waits for it too.

    An object keeps its tasks by itself. `task` logs its own failures.
    """
    context = CURRENT.get()
    tasks = cast("set[asyncio.Task[None]]", _TASKS if SCOPE.get() is not None or context is None else context.tasks)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


_TASKS: set[asyncio.Future[Any]] = set()
"""Held here, because the loop alone does not keep them."""
