"""Deadlines: how long a call may take, and what of that is left for the calls that it makes.

What always holds: a call that an object makes while it works for another one ends before that one's deadline, so whoever waits
at the end of a chain hears of the innermost call that was late, with all that led to it. What an event does after its answer
(waitUntil, the rest of a body) is bounded by nobody's deadline but its own; alarms have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import DeadlineExceeded

if TYPE_CHECKING:
    from .turns import Event

CALL_S = 30.0
"""Of a call that says nothing else."""
_BACK_S = 0.15
"""Kept back for the way of an answer: callers look for late calls ten times a second."""
_LEAST_S = 0.001


def left_s(event: Event, given: float | None) -> float | None:
    """What a call may take that the event makes now; None: the default. `given`: what the call itself asks for."""
    call = event.call
    if call is None or event.answered or call.within_s == math.inf:
        return given
    left = call.arrived_s + call.within_s - event.instance.shelf.now_s
    left -= min(_BACK_S, left / 10)
    return max(min(left, CALL_S if given is None else given), _LEAST_S)


def too_late(seconds: float, path: Iterable[str]) -> DeadlineExceeded:
    """`path`: the objects that led to the call, outermost first, and the one that was called."""
    return DeadlineExceeded(
        f"no answer within {seconds:.3g} s: {' → '.join(path)}",
        hint="the call may have run; give a longer deadline if it takes that long",
    )
