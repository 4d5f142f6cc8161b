"""What travels by reference between real processes: client, gateway's Worker, shards; straight and through the endpoint."""

from __future__ import annotations

import asyncio
import os
import signal

import httpx
import perdure
import pytest
from perdure.engine.errors import PerdureError

from .runtime import serving

pytestmark = pytest.mark.system

PROGRAM = """
from workers import DurableObject, Response, RpcTarget, WorkerEntrypoint

class Session(RpcTarget):
    def __init__(self, count):
        self.count = count
    def increment(self, by=1):
        self.count += by
        return self.count

class Host(DurableObject):
    def make(self, count):
        return Session(count)
    async def call_back(self, function, *args):
        return await function(*args)
    async def pass_on(self, name, function, *args):
        return await self.env.Host.getByName(name).call_back(function, *args)
    async def chunks(self, count, size):
        for _ in range(count):
            yield b"x" * size
    async def chunks_of(self, name, count, size):
        return await self.env.Host.getByName(name).chunks(count, size)

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        host = self.env.Host.getByName("w")
        seen = []
        async def note(value):
            seen.append(value)
            return len(seen)
        answer = await host.call_back(note, "from the object")
        session = await host.make(1)
        total = 0
        async for chunk in await host.chunks(10, 1000):
            total += len(chunk)
        return Response.json([answer, seen, await session.increment(), await host.make(5).increment(), total])
"""


def test_functions_targets_and_streams_between_processes(tmp_path):
    program = tmp_path / "app.py"
    program.write_text(PROGRAM)

    async def through(client):
        host = client.namespace("Host").getByName("a")
        session = await host.make(1)
        assert await session.increment(4) == 5
        assert await host.make(12).increment(3) == 15
        for name in "bcdefgh":  # some of these live in the other shard
            assert await host.pass_on(name, lambda text: text + "!", "hi") == "hi!"
            stream = await host.chunks_of(name, 20, 100_000)
            assert sum([len(chunk) async for chunk in stream]) == 2_000_000
        return session

    async def main(runtime):
        async with perdure.connect(runtime.address) as client:
            session = await through(client)
            async with perdure.connect(runtime.address, relay=True) as relayed:
                other = await through(relayed)
                for pid in runtime.pids("shard"):
                    os.kill(pid, signal.SIGKILL)
                for stub in (session, other):
                    with pytest.raises(PerdureError, match="which hosts this callback is no longer running"):
                        async with asyncio.timeout(10):
                            while True:
                                await stub.increment()

    with serving(str(program), str(tmp_path / "data"), "--shards", "2") as runtime:
        with perdure.connect_blocking(runtime.address) as client:
            host = client.namespace("Host").getByName("a")
            with host.make(1) as session:
                assert session.increment(4) == 5
            with pytest.raises(PerdureError, match="RPC stub used after being disposed"):
                session.increment()
            assert host.call_back(lambda text: text + "!", "hi") == "hi!"
            assert sum(len(chunk) for chunk in host.chunks(3, 10)) == 30
        assert httpx.get(runtime.url).json() == [1, ["from the object"], 2, 6, 10_000]
        asyncio.run(main(runtime))
