"""queue: each message is delivered at least once, in batches, and what fails too often is kept apart."""

from __future__ import annotations

import asyncio

from perdure.engine.errors import PerdureError
from perdure.testing import simulate

from .stage import EXAMPLES, ask, example


async def look(world) -> dict[str, object]:
    status, found = await ask(world, "GET /queue/q")
    assert status == 200
    return found


@example("queue")
async def test_messages_wait_for_a_batch_and_a_full_one_goes_at_once(world) -> None:
    assert await ask(world, "POST /queue/q", "a") == (200, 1)
    await world.advance(milliseconds=900)
    assert await look(world) == {"waiting": 1, "dead": [], "consumed": []}
    await world.advance(milliseconds=200)
    assert await look(world) == {"waiting": 0, "dead": [], "consumed": ["a"]}
    for number in range(10):
        await ask(world, "POST /queue/q", f"n{number}")
    await world.advance(milliseconds=10)
    assert (await look(world))["consumed"] == [*(f"n{number}" for number in reversed(range(10))), "a"]


@example("queue")
async def test_delays(world) -> None:
    await ask(world, "POST /queue/q?delay_s=60", "later")
    await world.advance(seconds=60)
    assert (await look(world))["waiting"] == 1
    await world.advance(seconds=2)
    assert (await look(world))["consumed"] == ["later"]


@example("queue")
async def test_what_fails_too_often_is_dead_until_somebody_says_otherwise(world) -> None:
    await ask(world, "POST /queue/q", "bad news")
    await ask(world, "POST /queue/q", "good news")
    await world.advance(seconds=2)
    assert await look(world) == {"waiting": 1, "dead": [], "consumed": ["good news"]}
    await world.advance(seconds=30)
    assert await look(world) == {"waiting": 0, "dead": ["bad news"], "consumed": ["good news"]}
    assert await ask(world, "POST /queue/q/retry") == (200, 1)
    assert (await look(world))["waiting"] == 1
    assert await ask(world, "GET /other") == (404, "try POST /queue/NAME\n")


@simulate(program=f"{EXAMPLES}/queue", shards=2, seeds=50)
async def test_every_message_arrives_whatever_crashes(world) -> None:
    queue = world.namespace("Queue").getByName("q")
    sent = []
    for body in ("a", "b", "c"):
        while True:
            try:
                await queue.send(body, 0)
                sent.append(body)
                break
            except PerdureError as error:
                assert error.retryable
                await asyncio.sleep(0.1)
    await world.advance(seconds=60)
    status, found = await ask(world, "GET /queue/q")
    while status == 503:  # a kill may come as late as here
        await world.advance(seconds=1)
        status, found = await ask(world, "GET /queue/q")
    assert {*found["consumed"]} == {*sent}
    assert found["waiting"] == 0
