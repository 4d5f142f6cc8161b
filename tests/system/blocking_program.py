"""A program whose methods are plain functions that wait, for real processes."""

import asyncio

from js import Date, console, crypto, setTimeout
from pyodide.ffi import run_sync, to_js
from workers import DurableObject, Response, WorkerEntrypoint


class Plain(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        run_sync(asyncio.sleep(0.01))
        self.active = 0

    def add(self, amount):
        value = (run_sync(self.ctx.storage.get("value")) or 0) + amount
        run_sync(self.ctx.storage.put("value", value))
        return value

    def together(self):
        """How many are in here at once."""
        self.active += 1
        found = self.active
        run_sync(asyncio.sleep(0.3))
        self.active -= 1
        return found

    def spin(self):
        run_sync(asyncio.sleep(0.01))
        while True:
            pass

    def spin_in_awaited(self):
        async def forever():
            await asyncio.sleep(0.01)
            while True:
                pass

        run_sync(forever())

    def ask(self, name, amount):
        return run_sync(self.env.Plain.getByName(name).add(amount))

    def later(self):
        setTimeout(lambda: self.add(100), 50)
        console.warn("it is", Date.now() > 0)

    def digest(self):
        return run_sync(crypto.subtle.digest("SHA-256", to_js(b"x"))).to_bytes().hex()[:8]


class Default(WorkerEntrypoint):
    def fetch(self, request):
        stub = self.env.Plain.getByName("w")

        async def one():
            return run_sync(stub.add(1))

        async def both():
            return await asyncio.gather(one(), one())

        return Response(f"{sorted(run_sync(both()))}")
