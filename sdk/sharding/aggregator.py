"""An object that collects what several shards count, by alarm, so that who wants the sum asks one object.

What always holds: the sum is of counts that the shards have given, none of them older than it says; while nobody asks nothing is
collected.
"""

from __future__ import annotations

import time
from typing import Any, cast

from ...engine.context import DurableObjectContext
from ...engine.durable import DurableObject
from ...engine.errors import PerdureError
from .round_robin import RoundRobin
from .spreading import Objects

_SUM = "__sum"
_QUIET_ROUNDS = 3


class Aggregator(DurableObject):
    """Derive from it, and say whose counts are collected:

        class Totals(Aggregator):
            shards = "COUNTERS"
            count = 8

    `total()` gives {"total", "at_ms"}. Override `collect` for shards that are reached otherwise, `combine` for other than sums.
    """

    shards = "SHARDS"
    """The binding of the class of the shards."""
    count = 4
    """How many there are, named as `RoundRobin(…, count, name=prefix)` names them."""
    prefix = "shard-"
    method = "total"
    """Of a shard, without arguments."""
    every_ms = 2_000
    """How old the sum becomes while it is asked for."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._kept = ctx.storage.kv

    async def collect(self) -> list[Any]:
        """What the shards count now."""
        namespace = cast("Objects", getattr(self.env, self.shards))
        return await RoundRobin(namespace, self.count, name=self.prefix).gather(self.method)

    def combine(self, counts: list[Any]) -> Any:
        """One value of them."""
        return sum(counts)

    async def total(self) -> dict[str, Any]:
        """{"total", "at_ms"}: at most `every_ms` older than now, unless a shard was away: then `at_ms` says how old."""
        found = cast("dict[str, Any] | None", self._kept.get(_SUM))
        now_ms = int(time.time() * 1000)
        if found is None or now_ms - found["at_ms"] > self.every_ms + 1_000:
            found = await self._collect()
        found["asked_ms"] = now_ms
        self._kept.put(_SUM, found)
        if await self.ctx.storage.getAlarm() is None:
            await self.ctx.storage.setAlarm(now_ms + self.every_ms)
        return {"total": found["total"], "at_ms": found["at_ms"]}

    async def _collect(self) -> dict[str, Any]:
        began_ms = int(time.time() * 1000)
        counts = await self.collect()
        before = cast("dict[str, Any]", self._kept.get(_SUM) or {"asked_ms": began_ms})
        found = {"total": self.combine(counts), "at_ms": began_ms, "asked_ms": before["asked_ms"]}
        self._kept.put(_SUM, found)
        return found

    async def alarm(self, info: object = None) -> None:
        """Collect, as long as somebody asks."""
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + self.every_ms)
        try:
            found = await self._collect()
        except PerdureError:  # a shard is away: the old sum stands until the next round
            return
        if found["at_ms"] - found["asked_ms"] > self.every_ms * _QUIET_ROUNDS:
            await self.ctx.storage.deleteAlarm()
