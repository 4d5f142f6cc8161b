"""Whether commits take too long: the age of the oldest batch that is not durable, by a coarse clock. Pure.

What always holds: a batch is as old as the first look that saw it, so it is never taken for older than it is.
"""

from __future__ import annotations

from collections import deque


class CommitWatch:
    """Told now and then which batch is the newest with writes and which the newest durable one."""

    __slots__ = ("_limit_s", "_seen")

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: deque[tuple[int, float]] = deque()

    def late(self, newest: int, durable: int, now_s: float) -> bool:
        """Whether a batch that is not durable was seen longer than the limit ago."""
        seen = self._seen
        while seen and seen[0][0] <= durable:
            seen.popleft()
        if newest > durable and (not seen or seen[-1][0] < newest):
            seen.append((newest, now_s))
        return bool(seen) and now_s - seen[0][1] > self._limit_s
