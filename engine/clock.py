"""Time is an argument: the system's clock here, a virtual one in tests."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and alarms, monotonic time for durations."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic_s = staticmethod(time.monotonic)  # no frame of Python's: each call of an object looks at it

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
