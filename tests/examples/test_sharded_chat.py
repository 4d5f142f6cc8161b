"""sharded-chat: what was said is in the history, and each listener hears it once and in order, whatever dies."""

from __future__ import annotations

import asyncio
import json

from perdure.engine.errors import PerdureError
from perdure.testing import simulate

from .stage import EXAMPLES, ask, example
from .test_over_crashes import insist


async def say(world, room: str, text: str) -> tuple[int, object]:
    return await ask(world, f"POST /room/{room}/say?by=ann", text)


async def texts(world, room: str, query: str = "") -> list[str]:
    status, found = await ask(world, f"GET /room/{room}/history{query}")
    assert status == 200
    assert [message["number"] for message in found] == sorted({message["number"] for message in found})
    return [message["text"] for message in found]


async def hear(world, room: str, into: list[dict], outlet: int) -> None:
    """As a browser: it comes back with the number of the last message. Of an outlet: a world's `fetch` reads whole bodies."""
    while True:
        try:
            last = into[-1]["number"] if into else 0
            stub = world.namespace("Outlet").getByName(f"{room}/{outlet}")
            live = await stub.fetch(f"http://outlet/{room}/{last}")
            async for chunk in live.body:
                into += [json.loads(line[6:]) for line in chunk.decode().splitlines() if line.startswith("data: ")]
        except PerdureError:
            await asyncio.sleep(1)


@example("sharded-chat")
async def test_history_by_range_over_days_and_shards(world) -> None:
    for day in range(3):
        for number in range(30):
            assert (await say(world, "lobby", f"{day}/{number}"))[0] == 200
        await world.advance(days=1)
    await say(world, "lobbyists", "next door")
    found = await texts(world, "lobby")
    assert found == [f"1/{number}" for number in range(10, 30)] + [f"2/{number}" for number in range(30)]
    _, rows = await ask(world, "GET /room/lobby/history")
    assert await texts(world, "lobby", f"?before={rows[0]['number']}") == [
        *(f"0/{number}" for number in range(30)),
        *(f"1/{number}" for number in range(10)),
    ]
    room_map = world.namespace("RoomMap").getByName("rooms")
    status = await room_map.status()
    shard = next(shard["name"] for shard in status["shards"] if shard["low"] == "h")
    assert await room_map.split(shard) is not None  # the room's days part
    await world.crash(room_map)
    await world.advance(seconds=8)
    assert len((await room_map.status())["shards"]) == 4
    assert await texts(world, "lobby") == found
    await world.advance(days=8)
    assert await texts(world, "lobby") == []


@example("sharded-chat")
async def test_each_listener_hears_everything_once(world) -> None:
    heard: list[list[dict]] = [[] for _ in range(6)]
    listeners = [asyncio.ensure_future(hear(world, "lobby", into, at % 4)) for at, into in enumerate(heard)]
    await world.settle()
    said = []
    for number in range(12):
        if number == 4:
            await world.crash(0)
        if number == 8:
            await world.crash(1)
        said.append((await insist(world, "POST /room/lobby/say?by=ann", str(number)))[1])
    await world.advance(seconds=15)
    for into in heard:
        assert [message["text"] for message in into if message["number"] in said] == [
            str(number) for number in range(12)
        ]
        numbers = [message["number"] for message in into]
        assert numbers == sorted(set(numbers))
    for listener in listeners:
        listener.cancel()


@example("sharded-chat")
async def test_what_is_refused_and_the_page(world) -> None:
    for what in (
        "GET /room//history",
        "GET /room/a/history?before=x",
        f"GET /room/{'r' * 61}/history",
        "GET /room/a%00/history",
    ):
        assert (await ask(world, what))[0] == 400, what
    assert (await ask(world, "GET /"))[0] == 404
    assert "<h1" in await (await world.fetch("/room/lobby")).text()


@simulate(program=f"{EXAMPLES}/sharded-chat", shards=2, seeds=20)
async def test_what_was_said_is_there_in_order(world) -> None:
    said = [str(number) for number in range(8) if (await say(world, "lobby", str(number)))[0] == 200]
    found = [message["text"] for message in (await insist(world, "GET /room/lobby/history"))[1]]
    assert [text for text in found if text in said] == said
