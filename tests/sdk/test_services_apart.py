"""What a service sees of its caller, and what becomes of a call when the object that made it is reset or takes it back."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.testing import World

from .two_programs import classes, write

FRONT = """
import asyncio
import contextvars
import seen
from workers import DurableObject, Response, WorkerEntrypoint, env, patch_env

WHO = contextvars.ContextVar("who", default="nobody")
seen.who = WHO


class Room(DurableObject):
    kept = None

    async def names(self):
        with patch_env(NAME="patched"):
            other = self.env.ROOM.getByName("other")
            return [env.NAME, await self.env.TOOLS.name(), await other.called(), await self.env.TOOLS.later()]

    async def called(self):
        return env.NAME

    async def variables(self):
        WHO.set("room")
        return [WHO.get(), await self.env.TOOLS.who(), await self.env.ROOM.getByName("other").who()]

    async def who(self):
        return WHO.get()

    async def streamed(self):
        response = await self.env.TOOLS.fetch("http://tools/stream")
        return await response.text()

    async def own(self):
        return await (await self.env.ROOM.getByName("other").fetch("http://room/")).text()

    async def fetch(self, request):
        async def chunks():
            for _ in range(3):
                await asyncio.sleep(0.1)
                yield f"{env.NAME} {WHO.get()},".encode()
        WHO.set("room")
        return Response(chunks())

    async def keep(self, function):
        self.kept = function.dup()

    async def asks_and_is_reset(self):
        await self.ctx.storage.put("x", 1)
        asked = self.env.TOOLS.note("never durable", self.kept.dup())
        self.kept.dispose()
        self.ctx.abort("reset")
        await asked

    async def asks_and_takes_it_back(self):
        await self.ctx.storage.put("x", 1)
        asked = self.env.TOOLS.note("taken back", self.kept.dup())
        asked.cancel()
        slow = self.env.TOOLS.slow(lambda: 1)
        await asyncio.sleep(1)
        slow.cancel()
        try:
            await slow
        except asyncio.CancelledError:
            pass
        await asyncio.sleep(1)

    async def slow_and_reset(self):
        self.ctx.waitUntil(self.env.TOOLS.slow(lambda: 1))
        await asyncio.sleep(1)
        self.ctx.abort("reset")

    async def sends(self):
        async def chunks():
            for number in range(5):
                await self.ctx.storage.put("n", number)
                yield str(await self.ctx.storage.get("n")).encode()
        response = await self.env.TOOLS.fetch("http://tools/echo", method="POST", body=chunks())
        return await response.text()

    async def goes_on(self):
        function = await self.env.TOOLS.function()
        return [await function(), await function()]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.rpartition("/")[2]

        async def chunks():
            for _ in range(3):
                await asyncio.sleep(0.1)
                yield f"{env.NAME} {WHO.get()},".encode()

        WHO.set(name)
        if name.startswith("patch"):
            with patch_env(NAME=name):
                await asyncio.sleep(0.1)
                return Response(f"{env.NAME} {self.env.NAME} {await self.env.TOOLS.name()}")
        if name == "plain":
            await asyncio.sleep(0.05)
            return Response(env.NAME)
        if name == "passed":
            return await self.env.TOOLS.fetch("http://tools/stream")
        return Response(chunks())
"""
TOOLS = """
import asyncio
import seen
from workers import Response, WorkerEntrypoint, env


class Default(WorkerEntrypoint):
    def name(self):
        return env.NAME

    def who(self):
        return seen.who.get()

    async def later(self):
        async def work():
            seen.later = env.NAME
        self.ctx.waitUntil(work())
        await asyncio.sleep(0.1)
        return seen.later

    def note(self, text, function):
        seen.noted.append(text)

    async def slow(self, function):
        try:
            await asyncio.sleep(20)
            seen.noted.append("slow")
        except asyncio.CancelledError:
            seen.noted.append("cancelled")
            raise

    def function(self):
        def tell():
            return [env.NAME, seen.who.get()]
        return tell

    async def fetch(self, request):
        if request.url.endswith("echo"):
            return Response(request.body)

        async def chunks():
            for _ in range(3):
                await asyncio.sleep(0.1)
                yield f"{env.NAME} {seen.who.get()},".encode()

        return Response(chunks())
"""


class Seen:
    """A module that both programs share."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.later = ""


@pytest.fixture
def seen(monkeypatch):
    import sys

    found = Seen()
    monkeypatch.setitem(sys.modules, "seen", found)
    return found


@pytest.fixture
def world(tmp_path, seen):
    tools = write(tmp_path, "tools", TOOLS, vars={"NAME": "tools"})
    front = write(
        tmp_path,
        "front",
        FRONT,
        vars={"NAME": "front"},
        services=[{"binding": "TOOLS", "service": "tools"}],
        **classes("Room"),
    )
    with World(front, beside=[tools]) as world:
        yield world


def room(world, name="a"):
    return world.namespace("Room").getByName(name)


def test_patches_of_env_stay_with_the_caller(world):
    assert room(world).names() == ["patched", "tools", "front", "tools"]


def test_context_variables_stay_with_the_caller(world):
    assert room(world).variables() == ["room", "nobody", "nobody"]
    assert room(world).goes_on() == [["tools", "nobody"]] * 2


def test_patches_of_concurrent_events_do_not_mix(world):
    async def text(path):
        response = await world.fetch(f"/{path}")
        return await response.text()

    async def body():
        return await asyncio.gather(*[text(path) for path in ["patch1", "plain", "patch2", "plain", "patch3"]])

    assert world.run(body()) == [
        "patch1 front tools",
        "front",
        "patch2 front tools",
        "front",
        "patch3 front tools",
    ]


def test_a_body_that_is_made_while_it_is_read_runs_where_it_comes_from(world):
    assert room(world).streamed() == "tools nobody," * 3
    assert room(world).own() == "front room," * 3
    assert world.run(world.fetch("/passed").text()) == "tools nobody," * 3
    assert world.run(world.fetch("/own").text()) == "front own," * 3


def test_a_body_of_an_object_that_goes_to_a_service_is_made_in_its_turns(world):
    assert room(world).sends() == "01234"


def test_a_service_is_not_asked_for_what_is_not_durable(world, seen):
    room(world).keep(lambda: 1)
    with pytest.raises(PerdureError, match="reset"):
        room(world).asks_and_is_reset()
    room(world).keep(lambda: 1)
    room(world).asks_and_takes_it_back()
    assert seen.noted == ["cancelled"]
    gc.collect()
    world.settle()
    assert world.network.exports_of(world._process(room(world))).count == 0


def test_a_service_that_an_object_waits_for_is_cancelled_when_that_is_reset(world, seen):
    with pytest.raises(PerdureError, match="reset"):
        room(world).slow_and_reset()
    world.advance(seconds=40)
    assert seen.noted == ["cancelled"]
    gc.collect()
    world.settle()
    assert {found.count for found in world.network._exports.values()} == {0}
