"""The program that the rows about storage run: an object that is probed, and one that writes as much as it is told."""

from __future__ import annotations

import asyncio
import os
import re
import time

from workers import DurableObject, Response, WorkerEntrypoint

_BLOB = 64 * 1024


class Probe(DurableObject):
    """Answers at once, or after one durable write."""

    async def echo(self):
        return 1

    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value


class Link(DurableObject):
    """Calls other objects."""

    async def pass_on(self, names):
        """Through the objects of those names, one after the other, to the last one's answer."""
        if not names:
            return 1
        return await self.env.Link.getByName(names[0]).pass_on(names[1:])

    async def stream(self, mebibytes):
        """That many MiB, in pieces of a quarter."""
        piece = bytes(256 << 10)
        for _ in range(mebibytes * 4):
            yield piece

    async def pass_stream(self, name, mebibytes):
        """Another object's stream, piece by piece."""
        async for piece in await self.env.Link.getByName(name).stream(mebibytes):
            yield piece

    async def fan_out(self, count):
        """One durable write in each of that many objects, all at once; the sum of the answers."""
        probes = [self.env.Probe.getByName(f"probe {number:05d}") for number in range(count)]
        return sum(await asyncio.gather(*[probe.increment() for probe in probes]))


class Writer(DurableObject):
    """`fill` and `state` are for tables that an imported file may have already."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec("create table if not exists blobs(id integer primary key, data blob)")
        ctx.storage.sql.exec("create table if not exists entries(id integer primary key, name text, amount integer)")

    async def fill(self, mebibytes):
        """Write that much in one transaction; the time at the end of the turn."""
        data = os.urandom(_BLOB)
        for number in range(mebibytes * 16):
            self.ctx.storage.sql.exec("insert into blobs(data) values(?)", number.to_bytes(4, "big") + data[4:])
        return time.time()

    async def put(self, key, size):
        """One random value of that many bytes."""
        await self.ctx.storage.put(key, os.urandom(size // 2) + bytes(size - size // 2))

    async def insert(self, rows):
        """That many rows in one transaction."""
        for number in range(rows):
            self.ctx.storage.sql.exec("insert into entries(name, amount) values(?, ?)", f"entry {number}", number)

    async def bookmark(self):
        """The point that a later restore goes back to."""
        return await self.ctx.storage.getCurrentBookmark()

    async def state(self):
        """How many blobs, how many entries."""
        count = self.ctx.storage.sql.exec(
            "select (select count(*) from blobs) b, (select count(*) from entries) e"
        ).one()
        return [count["b"], count["e"]]


class Ringer(DurableObject):
    """One durable write, by a call or by its alarm."""

    async def write(self):
        await self.ctx.storage.put("written", time.time())

    async def arm(self, ms):
        await self.ctx.storage.setAlarm(ms)

    async def alarm(self):
        await self.ctx.storage.put("rang", time.time())

    async def rang(self):
        """When, in seconds since the epoch; 0: not yet."""
        return await self.ctx.storage.get("rang") or 0.0


class Default(WorkerEntrypoint):
    """Nothing is asked over HTTP."""

    async def fetch(self, request):
        return Response("bench\n")


class Hazard(DurableObject):
    """Methods that would stop their shard."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.kept = []

    async def spin(self):
        while True:
            pass

    async def sleep(self):
        time.sleep(60)  # noqa: ASYNC251

    async def regex(self):
        re.match(r"(a+)+$", "a" * 60 + "b")

    async def swallow(self):
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    async def hog(self):
        while True:
            self.kept.append(b"x" * 1_000_000 + bytes(1))
            time.sleep(0.001)  # noqa: ASYNC251
