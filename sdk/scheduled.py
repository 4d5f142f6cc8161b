"""What a Worker's `scheduled` gets, and how it is called (spec: objects, handlers; sdk, scheduled controller)."""

from __future__ import annotations

from ..engine.errors import MethodNotFound
from .worker_handlers import call_handler


class ScheduledController:
    """`controller`: which cron is due (empty: started by hand without one), and for when, in ms since the epoch."""

    type = "scheduled"

    def __init__(self, cron: str, scheduledTime: int) -> None:
        self.cron = cron
        self.scheduledTime = scheduledTime
        self.retries = True
        """False after `noRetry()`; a run that fails is not made again anyway."""

    @property
    def scheduled_time(self) -> int:
        """The same as `scheduledTime`."""
        return self.scheduledTime

    def noRetry(self) -> None:
        """Noted, for who asks `env.X.scheduled(…)`."""
        self.retries = False

    no_retry = noRetry


async def run_scheduled(worker: object, controller: ScheduledController) -> None:
    """Call the Worker's handler with as many of (controller, env, ctx) as it takes; for a class the last two are None.

    Raises MethodNotFound when it has none, and what the handler raises.
    """
    try:
        await call_handler(worker, "scheduled", controller)
    except MethodNotFound as error:
        if "scheduled()" in error.message:
            error.hint += ", or take the crons out of `triggers`"
        raise
