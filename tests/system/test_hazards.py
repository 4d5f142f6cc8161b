"""Sequences that need real processes: forks, maps that overtake each other, calls inside transactions (C22, C24, C27)."""

from __future__ import annotations

import asyncio

import msgpack
import perdure
import pytest
import zmq
from perdure.engine.errors import PerdureError
from perdure.engine.ids import ClassKey

from .runtime import serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio, os, subprocess, sys
from workers import DurableObject

class Thing(DurableObject):
    async def put(self, value):
        await self.ctx.storage.put("v", value)
    async def value(self):
        return await self.ctx.storage.get("v")
    async def transfer(self, other):
        async def body(txn):
            await txn.put("v", 1)
            await self.env.Thing.getByName(other).put(2)      # leaves at once: the write commits with the transaction
            await txn.put("v", 3)
        await self.ctx.storage.transaction(body)
        return await self.ctx.storage.get("v")
    async def fork(self):
        await self.ctx.storage.put("v", "before")
        pid = os.fork()
        if pid == 0:
            return "child"
        _, status = os.waitpid(pid, 0)
        await self.ctx.storage.put("v", "after")
        return os.waitstatus_to_exitcode(status)
    async def subprocess(self):
        return subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, text=True).stdout
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hazards")
    program = folder / "thing.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(folder / "data"), "--shards", "2") as found:
        yield found


def test_c22_a_call_inside_a_transaction_after_a_write_does_not_deadlock(runtime) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address, deadline_s=5) as client:
            things = client.namespace("Thing")
            assert await things.getByName("a").transfer("b") == 3
            assert await things.getByName("b").value() == 2

    asyncio.run(run())


def test_c24_a_forked_child_ends_at_once_and_harms_nothing(runtime) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address, deadline_s=10) as client:
            thing = client.namespace("Thing").getByName("forks")
            assert await thing.fork() == 70
            assert await thing.value() == "after"
            assert await thing.subprocess() == "7\n"

    asyncio.run(run())
    runtime.kill()
    program = f"{runtime.data}/../thing.py"
    with serving(program, runtime.data) as again:

        async def check() -> None:
            async with perdure.connect(again.address) as client:
                assert await client.namespace("Thing").getByName("forks").value() == "after"

        asyncio.run(check())


def test_c27_a_caller_with_a_newer_map_waits_and_a_wrong_shard_says_so(tmp_path) -> None:
    program = tmp_path / "thing.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(tmp_path / "data"), "--shards", "2") as runtime:

        async def places() -> tuple[object, int]:
            async with perdure.connect(runtime.address) as client:
                await client.namespace("Thing").getByName("x").put("here")
                return client._map, client._map.epoch

        slot_map, epoch = asyncio.run(places())
        object_id = ClassKey("thing-Thing").id_from_name("x")
        right = slot_map.shard_of(object_id)
        context = zmq.Context()

        def talk(shard: int, call_epoch: int) -> zmq.Socket:
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(slot_map.shards[shard].endpoint)
            call = [3, 1, call_epoch, "thing-Thing", object_id, "x", 0, "value", b"\x90", 1000, "", False]
            socket.send(b"\x01" + msgpack.packb([[1, [1], "test", {}], call]))
            return socket

        def frames(socket: zmq.Socket, wait_ms: int = 3_000) -> list[list[object]]:
            found: list[list[object]] = []
            while socket.poll(wait_ms):
                found += msgpack.unpackb(socket.recv()[1:], strict_map_key=False)
                wait_ms = 200
            return found

        wrong = talk(1 - right, epoch)
        assert [frame[0] for frame in frames(wrong)] == [2, 9]  # WELCOME, MOVED: nothing has run
        newer = talk(right, epoch + 1)
        assert [frame[0] for frame in frames(newer)] == [2]  # it waits for the map that the caller knows
        import os
        import signal

        os.kill(runtime.pids(f"shard {1 - right}")[0], signal.SIGKILL)  # a new session: a new map, with a higher epoch
        assert [frame[0] for frame in frames(newer)] == [5]
        for socket in (wrong, newer):
            socket.close()
        context.term()


def test_errors_keep_their_type_across_processes(tmp_path) -> None:
    program = tmp_path / "thing.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(tmp_path / "data"), "--shards", "1") as runtime:

        async def run() -> None:
            async with perdure.connect(runtime.address) as client:
                with pytest.raises(PerdureError) as caught:
                    await client.namespace("Thing").getByName("x").put(1, 2, 3)
                assert "positional arguments" in caught.value.message
                assert caught.value.remote
                assert not caught.value.retryable

        asyncio.run(run())
