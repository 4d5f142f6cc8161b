"""`stub.fetch(url, signal=…)`: the signal of a fetch of an object or a service (spec: sdk, fetch)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.sdk import js
from perdure.sdk.response import Response
from perdure.sdk.workers import DurableObject
from perdure.testing import World


class Room(DurableObject):
    asked = 0
    ended: list[str] = []

    async def fetch(self, request):
        Room.asked += 1
        path = request.url.rpartition("/")[2]
        if path == "hang":
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                Room.ended.append("cancelled")
                raise
        if path == "endless":
            return Response(_endless())
        if path == "away":
            return Response.redirect("http://room/hang")
        return Response(path)

    async def through(self, path):
        """Asks another object, and gives up after a second."""
        controller = js.AbortController.new()

        async def later():
            await asyncio.sleep(1)
            controller.abort(ValueError("enough"))

        self.ctx.waitUntil(later())
        other = self.env.Room.getByName("other")
        try:
            response = await other.fetch(f"http://room/{path}", signal=controller.signal)
            return await response.text()
        except ValueError as error:
            return f"aborted: {error}"


async def _endless():
    while True:
        yield b"x"
        await asyncio.sleep(0.1)


@pytest.fixture
def room():
    Room.asked, Room.ended = 0, []
    with World(Room) as world:
        yield world, world.namespace("Room").getByName("a")


def test_one_that_has_fired_lets_nothing_leave(room) -> None:
    world, stub = room

    async def body() -> None:
        with pytest.raises(Exception, match="AbortError: The operation was aborted"):
            await stub.fetch("http://room/x", signal=js.AbortSignal.abort())
        assert Room.asked == 0
        signal = js.AbortController.new().signal
        assert await (await stub.fetch("http://room/x", signal=signal)).text() == "x"

    world.run(body())


@pytest.mark.parametrize("path", ["hang", "away"])
def test_one_that_fires_ends_what_was_asked_for(room, path) -> None:
    world, stub = room

    async def body() -> None:
        controller = js.AbortController.new()
        asking = asyncio.ensure_future(stub.fetch(f"http://room/{path}", signal=controller.signal))
        await world.advance(seconds=1)
        controller.abort(ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            await asking
        await world.advance(seconds=1)
        assert Room.ended == ["cancelled"]

    world.run(body())


def test_one_that_fires_ends_the_body(room) -> None:
    world, stub = room

    async def body() -> None:
        controller = js.AbortController.new()
        response = await stub.fetch("http://room/endless", signal=controller.signal)
        reader = response.body.getReader()
        assert (await reader.read()).value == b"x"
        controller.abort(ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            while True:
                await reader.read()

    world.run(body())


@pytest.mark.parametrize("path", ["hang", "endless", "away"])
def test_of_an_object(room, path) -> None:
    world, stub = room

    async def body() -> None:
        assert await stub.through(path) == "aborted: enough"
        assert await stub.through("x") == "x"

    world.run(body())


def test_who_is_cancelled_itself_is_not_told_of_the_signal(room) -> None:
    world, stub = room

    async def body() -> None:
        controller = js.AbortController.new()

        async def ask():
            await stub.fetch("http://room/hang", signal=controller.signal)

        asking = asyncio.ensure_future(ask())
        await world.advance(seconds=1)
        asking.cancel()
        controller.abort(ValueError("enough"))
        with pytest.raises(asyncio.CancelledError):
            await asking

    world.run(body())
