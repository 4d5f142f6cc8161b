"""A program whose methods are hazards, and one whose objects only count."""

from __future__ import annotations

import ctypes
import re
import time

from workers import DurableObject

SHARED = {}


class Bad(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.kept = []

    async def put(self, value):
        await self.ctx.storage.put("v", value)

    async def arm(self):
        await self.ctx.storage.setAlarm(time.time() * 1000)

    async def alarm(self):
        while True:
            pass

    async def share(self):
        SHARED["n"] = SHARED.get("n", 0) + 1

    async def value(self):
        return await self.ctx.storage.get("v")

    async def spin(self):
        await self.ctx.storage.put("v", "lost")
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
            except:  # noqa: E722
                continue

    async def swallow_once(self):
        try:
            while True:
                pass
        except BaseException:
            return "swallowed"

    async def store(self):
        while True:
            await self.ctx.storage.put("v", "lost")

    async def hog(self):
        while True:
            self.kept.append(b"x" * 1_000_000 + bytes(1))
            time.sleep(0.001)  # noqa: ASYNC251

    async def grow(self):
        self.kept.append(b"x" * 8_000_000 + bytes(1))
        return len(self.kept)

    async def hold(self):
        """Never back in the interpreter, and nobody else gets it."""
        library, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(lock)
        library.pthread_mutex_lock(lock)

    async def crash(self):
        ctypes.string_at(0)


class Good(DurableObject):
    async def add(self):
        count = (await self.ctx.storage.get("n") or 0) + 1
        await self.ctx.storage.put("n", count)
        return count
