"""What travels by reference over real sockets, straight and through the endpoint: the wire, and what happens when a side goes."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError, ProtocolError, VersionMismatch
from perdure.engine.exports import Exports
from perdure.engine.rpc_target import RpcTarget
from perdure.engine.values import EMPTY_ARGS, pack
from perdure.router.ports import Port
from perdure.router.wire import REF_CALL, REF_DROP, REF_FRAMES, REF_KEEP, REF_REPLY

from .landing import landing


class Session(RpcTarget):
    def __init__(self, count: int) -> None:
        self.count = count

    def increment(self, by: int = 1) -> int:
        self.count += by
        return self.count


class Host(DurableObject):
    async def counter(self):
        count = 0

        def add(by: int) -> int:
            nonlocal count
            count += by
            return count

        return add

    def echo(self, value):
        return value

    def make(self, start: int):
        return Session(start)

    async def call_back(self, function, *args):
        return await function(*args)

    async def keep(self, function):
        self.kept = function.dup()

    async def drop_kept(self):
        self.kept.dispose()

    async def use_kept(self, *args):
        return await self.kept(*args)

    async def counter_of(self, name):
        return await self.env.Host.getByName(name).counter()

    async def pass_on(self, name, function, *args):
        return await self.env.Host.getByName(name).call_back(function, *args)

    async def hang(self, function):
        await function()
        await asyncio.sleep(30)

    async def chunks(self, count, size):
        for _ in range(count):
            yield b"x" * size

    async def chunks_of(self, name, count, size):
        return await self.env.Host.getByName(name).chunks(count, size)

    async def size_of(self, chunks):
        return sum([len(chunk) async for chunk in chunks])

    async def endless(self):
        self.made = 0
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.made = -1

    async def how_many(self):
        return self.made

    async def abort(self):
        self.ctx.abort("gone")


ways = pytest.mark.parametrize("relay", [False, True], ids=["straight", "relayed"])


def on_landing(folder, relay, work):
    async def main():
        async with landing(folder, Host, relay=relay) as rig:
            async with asyncio.timeout(20):
                await work(rig)

    asyncio.run(main())


async def until(true):
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


@ways
def test_functions_and_targets_both_ways(tmp_path, relay):
    async def work(rig):
        a, b = rig.on_shard(0), rig.on_shard(1)
        add = await a.counter()
        assert [await add(2), await add(1), await add(-5)] == [2, 3, -2]
        session = await a.make(1)
        assert await session.increment(5) == 6
        assert await a.make(1).increment() == 2
        seen = []
        assert await a.call_back(lambda *args: seen.append(args) or 7, 1, "x") == 7
        assert seen == [(1, "x")]
        assert await a.pass_on(b.name, lambda text: text + "!", "hi") == "hi!"
        far = await a.counter_of(b.name)
        assert await far(3) == 3
        assert await b.call_back(far, 4) == 7

    on_landing(tmp_path, relay, work)


@ways
def test_what_nobody_has_any_more_is_let_go(tmp_path, relay):
    async def work(rig):
        a, b = rig.on_shard(0), rig.on_shard(1)
        add = await a.counter_of(b.name)
        assert await add(1) == 1
        await a.keep(lambda: 5)
        assert await a.use_kept() == 5
        sizes = [await a.counter() for _ in range(3)]
        del add, sizes
        gc.collect()
        await a.drop_kept()
        everything = [rig.client.exports, *(client.exports for client in rig.clients)]
        await until(lambda: not any(found.count for found in everything))

    on_landing(tmp_path, relay, work)


@ways
def test_the_callers_process_goes(tmp_path, relay):
    """What a shard holds of it breaks, what it held of the shard is let go."""

    async def work(rig):
        a = rig.on_shard(0)
        add = await a.counter()
        await a.keep(lambda: 5)
        assert await add(1) == 1
        assert rig.clients[0].exports.count == 1
        called = asyncio.Event()
        hanging = a.hang(called.set)
        await called.wait()
        hanging.cancel()
        await rig.client.close()
        await until(lambda: not rig.clients[0].exports.count)
        use = rig.shards[0].send(a.name, "use_kept")
        with pytest.raises(PerdureError, match="execution context which hosts this callback"):
            await use

    on_landing(tmp_path, relay, work)


@ways
def test_a_shard_goes(tmp_path, relay):
    async def work(rig):
        a = rig.on_shard(0)
        add = await a.counter()
        await a.keep(lambda: 5)
        assert rig.client.exports.count == 1
        waiting = add(1)
        assert await waiting == 1
        rig.shards[0].stop()
        rig.doors[0].close()
        await until(lambda: not rig.client.exports.count)
        with pytest.raises(PerdureError, match="execution context which hosts this callback.*no longer running"):
            await add(1)

    on_landing(tmp_path, relay, work)


@ways
def test_streams_both_ways(tmp_path, relay):
    async def work(rig):
        a, b = rig.on_shard(0), rig.on_shard(1)
        assert sum([len(chunk) async for chunk in await a.chunks(100, 10_000)]) == 1_000_000
        assert sum([len(chunk) async for chunk in await a.chunks_of(b.name, 100, 10_000)]) == 1_000_000

        async def mine():
            for _ in range(50):
                yield b"y" * 1_000

        assert await a.size_of(mine()) == 50_000
        assert await a.size_of(await b.chunks(10, 10)) == 100

    on_landing(tmp_path, relay, work)


@ways
def test_a_reader_that_stops_closes_the_source_and_a_slow_one_holds_it_up(tmp_path, relay):
    async def work(rig):
        a = rig.on_shard(0)
        stream = await a.endless()
        assert await anext(stream) == 1
        await asyncio.sleep(0.05)
        assert 1 < await a.how_many() < 100
        await stream.aclose()
        await until(lambda: not rig.clients[0].exports.count)
        assert await a.how_many() == -1

        other = await a.endless()
        assert await anext(other) == 1
        with pytest.raises(PerdureError, match="gone"):
            await a.abort()
        with pytest.raises(PerdureError, match="received over RPC disconnected prematurely"):
            while True:
                await anext(other)

    on_landing(tmp_path, relay, work)


def test_an_older_side_is_told(tmp_path):
    async def work(rig):
        a = rig.on_shard(0)
        assert await a.echo(1) == 1
        rig.client._lanes[0].link.port = None
        with pytest.raises(VersionMismatch, match="takes no functions"):
            await a.call_back(lambda: 1)
        for peer in rig.doors[0]._peers.values():
            peer.port = None
        with pytest.raises(VersionMismatch, match="the result holds functions"):
            await a.counter()

    on_landing(tmp_path, False, work)


def test_nothing_that_a_peer_sends_raises_anything_else(tmp_path):
    """What an acceptor makes of malformed frames is told; what was sent before lives on."""

    async def script():
        exports = Exports(asyncio.get_running_loop(), secrets.token_bytes)
        sent = []
        port = Port(exports, lambda frame, _size: sent.append(frame), 30.0)
        parcel = exports.pack([lambda: 7])
        port.hand_over(parcel)
        (export_id,) = parcel.ids
        rng = random.Random(7)
        parts = [
            None,
            0,
            -1,
            b"",
            b"x" * 8,
            b"x" * 16,
            export_id,
            "",
            "=",
            [],
            ["a"],
            [None],
            [[]],
            {},
            True,
            1 << 70,
            0.5,
        ]
        for _ in range(20_000):
            frame = [rng.choice([*REF_FRAMES, 99]), rng.choice(parts)]
            frame += [rng.choice(parts) for _ in range(rng.randrange(8))]
            if frame[0] in (REF_DROP, REF_KEEP) and frame[1] == export_id:  # it would be let go, rightly
                continue
            try:
                port.receive(frame)
            except (ProtocolError, TypeError, ValueError, IndexError, AttributeError):
                pass
        await asyncio.sleep(0.01)
        sent.clear()
        port.receive([REF_CALL, export_id, b"c" * 16, [], EMPTY_ARGS, None, "", False])
        await asyncio.sleep(0.01)
        assert sent == [[REF_REPLY, b"c" * 16, pack(7), None]]
        port.lost()
        assert exports.count == 0

    asyncio.run(script())
