"""What a Worker's `scheduled` gets, and how it is called (spec: objects, handlers; sdk, scheduled controller)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from ..engine.errors import PerdureError

_PARAMETERS = 3
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ScheduledController:
    """`controller`: which cron is due (empty: started by hand without one), and for when, in ms since the epoch."""

    type = "scheduled"

    def __init__(self, cron: str, scheduledTime: int) -> None:
        self.cron = cron
        self.scheduledTime = scheduledTime

    @property
    def scheduled_time(self) -> int:
        """The same as `scheduledTime`."""
        return self.scheduledTime

    def noRetry(self) -> None:
        """Accepted: a run that fails is not made again anyway."""

    no_retry = noRetry


async def run_scheduled(worker: object, controller: ScheduledController) -> None:
    """Call the Worker's handler with as many of (controller, env, ctx) as it takes; for a class the last two are None.

    Raises PerdureError when it has none, and what the handler raises.
    """
    handler = cast("Callable[..., Any] | None", getattr(worker, "scheduled", None))
    if handler is None or not callable(handler):
        raise PerdureError(
            "Handler does not export a scheduled() function",
            hint="write `async def scheduled(self, controller)` in the Worker, or take the crons out of `triggers`",
        )
    result = handler(*(controller, None, None)[: _taken(handler)])
    if hasattr(result, "__await__"):
        await cast("Awaitable[object]", result)


def _taken(handler: Callable[..., object]) -> int:
    """How many positional arguments it takes, 3 at most."""
    parameters = inspect.signature(handler).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return _PARAMETERS
    return min(sum(parameter.kind in _POSITIONAL for parameter in parameters), _PARAMETERS)
