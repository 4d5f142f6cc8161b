"""Counters by key on a map that grows, for the tests."""

from __future__ import annotations

import asyncio

from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.sharding import SORTED, Aggregator, ByMap, Shard, ShardMap, SplitPolicy


class Counters(Shard):
    async def add(self, key, by=1):
        value = (self.items.get(key) or 0) + by
        self.items.put(key, value)
        return value

    async def slowly(self, key, seconds):
        """Reads, waits, writes: a move in the middle must not lose it."""
        value = self.items.get(key) or 0
        await asyncio.sleep(seconds)
        self.items.put(key, value + 1)

    async def get(self, key):
        return self.items.get(key)

    async def say(self, key, text):
        self.items.put(key, text, f"{len(self.items.of(key)):06}")

    async def last(self, key, count):
        return list(self.items.of(key, last=count).values())

    async def fail(self, key):
        raise ValueError(f"as asked for {key}")

    async def total(self):
        return sum(value for _, _, value in self.items)

    async def keys_between(self, low, high):
        return sorted({key for key, _, _ in self.items if low <= key and (high is None or key < high)})


class Plain(DurableObject):
    """For what spreads without a map."""

    async def add(self, by=1):
        value = (await self.ctx.storage.get("n") or 0) + by
        await self.ctx.storage.put("n", value)
        return value

    async def total(self):
        return await self.ctx.storage.get("n") or 0


class Map(ShardMap):
    shards = "Counters"
    count = 2
    items_at_once = 2


class Auto(ShardMap):
    shards = "Counters"
    count = 1
    policy = SplitPolicy(calls_per_s_max=50, shards_max=4, rest_s=2)


class Sorted(ShardMap):
    shards = "Counters"
    order = SORTED
    bounds = ("h", "p")
    items_at_once = 2


class Totals(Aggregator):
    shards = "Plain"
    count = 4


CLASSES = [Counters, Plain, Map, Auto, Sorted, Totals]


def by_map(world, name="m", kind="Map", client=ByMap):
    return client(world.namespace("Counters"), world.namespace(kind).getByName(name))


async def patiently(call):
    """What it gives when it gives something: shards that died come back."""
    for _ in range(600):
        try:
            return await call()
        except PerdureError as error:
            if not error.retryable and type(error) is PerdureError:
                raise
            await asyncio.sleep(0.5)
    raise AssertionError("nobody answers")
