"""A world: calls, time, crashes, evictions."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ShardLost
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World, simulate
from perdure.testing.virtual import run


class Counter(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.made = time.time()

    async def increment(self, amount=1):
        value = (await self.ctx.storage.get("value") or 0) + amount
        await self.ctx.storage.put("value", value)
        return value

    async def slow(self):
        await asyncio.sleep(5)
        return await self.increment()

    async def clock(self):
        return [time.time(), datetime.datetime.now(datetime.UTC).timestamp()]

    async def nap(self):
        time.sleep(1)

    async def other(self, name):
        return await self.env.Counter.getByName(name).increment()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(str(await self.env.Counter.getByName("w").increment()))


async def test_calls_and_fetch(world):
    a = world.get(Counter, "a")
    assert await a.increment() == 1
    await world.crash(a)
    assert await a.increment() == 2


@simulate(seeds=100)
async def test_sim(world):
    a = world.get(Counter, "a")
    for _ in range(3):
        try:
            await a.increment()
        except ShardLost:
            pass


def test_timing():
    import cProfile, pstats
    from perdure.testing import Simulation
    async def body(world):
        a = world.namespace("Counter").getByName("a")
        for _ in range(3):
            try:
                await a.increment()
            except ShardLost:
                pass
    sim=Simulation(body, [Counter])
    t=time.perf_counter()
    for s in range(200):
        r=sim.run(s); assert r.error is None
        assert sim.run(s).digest == r.digest
    print((time.perf_counter()-t)/400*1e3, "ms a seed")
    p=cProfile.Profile(); p.enable()
    for s in range(100):
        sim.run(s)
    p.disable(); pstats.Stats(p).sort_stats("tottime").print_stats(25)


def test_all():
    async def body():
        async with World([Counter, Default], shards=2) as world:
            a = world.namespace("Counter").getByName("a")
            assert await a.increment() == 1
            assert await a.increment(4) == 5
            assert await asyncio.gather(a.increment(), a.increment()) == [6, 7]
            assert await (await world.fetch("/x")).text() == "1"
            assert await world.storage(a).get("value") == 7
            assert world.state(a) == "idle"
            await world.advance(seconds=12)
            assert world.state(a) == "cold"
            assert await a.other("b") == 1
            started = world.now
            await world.crash(a)
            assert await a.increment() == 8
            print(world.now - started)
            slow = asyncio.ensure_future(a.slow())
            await world.settle()
            await world.crash(a)
            with pytest.raises(ShardLost):
                await slow
            await world.lose_power()
            assert await a.increment() == 9
            await world.restart()
            assert await a.increment() == 10
            await world.advance(days=400)
            print(world.now, world.log, world.story.text())
            assert await a.clock() == [world.now.timestamp()] * 2
            with pytest.raises(Exception, match="time.sleep"):
                await a.nap()

    t = time.perf_counter()
    run(body())
    print(time.perf_counter() - t)


def test_sync():
    with World([Counter, Default]) as world:
        a = world.namespace("Counter").getByName("a")
        assert a.increment() == 1
        assert world.storage(a).get("value") == 1
        world.crash(a)
        assert a.increment() == 2
        world.advance(hours=1)


def test_foreign():
    async def body():
        async with World([Counter, Default]) as world:
            a = world.namespace("Counter").getByName("a")
            assert await a.increment() == 1
            assert await world.storage(a).get("value") == 1
            assert await asyncio.gather(a.increment(), a.increment()) == [2, 3]
            await world.crash(a)
            assert await a.increment() == 4
            await world.advance(hours=1)

    asyncio.run(body())
