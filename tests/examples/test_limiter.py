"""limiter: a burst, a lasting rate, nothing for free."""

from __future__ import annotations

import asyncio

from .stage import ask, example, now_ms

SMALL = {"user": {"capacity": 5, "per_second": 0.5}, "address": {"capacity": 2, "per_second": 1}}


def allowed(remaining: int) -> tuple[int, object]:
    return 200, {"allowed": True, "remaining": remaining, "retry_after_ms": 0}


def denied(remaining: int, retry_after_ms: int) -> tuple[int, object]:
    return 429, {"allowed": False, "remaining": remaining, "retry_after_ms": retry_after_ms}


@example("limiter", LIMITS=SMALL)
async def test_a_burst_then_the_rate(world) -> None:
    for remaining in (4, 3, 2, 1, 0):
        assert await ask(world, "POST /take/user/ann") == allowed(remaining)
    assert await ask(world, "POST /take/user/ann") == denied(0, 2000)
    assert (await world.fetch("/take/user/ann", method="POST")).headers["retry-after"] == "2"
    assert await ask(world, "POST /take/user/ann?cost=3") == denied(0, 6000)  # what was denied took nothing
    await world.advance(milliseconds=1999)
    assert await ask(world, "POST /take/user/ann") == denied(0, 1)
    await world.advance(milliseconds=1)
    assert await ask(world, "POST /take/user/ann") == allowed(0)  # exactly when it said
    await world.advance(seconds=4)
    assert await ask(world, "GET /take/user/ann") == allowed(2)  # looking takes nothing
    assert await ask(world, "POST /take/user/ann?cost=2") == allowed(0)
    assert await ask(world, "POST /take/user/ben") == allowed(4)  # a bucket of his own
    assert await ask(world, "POST /take/address/ann") == allowed(1)  # and one of another kind


@example("limiter", LIMITS=SMALL)
async def test_never_more_than_there_is(world) -> None:
    answers = await asyncio.gather(*[ask(world, "POST /take/user/ann") for _ in range(20)])
    assert [status for status, _ in answers].count(200) == 5
    await world.crash(world.namespace("Bucket").getByName("user:ann"))
    assert (await ask(world, "POST /take/user/ann"))[0] == 429  # a crash gives nothing back
    world.step_clock(seconds=-3600)
    assert await ask(world, "POST /take/user/ann") == denied(0, 2000)
    world.step_clock(seconds=3600)
    world.step_clock(seconds=1000)  # the alarm that erases it has not come yet
    assert await ask(world, "GET /take/user/ann") == allowed(5)
    await world.advance(hours=1)
    assert await ask(world, "POST /take/user/ann") == allowed(4)  # full is full, however long nobody came


@example("limiter", LIMITS=SMALL)
async def test_a_full_bucket_is_erased(world) -> None:
    bucket = world.namespace("Bucket").getByName("user:ann")
    await ask(world, "POST /take/user/ann?cost=5")
    await world.advance(seconds=6)
    await ask(world, "POST /take/user/ann?cost=3")  # the alarm, set for 10 s, will find it half full
    erased_ms = now_ms(world) + 10_000
    await world.advance(seconds=9.9)
    assert await world.storage(bucket).list() != {}
    assert (await world.storage(bucket).alarm()).timestamp() * 1000 == erased_ms
    await world.advance(seconds=0.2)
    assert await world.storage(bucket).list() == {}
    assert await world.storage(bucket).alarm() is None


@example("limiter", LIMITS=SMALL)
async def test_what_is_no_request(world) -> None:
    assert (await ask(world, "POST /take/planet/ann"))[0] == 404
    assert (await ask(world, "POST /take/user"))[0] == 404
    assert (await ask(world, "DELETE /take/user/ann"))[0] == 404
    for cost in ("0", "6", "-1", "x", "1.5", "%C2%B2", "9" * 5000):
        assert (await ask(world, f"POST /take/user/ann?cost={cost}"))[0] == 400, cost
