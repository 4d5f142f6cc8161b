"""`limits.subrequests`: fetches and calls of one event (spec: config)."""

from __future__ import annotations

import json

import pytest
from perdure.engine.errors import ConfigError, SubrequestsExceeded
from perdure.sdk import config
from perdure.sdk.response import Response
from perdure.testing import World

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint, fetch

class Room(DurableObject):
    async def hello(self):
        return "hello"

    async def calls(self, count):
        other = self.env.ROOM.getByName("other")
        return [await other.hello() for _ in range(count)]

    async def mixed(self):
        other = self.env.ROOM.getByName("other")
        await other.hello()
        await self.env.SELF.note()
        await other.fetch("http://x/")
        return "three"

    async def in_a_task(self):
        async def one():
            await self.calls(2)
        await asyncio.gather(one(), one())

    async def outside(self, url):
        return await (await fetch(url)).text()

    async def swallowed(self):
        try:
            await self.calls(9)
        except Exception as error:
            return str(error)

    async def fetch(self, request):
        return Response("here")

    async def arm(self, count):
        await self.ctx.storage.setAlarm(10**15)
        return len(await self.calls(count))

    async def alarm(self):
        await self.ctx.storage.put("calls", len(await self.calls(3)))

    async def ran(self):
        return await self.ctx.storage.get("calls")

class Default(WorkerEntrypoint):
    async def note(self):
        return len(await self.env.ROOM.getByName("a").calls(3))

    async def fetch(self, request):
        count, room = int(request.url.rpartition("/")[2]), self.env.ROOM.getByName("a")
        calls = [room.hello() for _ in range(count)]
        return Response(",".join(await asyncio.gather(*calls)))
"""
BOUND = {"services": [{"binding": "SELF", "service": "w"}]}
BOUND |= {"durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]}}


def _write(folder, limits: object) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "entry.py").write_text(PROGRAM)
    keys = {"name": "w", "main": "entry.py", **BOUND, "limits": limits}
    (folder / "wrangler.json").write_text(json.dumps(keys))
    return str(folder / "wrangler.json")


@pytest.fixture
def world(tmp_path):
    with World(_write(tmp_path, {"subrequests": 3})) as world:
        yield world


@pytest.fixture
def room(world):
    return world.namespace("Room").getByName("a")


def test_an_event_of_an_object_may_make_as_many_calls_and_no_more(world, room) -> None:
    async def body() -> None:
        for _ in range(2):  # each event has its own count
            assert await room.calls(3) == ["hello"] * 3
        with pytest.raises(SubrequestsExceeded, match=r"Too many subrequests.*may make 3") as caught:
            await room.calls(4)
        assert caught.value.remote
        assert "limits.subrequests" in caught.value.hint
        assert await room.calls(3) == ["hello"] * 3

    world.run(body())


def test_calls_of_objects_services_and_fetches_count_together(world, room) -> None:
    async def body() -> None:
        assert await room.mixed() == "three"
        with pytest.raises(SubrequestsExceeded):
            await room.in_a_task()
        assert "Too many subrequests" in await room.swallowed()

    world.run(body())


def test_each_request_of_a_chain_of_redirects_counts(world, room) -> None:
    asked = []

    def answer(request):
        asked.append(request.url)
        left = int(request.url.rpartition("/")[2])
        return Response.redirect(f"http://away/{left - 1}") if left else "there"

    world.on_fetch("http://away/", answer)

    async def body() -> None:
        assert await room.outside("http://away/2") == "there"
        with pytest.raises(SubrequestsExceeded, match="Too many subrequests"):
            await room.outside("http://away/3")
        assert len(asked) == 6  # the fourth has not left

    world.run(body())


def test_a_request_of_the_worker_has_its_own_count(world) -> None:
    async def body() -> None:
        for _ in range(2):
            assert await (await world.fetch("/3")).text() == "hello,hello,hello"
        assert (await world.fetch("/4")).status == 500

    world.run(body())


def test_an_alarm_is_an_event(world, room) -> None:
    async def body() -> None:
        assert await room.arm(3) == 3
        await world.run_alarm(room)
        assert await room.ran() == 3

    world.run(body())


def test_without_a_bound_nothing_is_counted(tmp_path) -> None:
    with World(_write(tmp_path, {})) as world:
        assert world.run(world.fetch("/200").text()) == ",".join(["hello"] * 200)


@pytest.mark.parametrize("value", [0, -1, "7", True, 1.5])
def test_other_values_are_refused(tmp_path, value) -> None:
    with pytest.raises(ConfigError, match="subrequests"):
        config.read(_write(tmp_path, {"subrequests": value}))
    assert config.read(_write(tmp_path, {"subrequests": 50})).subrequests_max == 50
