"""A Worker that awaits what nothing can ever give: `would never generate a response` (spec: rpc)."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest
from perdure.engine.errors import NeverAnswered
from perdure.testing import World

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint
from js import Promise

KEPT = []

class Room(DurableObject):
    async def ask(self, method):
        try:
            return await getattr(self.env.SELF, method)()
        except Exception as error:
            return str(error)

    async def ask_with_a_function(self):
        said = []
        try:
            await self.env.SELF.hang_with(said.append)
        except Exception as error:
            return [str(error), *said]

    async def ask_after_a_write(self, method):
        self.ctx.storage.put("a", 1)
        return await self.env.SELF.hang()

class Default(WorkerEntrypoint):
    async def hang(self):
        await asyncio.get_running_loop().create_future()

    async def hang_with(self, function):
        await function("called")
        await self.hang()

    async def promise(self):
        await Promise.new(lambda resolve, reject: None)

    async def deep(self):
        async def inner():
            await asyncio.Event().wait()
        await asyncio.gather(inner(), asyncio.sleep(1))

    async def through(self):
        return await self.env.SELF.hang()

    async def slow(self):
        await asyncio.sleep(20)
        return "slow"

    async def kept(self):
        KEPT.append(future := asyncio.get_running_loop().create_future())
        return await future

    async def release(self):
        KEPT.pop().set_result("released")

    async def fetch(self, request):
        if request.url.endswith("hang"):
            await self.hang()
        response = await self.env.SELF.fetch("http://self/hang")
        return response
"""


@pytest.fixture
def world(tmp_path):
    (tmp_path / "entry.py").write_text(PROGRAM)
    keys = {"name": "w", "main": "entry.py", "services": [{"binding": "SELF", "service": "w"}]}
    keys["durable_objects"] = {"bindings": [{"name": "ROOM", "class_name": "Room"}]}
    (tmp_path / "wrangler.json").write_text(json.dumps(keys))
    with World(str(tmp_path / "wrangler.json")) as world:
        yield world


@pytest.mark.parametrize("method", ["hang", "promise", "deep", "through"])
def test_who_asks_hears_of_it(world, method) -> None:
    async def body() -> None:
        begun = world.now
        assert "would never generate a response" in await world.namespace("Room").getByName("a").ask(method)
        assert (world.now - begun).total_seconds() < 10  # of virtual time; the call's deadline is at 30 s

    world.run(body())


def test_also_where_the_question_waited_for_a_commit(world) -> None:
    async def body() -> None:
        with pytest.raises(NeverAnswered, match="would never generate a response"):
            await world.namespace("Room").getByName("a").ask_after_a_write("hang")

    world.run(body())


def test_functions_that_it_was_given_are_let_go(world) -> None:
    async def body() -> None:
        said, *called = await world.namespace("Room").getByName("a").ask_with_a_function()
        assert "would never generate a response" in said
        assert called == ["called"]

    world.run(body())


def test_a_fetch(world) -> None:
    async def body() -> None:
        assert (await world.fetch("/")).status == 500

    world.run(body())


def test_what_can_be_answered_is(world) -> None:
    async def body() -> None:
        room = world.namespace("Room").getByName("a")
        assert await room.ask("slow") == "slow"
        waiting = asyncio.ensure_future(room.ask("kept"))
        await world.advance(seconds=5)
        gc.collect()
        await world.advance(seconds=5)
        assert not waiting.done()
        await room.ask("release")
        assert await waiting == "released"

    world.run(body())
