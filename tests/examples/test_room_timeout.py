"""room-timeout: a room is there while somebody says something, and then nothing of it is."""

from __future__ import annotations

import asyncio

from .stage import ask, example, now_ms


def stored(world):
    return world.storage(world.namespace("Room").getByName("x"))


@example("room-timeout")
async def test_it_closes_exactly_when_nobody_has_said_anything(world) -> None:
    assert await ask(world, "POST /room/x") == (201, "open\n")
    assert await ask(world, "POST /room/x") == (200, "open\n")
    await world.advance(seconds=599)
    assert await ask(world, "POST /room/x/say?by=ann", "hi") == (200, "1\n")
    await world.advance(milliseconds=599_999)
    status, found = await ask(world, "GET /room/x")  # reading does not keep it open
    assert (status, found["closes_ms"]) == (200, now_ms(world) + 1)
    assert found["messages"] == [{"number": 1, "by": "ann", "text": "hi"}]
    await world.advance(milliseconds=1)
    for what in ("GET /room/x", "POST /room/x/say?by=ann"):
        assert (await ask(world, what, "late" if what.startswith("POST") else None))[0] == 410


@example("room-timeout")
async def test_nothing_is_left(world) -> None:
    await ask(world, "POST /room/x")
    await ask(world, "POST /room/x/say?by=ann", "secret")
    await world.advance(seconds=601)
    assert await stored(world).list() == {}
    assert await stored(world).sql("SELECT name FROM sqlite_master WHERE name = 'messages'") == []
    assert await stored(world).alarm() is None
    assert await ask(world, "POST /room/x") == (201, "open\n")
    assert (await ask(world, "GET /room/x"))[1]["messages"] == []
    assert await ask(world, "POST /room/x/say?by=ben", "new") == (200, "1\n")


@example("room-timeout")
async def test_a_message_in_the_last_moment_keeps_it_open(world) -> None:
    await ask(world, "POST /room/x")
    for number in range(1, 6):
        await world.advance(milliseconds=599_999)
        assert (await ask(world, "POST /room/x/say?by=ann", "still here"))[1] == f"{number}\n"
    await world.advance(milliseconds=1)  # when it would have closed
    assert (await ask(world, "GET /room/x"))[0] == 200


@example("room-timeout")
async def test_the_time_closes_it_also_when_the_alarm_is_late(world) -> None:
    await ask(world, "POST /room/x")
    await ask(world, "POST /room/x/say?by=ann", "old")
    world.step_clock(seconds=600)
    assert (await ask(world, "POST /room/x/say?by=ann", "late"))[0] == 410
    assert await ask(world, "POST /room/x") == (201, "open\n")
    assert (await ask(world, "GET /room/x"))[1]["messages"] == []
    await world.advance(seconds=599)  # the alarm of the old room does not close the new one
    assert (await ask(world, "GET /room/x"))[0] == 200


@example("room-timeout")
async def test_an_outage_does_not_keep_it(world) -> None:
    await ask(world, "POST /room/x")
    await ask(world, "POST /room/x/say?by=ann", "before")
    await world.lose_power()
    assert (await ask(world, "GET /room/x"))[1]["messages"][0]["text"] == "before"
    shard = world.shard_of(world.namespace("Room").getByName("x"))
    await world.crash(shard, restart=False)
    await world.advance(hours=1)
    await world.restart(shard)
    await world.advance(seconds=5)
    assert await stored(world).list() == {}


@example("room-timeout")
async def test_what_is_refused(world) -> None:
    await ask(world, "POST /room/x")
    for what, text in (("/say", "hi"), ("/say?by=", "hi"), ("/say?by=ann", ""), ("/say?by=ann", "x" * 1001)):
        assert (await ask(world, f"POST /room/x{what}", text))[0] == 400
    assert (await ask(world, "GET /room/x?after=z"))[0] == 404
    assert (await ask(world, "GET /room"))[0] == 404
    said = await asyncio.gather(*[ask(world, "POST /room/x/say?by=ann", f"m{number}") for number in range(8)])
    assert sorted(said) == [(200, f"{number}\n") for number in range(1, 9)]
    assert [row["number"] for row in (await ask(world, "GET /room/x?after=5"))[1]["messages"]] == [6, 7, 8]
