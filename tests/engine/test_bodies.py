"""Bodies that an object streams and that end early: nothing of them stays, nobody is told of an error that is none."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.http import HttpRequest, HttpResponse

from .box import Box, Plain

REQUEST = HttpRequest("GET", "http://object/", [])


class Live(Plain):
    """Sends what is new whenever something is, as server-sent events do."""

    ended = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.changed = asyncio.Event()

    async def fetch(self, _request):
        async def body():
            try:
                while True:
                    yield b"now"
                    await self.changed.wait()
            finally:
                Live.ended += 1

        return HttpResponse(200, [], body())


async def _quiet() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["reset", "reader gone", "reader gone before it asked"])
def test_a_stream_that_waits_ends_with_its_object_and_with_its_reader(tmp_path, how: str) -> None:
    async def run():
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        Live.ended = 0
        async with Box.on(tmp_path, kind=Live) as box:
            response = await box.shard.fetch("a", REQUEST)
            assert await anext(response.body) == b"now"
            if how == "reader gone before it asked":
                await response.body.aclose()
            else:
                reading = asyncio.ensure_future(anext(response.body))
                await _quiet()
                if how == "reset":
                    box.instance().reset(PerdureError("as asked"))
                    with pytest.raises(PerdureError, match="as asked"):
                        await reading
                else:
                    reading.cancel()
                    await response.body.aclose()
            await _quiet()
            assert [task for task in asyncio.all_tasks() if task.get_name() == "response body"] == []
            gc.collect()
            await _quiet()
            gc.collect()
            assert Live.ended == 1
            assert complaints == []

    asyncio.run(run())
