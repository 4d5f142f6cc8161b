"""A runtime with one large object, whose every state is known by its version; operations on it; kills in their middle.

What always holds: an object's data is a function of its version, so whatever a recovery finds is checked whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import perdure
from perdure.engine.errors import PerdureError
from perdure.router.client import Client

from ..system.runtime import Runtime, children, title

BACK_S = 2.0
ROW = 64 << 10
CONFIG = "[limits]\nsegment_bytes = 1048576\n"
PROGRAM = """
import hashlib, random
from workers import DurableObject

class Large(DurableObject):
    async def fill(self, version, rows):
        sql = self.ctx.storage.sql
        sql.exec("create table if not exists t(id integer primary key, data blob)")
        sql.exec("delete from t")
        rng = random.Random(version)
        for number in range(rows):
            sql.exec("insert into t values(?, ?)", number, rng.randbytes(65536))
        await self.ctx.storage.put("version", version)
    async def state(self):
        storage = self.ctx.storage
        version = await storage.get("version")
        if not storage.sql.exec("select 1 from sqlite_master where name = 't'").toArray():
            return [version, "", "ok"]
        digest, count = hashlib.sha256(), 0
        for row in storage.sql.exec("select data from t order by id"):
            digest.update(row["data"])
            count += 1
        check = [next(iter(row.values())) for row in storage.sql.exec("pragma quick_check").toArray()]
        return [version, digest.hexdigest() if count else "", "ok" if check == ["ok"] else str(check)]
    async def wipe(self):
        await self.ctx.storage.deleteAll()
    async def bookmark(self):
        return await self.ctx.storage.getCurrentBookmark()
    async def back(self, bookmark):
        await self.ctx.storage.onNextSessionRestoreBookmark(bookmark)
        self.ctx.abort("as asked")
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value
    async def value(self):
        return await self.ctx.storage.get("value") or 0
"""
State = list[object]


def expected(version: int | None, rows: int) -> State:
    """What `state` gives."""
    rng, digest = random.Random(version), hashlib.sha256()
    for _ in range(rows):
        digest.update(rng.randbytes(ROW))
    return [version, digest.hexdigest() if rows else "", "ok"]


def write_program(folder: Path, more: str = "") -> tuple[str, str]:
    """The paths of the program and its configuration."""
    program, config = folder / "large.py", folder / "perdure.toml"
    program.write_text(PROGRAM)
    config.write_text(CONFIG + more)
    return str(program), str(config)


class Scene:
    """Calls and operations on objects of one runtime."""

    def __init__(self, runtime: Runtime, client: Client) -> None:
        self.runtime = runtime
        self.client = client

    def stub(self, name: str):
        return self.client.namespace("Large").getByName(name)

    async def operate(self, whose: str, operation: str, **more: object):
        object_id = self.client.namespace("Large").idFromName(whose).raw
        return await self.client.operate(object_id, operation, deadline_s=30, class_key="large-Large", **more)

    async def state(self, name: str, wait_s: float = 10.0) -> State:
        """Waits while the object cannot be reached."""
        end = time.monotonic() + wait_s
        while True:
            try:
                return await self.stub(name).state()
            except PerdureError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.05)

    async def export(self, name: str, path: str) -> None:
        """A copy of the object, made without disturbance."""
        await self.operate(name, "export", path=path)

    async def back(self) -> float:
        """Wait until the shard answers; the seconds. Fails when that takes more than two."""
        began = time.monotonic()
        while True:
            left = BACK_S - (time.monotonic() - began)
            assert left > 0, f"not back within {BACK_S} s\n{self.runtime.text()[-3000:]}"
            try:
                await asyncio.wait_for(self.stub("other").value(), left)
                return time.monotonic() - began
            except (PerdureError, TimeoutError):
                await asyncio.sleep(0.01)

    def kill(self, what: str) -> bool:
        """kill -9 of the shard, or of its archivist; False when there is none."""
        shards = self.runtime.pids("shard")
        pids = shards if what == "shard" else [pid for shard in shards for pid in children(shard)]
        pids = [pid for pid in pids if what in title(pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)


@contextlib.asynccontextmanager
async def scene(runtime: Runtime) -> AsyncGenerator[Scene]:
    async with perdure.connect(runtime.address, deadline_s=10) as client:
        yield Scene(runtime, client)
