"""sharded-counter: counts are exact while shards split and die."""

from __future__ import annotations

import asyncio

from perdure.testing import simulate

from .stage import EXAMPLES, ask, example
from .test_over_crashes import insist

KEYS = [f"key%20{number}" for number in range(10)]


@example("sharded-counter")
async def test_counting_and_growing(world) -> None:
    for number, key in enumerate(KEYS):
        assert await ask(world, f"POST /count/{key}?by={number}") == (200, number)
    assert await ask(world, "GET /total") == (200, 45)
    assert await ask(world, "POST /grow") == (202, 4)
    assert await ask(world, "GET /total") == (200, 45)  # also in the middle
    await world.crash(world.namespace("CountMap").getByName("counts"))
    await world.advance(seconds=8)
    status, found = await ask(world, "GET /shards")
    assert (status, found["splits"], len(found["shards"])) == (200, [], 4)
    assert (sum(shard["keys"] for shard in found["shards"]), sum(shard["total"] for shard in found["shards"])) == (
        10,
        45,
    )
    assert [(await ask(world, f"GET /count/{key}"))[1] for key in KEYS] == list(range(10))
    assert await ask(world, f"POST /count/{KEYS[0]}") == (200, 1)
    assert await ask(world, "GET /count/unknown") == (200, 0)


@example("sharded-counter")
async def test_what_is_refused_and_the_page(world) -> None:
    for what in ("POST /count/", "POST /count/a%00b", "POST /count/a?by=x", f"POST /count/{'k' * 101}", "GET /x"):
        assert (await ask(world, what))[0] == 404, what
    assert "<h1>" in await (await world.fetch("/")).text()


@example("sharded-counter")
async def test_many_calls_split_a_shard(world) -> None:
    for _ in range(8):
        await asyncio.gather(*[ask(world, f"POST /count/{KEYS[at % 10]}") for at in range(1_800)])
        await world.advance(seconds=1)
    await world.advance(seconds=3)
    _, found = await ask(world, "GET /shards")
    assert len(found["shards"]) > 2
    assert await ask(world, "GET /total") == (200, 8 * 1_800)


@simulate(program=f"{EXAMPLES}/sharded-counter", shards=2, seeds=25)
async def test_no_acknowledged_count_is_lost(world) -> None:
    heard = 0

    async def write(keys: list[str]) -> None:
        nonlocal heard
        for key in keys * 2:
            heard += (await ask(world, f"POST /count/{key}"))[0] == 200

    await asyncio.gather(write(KEYS[:5]), write(KEYS[5:]), insist(world, "POST /grow"))
    await world.advance(minutes=1)
    found = (await insist(world, "GET /total"))[1]
    assert heard <= found <= 20
    assert found == sum([(await insist(world, f"GET /count/{key}"))[1] for key in KEYS])
