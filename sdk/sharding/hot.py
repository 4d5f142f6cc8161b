"""Which shards are called so often that they should be two. Pure.

What always holds: a decision rests on counts of whole seconds; a shard is split where half of its calls are on each side; one
whose calls are all for one key is not split, since that would change nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ...engine.errors import InvalidArgument

WINDOW_S = 5
SAMPLE = 256
"""Positions of the last calls that are kept."""


@dataclass(frozen=True, slots=True)
class Load:
    """Of one shard: calls a second (mean over five), where half of them are on each side (None: nowhere)."""

    name: str
    calls_per_s: float
    middle: str | None


@dataclass(frozen=True, slots=True)
class SplitPolicy:
    """When a ShardMap splits by itself. `calls_per_s_max`: of one shard; an object's soft limit is 1,000 a second.

    `shards_max`: never more; `rest_s`: between two splits of which one comes from the other. Raises InvalidArgument.
    """

    calls_per_s_max: float = 700.0
    shards_max: int = 64
    rest_s: float = 10.0

    def __post_init__(self) -> None:
        if self.calls_per_s_max <= 0 or self.shards_max < 1 or self.rest_s < 0:
            raise InvalidArgument(f"{self} is no policy")

    def where(self, load: Load, shards: int, since_split_s: float) -> str | None:
        """Where to split it now; None: not. `since_split_s`: since the shard was made or last split."""
        if load.calls_per_s <= self.calls_per_s_max or shards >= self.shards_max or since_split_s < self.rest_s:
            return None
        return load.middle


class Counted:
    """Calls of one shard by second, and where they went."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()
        self._second = 0
        self._count = 0
        self._positions: deque[str] = deque(maxlen=SAMPLE)

    def call(self, position: str, now_s: int) -> bool:
        """Count one. True: a second is over, so it is worth looking at the rate."""
        self._positions.append(position)
        over = now_s != self._second
        if over:
            self._close(now_s)
        self._count += 1
        return over

    def _close(self, now_s: int) -> None:
        if self._count:
            self._seconds.append((self._second, self._count))
        self._second, self._count = now_s, 0
        while self._seconds and self._seconds[0][0] < now_s - WINDOW_S:
            self._seconds.popleft()

    def per_s(self, now_s: int) -> float:
        """Mean of the last whole seconds."""
        if now_s != self._second:
            self._close(now_s)
        return sum(count for _, count in self._seconds) / WINDOW_S

    def middle(self, low: str) -> str | None:
        """A position above `low` with about half of the last calls on each side; None: all went to one."""
        ordered = sorted(self._positions)
        if not ordered or ordered[0] == ordered[-1]:
            return None
        found = ordered[len(ordered) // 2]
        if found == ordered[0] or found <= low:  # the first of them takes more than half: part it from the others
            found = next(position for position in ordered if position > ordered[0])
        return found if found > low else None
