"""How many fetches and calls one event may make, where the program's configuration bounds them (`limits.subrequests`).

What always holds: what is above the bound fails without having left; each event of an object and of a Worker has its own count,
also where one calls the other. Programs without a bound pay for one look at a flag.
"""

from __future__ import annotations

from contextvars import ContextVar

from .errors import SubrequestsExceeded
from .turns import SCOPE


class Subrequests:
    """What one event has left."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._left = self._most = most

    def take(self) -> SubrequestsExceeded | None:
        """One more is about to leave; what it fails with when it is one too many."""
        if self._left:
            self._left -= 1
            return None
        return SubrequestsExceeded(
            f"Too many subrequests by single Worker invocation: it may make {self._most}",
            hint="raise limits.subrequests of the program's configuration, or do part of the work in another event",
        )


OF_WORKER: ContextVar[Subrequests | None] = ContextVar("perdure_subrequests", default=None)
"""Of the Worker whose code runs."""


class Counting:
    """Of a process."""

    on = False
    """Whether a program in it has a bound. It stays: programs do not leave a process."""


def of_running() -> Subrequests | None:
    """What the running event has left; None: it has no bound, or nothing of a program runs. Ask only if `Counting.on`."""
    scope = SCOPE.get()
    if scope is None:
        return OF_WORKER.get()
    most = scope.instance.runtime.subrequests_max
    if not most:
        return None
    event = scope.event
    if event.subrequests is None:
        event.subrequests = Subrequests(most)
    return event.subrequests


def take_one() -> SubrequestsExceeded | None:
    """The running event makes one more; what that fails with when it may not. Ask only if `Counting.on`."""
    left = of_running()
    return None if left is None else left.take()
