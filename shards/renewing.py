"""The renewal of a shard that sleeps and is much larger than it began: a new process of the same code takes it over.

asked → stand by → asked still? → hand off, as at a reload. What always holds: nothing changes before the new process has imported
the program and the shard still sleeps; a shard that could not be renewed serves on, and is tried again later each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ..engine.shutting_down import Reason
from ..router.control import Message
from .children import Child
from .machine_memory import resident_bytes
from .succession import Processes, Succession, Tell

PAUSE_S = 600.0
"""From one renewal of a shard to its next, and after the first failure."""
PAUSE_S_MAX = 21_600.0
ASKED_S_MAX = 10.0
"""For a shard to say that it still sleeps, when who stands by is ready."""
WAIT_S = 2.0
"""What events that have just begun get before they lose their storage. Nobody is in a hurry here, as with new code."""


@dataclass(slots=True)
class Schedule:
    """When a shard may be renewed. Pure: time comes in, in seconds of a monotonic clock."""

    _not_before_s: dict[int, float] = field(default_factory=dict[int, float])
    _failures: dict[int, int] = field(default_factory=dict[int, int])

    def allows(self, shard: int, now_s: float) -> bool:
        """Whether it may be renewed now."""
        return now_s >= self._not_before_s.get(shard, 0.0)

    def renewed(self, shard: int, now_s: float) -> None:
        """It was."""
        self._failures.pop(shard, None)
        self._not_before_s[shard] = now_s + PAUSE_S

    def failed(self, shard: int, now_s: float) -> float:
        """It could not be; after how many seconds it may be tried again: twice as long each time, six hours at most."""
        count = self._failures[shard] = self._failures.get(shard, 0) + 1
        pause_s = min(PAUSE_S * 2.0 ** (count - 1), PAUSE_S_MAX)
        self._not_before_s[shard] = now_s + pause_s
        return pause_s


class Renewal(Succession):
    """Of one shard."""

    reason: Reason = "inactive"

    def __init__(
        self,
        processes: Processes,
        loop: asyncio.AbstractEventLoop,
        tell: Tell,
        report: Tell,
        wait_s: float,
        asking: Child,
        index: int,
    ) -> None:
        """`asking`: the process that shall be renewed. `wait_s`: as at a reload; here it is `WAIT_S` at least."""
        super().__init__(processes, loop, tell, report, max(wait_s, WAIT_S))
        self._asking = asking
        self._shard = index
        self._asked = 0

    def on_message(self, child: Child, kind: str) -> None:
        if kind == "outgrown":
            if child is self._asking:
                self._asked += 1
                self._changed.set()
            return
        super().on_message(child, kind)

    async def run(self) -> Message:
        """Until the new process serves; empty: the shard does not sleep any more, nothing was done. Raises PerdureError."""
        try:
            await self.stand_by(self._shard)
            if not await self._sleeps():
                return {}
            pause_s = await self.hand_off(self._shard)
        finally:
            self.end()
        child = self._processes.shards[self._shard]
        return {"pid": child.pid, "after_mib": resident_bytes(child.pid) >> 20, "pause_ms": round(pause_s * 1000)}

    async def _sleeps(self) -> bool:
        before, end_s = self._asked, self._loop.time() + ASKED_S_MAX
        while self._asked == before:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end_s - self._loop.time())
            except TimeoutError:
                return False
        return True
