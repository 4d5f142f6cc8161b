"""References, services and streams where something goes wrong in the middle: cancelled, reset, dropped, read twice."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk.workers import DurableObject, RpcTarget
from perdure.testing import World
from perdure.testing.virtual import run


class Puller(RpcTarget):
    async def pull(self):
        await asyncio.sleep(1_000)


class Counter(RpcTarget):
    def __init__(self):
        self.count = 0

    def add(self, *_more):
        self.count += 1
        return self.count


class Host(DurableObject):
    kept = None

    async def keep(self, function):
        self.kept = function.dup()

    async def call(self, function):
        return await function()

    def echo(self, value):
        return value

    def puller(self):
        return Puller()

    def counter(self):
        return Counter()

    async def sent_and_cancelled(self, name):
        """Passes on what it keeps, behind the gate of a write, and takes the call back at once."""
        await self.ctx.storage.put("x", 1)
        called = self.env.Host.getByName(name).call(self.kept.dup())
        called.cancel()
        called = self.env.Host.getByName(name).call(lambda: 1)
        called.cancel()

    async def kept_called_and_cancelled(self):
        await self.ctx.storage.put("x", 1)
        called = self.kept(self.kept.dup())
        called.cancel()

    async def sent_and_reset(self, name):
        await self.ctx.storage.put("x", 1)
        called = self.env.Host.getByName(name).call(self.kept.dup())
        self.kept.dispose()
        self.ctx.abort("in the middle")
        await called

    async def functions(self):
        """Each behind a write of its own."""
        number = 0
        while True:
            await self.ctx.storage.put("n", number)
            yield lambda: 1
            number += 1

    async def numbers(self, count):
        for number in range(count):
            yield number
            if number % 7 == 3:
                await asyncio.sleep(1)

    async def silent(self):
        await asyncio.sleep(1_000)
        yield 1

    async def never_read(self, stream):
        return "not read"

    async def large(self):
        yield b"x" * (1 << 19)
        yield b"y" * ((32 << 20) - 10)
        yield b"z"

    async def make_calls(self, name, count):
        """Of each kind, none awaited before the last."""
        counter = await self.env.Host.getByName(name).counter()

        async def stream():
            yield 1

        calls = []
        for number in range(count):
            if number % 2:
                await self.ctx.storage.put("n", number)
            given = [(), (lambda: 1,), (stream(),), ("x",), (counter.dup(),), (stream(), lambda: 1)][number % 6]
            calls.append(counter.add(*given))
        return await asyncio.gather(*calls)


def in_world(work, **options):
    async def main():
        async with World([Host], shards=2, **options) as world:
            await asyncio.wait_for(work(world, world.namespace("Host").getByName("a")), 36_000)

    run(main())


def left(world):
    gc.collect()
    return {found.count for found in world.network._exports.values()}


def test_a_call_that_is_cancelled_before_it_left_lets_go_of_what_it_would_have_carried():
    async def work(world, a):
        await a.keep(lambda *_: 1)
        await a.sent_and_cancelled("b")
        await a.kept_called_and_cancelled()
        await world.settle()
        gc.collect()
        await world.settle()
        assert world._process(a).instance(a.id.raw) is not None
        exports = world.network.exports_of(world._process(a))
        assert exports.count == 0

    in_world(work)


def test_a_reset_lets_go_of_what_waited_at_the_gate():
    async def work(world, a):
        await a.keep(lambda: 1)
        with pytest.raises(PerdureError, match="in the middle"):
            await a.sent_and_reset("b")
        await world.settle()
        gc.collect()
        await world.settle()
        assert left(world) == {0}

    in_world(work)


def test_a_stream_that_is_closed_lets_go_of_what_waited_at_the_gate():
    async def work(world, a):
        for _ in range(20):
            stream = await a.functions()
            assert await (await anext(stream))() == 1
            await stream.aclose()
            del stream
        gc.collect()
        await world.settle()
        gc.collect()
        await world.settle()
        assert left(world) == {0}
        await world.advance(seconds=30)
        assert world._process(a).instance(a.id.raw) is None

    in_world(work)


def test_two_readers_of_a_stream_get_each_item_once():
    async def work(world, a):
        stream = await a.numbers(200)
        seen = []

        async def read():
            async for number in stream:
                seen.append(number)
                await asyncio.sleep(0.3)

        await asyncio.gather(read(), read(), read())
        assert sorted(seen) == list(range(200))

    in_world(work)


def test_closing_a_stream_ends_who_reads_it():
    async def work(world, a):
        stream = await a.silent()

        async def read():
            return [number async for number in stream]

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(1)
        await stream.aclose()
        assert await reading == []

    in_world(work)


def test_a_stream_that_nobody_reads_is_closed():
    class Source:
        closed = False

        def __aiter__(self):
            return self

        async def __anext__(self):
            return 1

        async def aclose(self):
            self.closed = True

    async def work(world, a):
        source = Source()
        assert await a.never_read(source) == "not read"
        await world.settle()
        assert source.closed

    in_world(work)


def test_items_that_are_large_together():
    async def work(world, a):
        assert [len(item) async for item in await a.large()] == [1 << 19, (32 << 20) - 10, 1]

    in_world(work)


def test_a_method_called_pull_has_a_deadline():
    async def work(world, a):
        target = await a.puller()
        with pytest.raises(PerdureError, match="no answer within 30 s"):
            await target.pull()

    in_world(work)


def test_calls_of_a_target_arrive_in_order_whatever_they_carry_and_whatever_they_wait_for():
    async def work(world, a):
        assert await a.make_calls("b", 24) == list(range(1, 25))
        assert await a.make_calls("a", 12) == list(range(1, 13))

    in_world(work)
