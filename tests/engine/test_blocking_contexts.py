"""`run_sync` inside `Context.run`: the context is entered and left as if nothing had waited."""

from __future__ import annotations

import asyncio
import contextvars

from perdure.engine.blocking import run_sync
from perdure.engine.durable import DurableObject

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


class Waiting(DurableObject):
    async def inside(self, name):
        def own():
            NAME.set(name)
            run_sync(asyncio.sleep(1))
            return NAME.get()

        return [contextvars.copy_context().run(own), NAME.get(), run_sync(asyncio.sleep(1, NAME.get()))]


async def test_each_has_its_own_context_while_others_run(world) -> None:
    stub = world.namespace("Waiting").getByName("a")
    found = await asyncio.gather(*(stub.inside(name) for name in ("ann", "ben", "cat")))
    assert found == [[name, "nobody", "nobody"] for name in ("ann", "ben", "cat")]
