"""Nothing leaves an object before what it depends on is durable (hazards C5, C10)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import LogFailed, PerdureError

from .shelf import Shard


class Note(DurableObject):
    async def write(self, value):
        await self.ctx.storage.put("v", value)
        return value

    async def read(self):
        return await self.ctx.storage.get("v")

    async def unconfirmed(self, value):
        await self.ctx.storage.put("v", value, allowUnconfirmed=True)
        return value

    async def fail_after_write(self):
        await self.ctx.storage.put("v", "written")
        raise ValueError("after the write")

    async def synced(self, value):
        await self.ctx.storage.put("v", value)
        await self.ctx.storage.sync()
        return "synced"


def test_a_reply_waits_for_its_commit_and_so_does_a_later_read(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        before = shard.send("a", "read")
        await asyncio.sleep(0.01)
        assert before.done()  # nothing was written: reads do not wait
        write, read = shard.send("a", "write", 1), shard.send("a", "read")
        await asyncio.sleep(0.01)
        assert not write.done()
        assert not read.done()
        shard.commits.commit()
        assert await write == 1
        assert await read == 1
        shard.stop()

    asyncio.run(run())


def test_an_exception_after_a_write_waits_too_and_does_not_undo_it(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        failing = shard.send("a", "fail_after_write")
        await asyncio.sleep(0.01)
        assert not failing.done()
        shard.commits.commit()
        with pytest.raises(PerdureError, match="after the write"):
            await failing
        assert await shard.call("a", "read") == "written"
        shard.stop()

    asyncio.run(run())


def test_unconfirmed_writes_do_not_close_the_gate(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        assert await shard.call("a", "unconfirmed", 5) == 5
        shard.commits.commit()
        shard.stop()

    asyncio.run(run())


def test_sync_waits_for_durability(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        future = shard.send("a", "synced", 1)
        await asyncio.sleep(0.01)
        assert not future.done()
        shard.commits.commit()
        assert await future == "synced"
        shard.stop()

    asyncio.run(run())


def test_c10_a_failed_batch_takes_its_objects_later_commits_and_replies_along(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        other = shard.send("b", "read")
        await asyncio.sleep(0.01)
        first = shard.send("a", "write", 1)
        await asyncio.sleep(0.01)
        shard.commits.fail()
        later = shard.send("a", "read")
        with pytest.raises(LogFailed) as caught:
            await first
        assert caught.value.durableObjectReset
        assert await later is None  # a fresh instance, from the last durable state
        assert await other is None
        shard.stop()

    asyncio.run(run())


def test_c5_a_reset_leaves_nothing_of_an_unlogged_commit(tmp_path) -> None:
    """Closing SQLite's connection would fold a committed but unlogged transaction into the main file."""

    async def run() -> None:
        shard = Shard(Note, tmp_path, auto=False)
        write = shard.send("a", "write", 1)
        await asyncio.sleep(0.01)
        shard.commits.commit()
        await write
        second = shard.send("a", "write", 2)
        await asyncio.sleep(0.01)
        shard.commits.fail()  # committed in SQLite, captured, not durable
        with pytest.raises(LogFailed):
            await second
        path = shard.files.path(shard.key.id_from_name("a"))
        with open(path, "rb") as file:
            image = file.read()
        assert b"\x02" not in image[4096 * 2 - 64 : 4096 * 2]  # the second value never reached the main file
        assert shard.files.rebuilt
        shard.stop()

    asyncio.run(run())
