"""`workers.waitUntil`: the `ctx.waitUntil` of whatever runs, an object or the Worker."""

from __future__ import annotations

from collections.abc import Awaitable

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
