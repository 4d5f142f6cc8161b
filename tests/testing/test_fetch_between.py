"""Outgoing fetches and sinks when the object behind them is reset, sleeps or is slow."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk.response import Response
from perdure.sdk.streams import WritableStream
from perdure.sdk.workers import DurableObject, fetch
from perdure.testing import World
from perdure.testing.virtual import run


class Asker(DurableObject):
    async def reads_a_bit(self):
        response = await fetch("http://out/endless")
        reader = response.body.getReader()
        self.reader = reader
        return bytes((await reader.read()).value)

    async def has_not_read(self):
        self.response = await fetch("http://out/endless")

    async def posts_endlessly(self):
        async def body():
            number = 0
            while True:
                number += 1
                await self.ctx.storage.put("n", number)
                yield b"x"
                await asyncio.sleep(1)

        self.asking = asyncio.ensure_future(fetch("http://out/take", method="POST", body=body()))

    async def abort(self):
        self.ctx.abort("as asked")

    async def fill_later(self, sink, through):
        if through:
            await self.env.Asker.getByName(through).fill_later(sink, "")
        else:
            self.ctx.waitUntil(self.fill(sink))

    async def fill(self, sink):
        writer = sink.getWriter()
        for number in range(3):
            await writer.write(str(number))
        await writer.close()


_CASES = [
    (what, how)
    for what in ("reads_a_bit", "has_not_read", "posts_endlessly")
    for how in ("abort", "evict", "hibernate")
]
_CASES.remove(("posts_endlessly", "hibernate"))  # it has work, so it stays


@pytest.mark.parametrize(("what", "how"), _CASES)
def test_what_an_object_has_open_outside_ends_with_it(what, how):
    async def main():
        open_now = set()

        async def endless(_request):
            async def body():
                open_now.add("body")
                try:
                    while True:
                        yield b"x"
                        await asyncio.sleep(1)
                finally:
                    open_now.discard("body")

            return Response(body())

        async def take(request):
            open_now.add("take")
            try:
                async for _ in request.body:
                    pass
            finally:
                open_now.discard("take")
            return 200

        async with World([Asker]) as world:
            world.on_fetch("http://out/endless", endless)
            world.on_fetch("http://out/take", take)
            a = world.namespace("Asker").getByName("a")
            gc.collect()
            gc.disable()
            try:
                await getattr(a, what)()
                await asyncio.sleep(2)
                if how == "abort":
                    with pytest.raises(PerdureError, match="as asked"):
                        await a.abort()
                elif how == "evict":
                    world._process(a).instance(a.id.raw).evict()
                else:
                    await world.advance(seconds=200)
                    assert world._process(a).instance(a.id.raw) is None
                await asyncio.sleep(5)
                assert not open_now
            finally:
                gc.enable()

    run(main())


@pytest.mark.parametrize("through", [False, True], ids=["straight", "passed on"])
def test_a_sink_may_take_longer_than_a_call_may(through):
    async def main():
        taken = []

        async def write(chunk):
            await asyncio.sleep(100)
            taken.append(chunk)

        async with World([Asker]) as world:
            a = world.namespace("Asker").getByName("a")
            await a.fill_later(WritableStream(write=write), "b" if through else "")
            await asyncio.sleep(400)
            assert taken == ["0", "1", "2"]

    run(main())
