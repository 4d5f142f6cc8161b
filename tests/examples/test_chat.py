"""chat: what is said is heard once and in order, kept, and not lost over dead connections; who is there is known."""

from __future__ import annotations

import asyncio
import json

from perdure.resuming import Client, Message, Reset
from perdure.testing import simulate

from ..sdk.resuming.world_client import dialler, heard, told
from .stage import EXAMPLES, ask, example

LIVE = "/room/x/live?name="


async def hello(world, name: str, **position):
    """A client by hand; its welcome."""
    socket = await world.connect(f"{LIVE}{name}")
    socket.send(json.dumps({"hello": 1, "client": name, "log": None, "cursor": None, **position}))
    while "welcome" not in (found := json.loads(await socket.receive())):
        pass
    return socket, found


@example("chat")
async def test_two_people_talk(world) -> None:
    async with Client(dial=dialler(world, f"{LIVE}Ann")) as ann, Client(dial=dialler(world, f"{LIVE}Ben")) as ben:
        await ann.became("live")
        await ben.became("live")
        await ann.send({"say": "hello"})
        await ben.send({"say": "hello Ann"})
        await ann.send({"say": "  "})  # says nothing
        for client in (ann, ben):
            await client.flushed()
            said = [message.data for message in await heard(client, kept=2)]
            assert [(row["number"], row["by"], row["text"]) for row in said] == [
                (1, "Ann", "hello"),
                (2, "Ben", "hello Ann"),
            ]
    _, history = await ask(world, "GET /room/x/history")
    assert [row["text"] for row in history] == ["hello", "hello Ann"]
    assert (await ask(world, "GET /room/x/history?before=2"))[1] == history[:1]


@example("chat")
async def test_who_is_here_and_who_is_typing(world) -> None:
    ann, _ = await hello(world, "Ann")
    ben, _ = await hello(world, "Ben")
    ann.send(json.dumps({"data": {"typing": True}}))
    assert await told(ben, "typing") == "Ann"
    await world.settle()
    assert not [text for text in ann.received if "typing" in text]
    ben.send(json.dumps({"data": {"name": "  Benjamin  the   Second "}}))
    while await told(ann, "here") != ["Ann", "Benjamin the Second"]:
        pass
    ben.vanish()
    assert await told(ann, "here") == ["Ann"]


@example("chat")
async def test_a_room_sleeps_and_knows_everybody_when_it_wakes(world) -> None:
    room = world.namespace("Room").getByName("x")
    ann, _ = await hello(world, "Ann")
    await world.advance(seconds=60)
    assert world.state(room) == "cold"
    ann.send("ping")
    while await ann.receive() != "pong":
        pass
    assert world.state(room) == "cold"  # a ping wakes nobody
    ann.send("hello")  # as a plain client
    found = json.loads(await ann.receive())["data"]
    assert (found["number"], found["by"], found["text"]) == (1, "Ann", "hello")
    await world.crash(room)
    ann.send("again")
    assert json.loads(await ann.receive())["data"]["number"] == 2


@example("chat")
async def test_a_newcomer_gets_the_last_part(world) -> None:
    ann, _ = await hello(world, "Ann")
    for number in range(60):
        ann.send(f"{number}")
    await world.settle()
    _, welcome = await hello(world, "Ben")
    assert [row["text"] for row in welcome["snapshot"]] == [f"{number}" for number in range(10, 60)]
    assert welcome["entries"] == []
    _, welcome = await hello(world, "Ann", log=welcome["log"], cursor=57)
    assert [row["text"] for row in welcome["entries"]] == ["57", "58", "59"]


@example("chat")
async def test_doors(world) -> None:
    assert (await world.fetch("/", redirect="manual")).headers.get("location") == "/room/Lobby"
    assert "<title>Chat" in (await ask(world, "GET /room/Lobby"))[1]
    assert (await ask(world, "GET /room/Lobby/live"))[0] == 426
    assert (await ask(world, f"GET /room/{'x' * 61}"))[0] == 400
    assert (await ask(world, "GET /room/x/history?before=x"))[0] == 404
    assert (await ask(world, "GET /nothing"))[0] == 404


@simulate(program=f"{EXAMPLES}/chat", shards=2, seeds=20)
async def test_nothing_is_lost_or_said_twice(world) -> None:
    """Deaths of shards at any moment, and connections that are cut."""
    cut: list = []
    dials = [dialler(world, f"{LIVE}{name}", cut) for name in ("Ann", "Ben")]
    async with Client(dial=dials[0]) as ann, Client(dial=dials[1]) as ben:
        for number in range(4):
            await ann.send({"say": f"ann {number}"})
            await ben.send({"say": f"ben {number}"})
            while cut:  # what was just sent may be on its way, or handled
                cut.pop().vanish()
            await asyncio.sleep(1)
        for client in (ann, ben):
            await client.flushed()
        for client in (ann, ben):
            texts: dict[int, str] = {}
            async for event in client:
                if isinstance(event, Reset):
                    texts = {row["number"]: row["text"] for row in event.snapshot}
                elif isinstance(event, Message) and "text" in event.data:
                    assert event.data["number"] not in texts
                    texts[event.data["number"]] = event.data["text"]
                if len(texts) == 8:
                    break
            assert list(texts) == sorted(texts)
            for who in ("ann", "ben"):
                assert [text for text in texts.values() if text.startswith(who)] == [f"{who} {n}" for n in range(4)]
