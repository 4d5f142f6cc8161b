"""tilt: codes lead to rooms for a while, phones move the marbles of one screen, scores come back."""

from __future__ import annotations

import json
import secrets

import pytest
from perdure.testing.clients import ConnectionRefused

from ..sdk.resuming.world_client import told
from .stage import LATE, ask, example


async def join(world, room: str, role: str, key: str = ""):
    socket = await world.connect(f"/room/{room}/live?as={role}&key={key or secrets.token_hex(4)}")
    socket.send(json.dumps({"hello": 1, "client": "c", "log": None, "cursor": None}))
    return socket


@example("tilt")
async def test_codes_expire_by_alarm(world) -> None:
    hub = world.namespace("Hub").getByName("hub")
    _, first = await ask(world, "POST /rooms")
    assert len(first["code"]) == 4
    assert not set(first["code"]) & set("0O1IL2Z5S68BQU")
    await world.advance(minutes=5)
    _, second = await ask(world, "POST /rooms")
    typed = first["code"].lower()
    assert (await ask(world, f"GET /codes/%20{typed[:2]}%20{typed[2:]}"))[1] == {"room": first["room"]}
    assert first["room"] != second["room"]
    await world.advance(minutes=5, **LATE)
    assert (await ask(world, f"GET /codes/{first['code']}"))[0] == 404
    assert (await ask(world, f"GET /codes/{second['code']}"))[0] == 200
    assert await world.storage(hub).sql("select code from codes") == [{"code": second["code"]}]
    await world.crash(hub)
    await world.advance(minutes=5, **LATE)
    assert await world.storage(hub).sql("select code from codes") == []
    assert await world.storage(hub).alarm() is None


@example("tilt")
async def test_what_a_phone_feels_moves_its_marble(world) -> None:
    screen = await join(world, "r", "screen")
    one, two = await join(world, "r", "pad"), await join(world, "r", "pad")
    assert (await told(one, "you"), await told(two, "you")) == (1, 2)
    while [pad["id"] for pad in await told(screen, "pads")] != [1, 2]:
        pass
    two.send(json.dumps({"data": [-100, 40]}))
    assert await told(screen, "tilt") == [-100, 40]
    two.send(json.dumps({"data": [101, 0]}))  # no such tilt
    one.send(json.dumps({"data": {"scores": {"1": 99}}}))  # pads keep no scores
    screen.send(json.dumps({"data": {"scores": {"1": 2}}}))
    assert await told(one, "scores") == {"1": 2}
    assert screen.received == []
    one.vanish()
    assert [pad["id"] for pad in await told(screen, "pads")] == [2]
    three = await join(world, "r", "pad")
    assert await told(three, "you") == 3  # one that nobody had


@example("tilt")
async def test_who_comes_back_is_who_they_were(world) -> None:
    screen = await join(world, "r", "screen")
    ann, ben = await join(world, "r", "pad", "ann"), await join(world, "r", "pad", "ben")
    assert (await told(ann, "you"), await told(ben, "you")) == (1, 2)
    again = await join(world, "r", "pad", "ben")  # before anybody knows that the other connection is dead
    assert await told(again, "you") == 2
    assert await ben.closed() == (1000, "continued elsewhere")
    for socket in (ann, again):
        socket.vanish()
    await world.settle()
    assert await told(await join(world, "r", "pad", "ben"), "you") == 2
    assert await told(await join(world, "r", "pad", "ann"), "you") == 1
    while [pad["id"] for pad in await told(screen, "pads")] != [1, 2]:
        pass


@example("tilt")
async def test_a_room_wakes_and_knows_its_roles(world) -> None:
    screen, pad = await join(world, "r", "screen"), await join(world, "r", "pad")
    await world.advance(seconds=30)
    room = world.namespace("Room").getByName("r")
    assert world.state(room) == "cold"
    await world.crash(room)
    pad.send(json.dumps({"data": [1, 1]}))
    assert await told(screen, "tilt") == [1, 1]


@example("tilt")
async def test_a_room_has_twelve_pads(world) -> None:
    for _ in range(12):
        await join(world, "r", "pad")
    for role in ("pad", "guest"):
        with pytest.raises(ConnectionRefused):
            await join(world, "r", role)
    await join(world, "r", "screen")


@example("tilt")
async def test_doors(world) -> None:
    assert "<title>Tilt" in (await ask(world, "GET /"))[1]
    assert "controller" in (await ask(world, "GET /play/ABCD"))[1]
    assert (await ask(world, "GET /codes/ABCD"))[0] == 404
    assert (await ask(world, "GET /nothing"))[0] == 404
