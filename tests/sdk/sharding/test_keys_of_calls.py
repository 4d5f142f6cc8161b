"""Idempotency keys of calls through a map: they move with what their key has."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import InvalidArgument, Overloaded, PerdureError
from perdure.router.retries import with_key
from perdure.sdk.sharding import kept_answers
from perdure.testing import World, simulate

from .program import CLASSES, by_map
from .test_growing import KEYS, grown


@pytest.fixture
def world():
    with World(CLASSES, shards=2) as world:
        yield world


def test_a_repeat_gets_the_first_answer_also_where_its_key_has_moved(world) -> None:
    counters = by_map(world)

    async def body() -> None:
        for key in KEYS:
            assert await with_key(counters.at(key), "a").add(2) == 2
            assert await with_key(counters.at(key), "b").add(2) == 4
        await grown(counters, 4)
        fresh = by_map(world)
        for key in KEYS:
            assert await with_key(fresh.at(key), "a").add(2) == 2
            assert await fresh.at(key).get() == 4
        assert sum(await fresh.gather("total")) == 4 * len(KEYS)
        await grown(counters, 8)
        for key in KEYS:
            assert await with_key(fresh.at(key), "b").add(2) == 4

    world.run(body())


def test_errors_are_answers(world) -> None:
    counters = by_map(world)

    async def body() -> None:
        for _ in range(2):
            with pytest.raises(PerdureError, match="as asked for ann") as caught:
                await with_key(counters.at("ann"), "a").fail()
            assert caught.value.remote
            await grown(counters, 4)

    world.run(body())


def test_a_key_is_for_one_call(world) -> None:
    counters = by_map(world)

    async def body() -> None:
        await with_key(counters.at("ann"), "a").add(1)
        await with_key(counters.at("bob"), "a").add(1)  # another key's
        for method, args in (("add", (2,)), ("get", ())):
            with pytest.raises(InvalidArgument, match="was used for another call"):
                await getattr(with_key(counters.at("ann"), "a"), method)(*args)
        for bad in ("", "x" * 257, 7):
            with pytest.raises(InvalidArgument, match="1 to 256 characters"):
                with_key(counters.at("ann"), bad)

    world.run(body())


def test_a_repeat_waits_for_the_first(world) -> None:
    counters = by_map(world)

    async def body() -> None:
        await asyncio.gather(*[with_key(counters.at("ann"), "a").slowly(1) for _ in range(3)])
        assert await counters.at("ann").get() == 1

    world.run(body())


def test_answers_are_forgotten_after_a_day_and_bounded(world, monkeypatch) -> None:
    monkeypatch.setattr(kept_answers, "ANSWERS_MAX", 2)
    monkeypatch.setattr(kept_answers, "ANSWER_BYTES_MAX", 100)
    counters = by_map(world)

    async def body() -> None:
        for number in range(2):
            await with_key(counters.at("ann"), f"{number}").say("x" * 200)
        with pytest.raises(Overloaded, match="Too many idempotency keys"):
            await with_key(counters.at("ann"), "more").say("x")
        assert await with_key(counters.at("ann"), "0").say("x" * 200) is None
        await world.advance(days=1, seconds=1)
        assert await with_key(counters.at("ann"), "more").last(1) == ["x" * 200]
        with pytest.raises(InvalidArgument, match="has run; its answer was too large"):
            await with_key(counters.at("ann"), "more").last(1)

    world.run(body())


@simulate(program=CLASSES, shards=2, seeds=25)
async def test_what_is_repeated_until_it_is_heard_counts_once_whatever_dies(world) -> None:
    counters = by_map(world)

    async def write(keys, writer):
        for number in range(3):
            for key in keys:
                for _ in range(400):
                    try:
                        await with_key(counters.at(key), f"{writer} {number}").add(1)
                        break
                    except PerdureError:
                        await asyncio.sleep(0.3)
                else:
                    raise AssertionError("nobody answers")

    await asyncio.gather(grown(counters, 4), *[write(KEYS[:6], writer) for writer in range(2)])
    for key in KEYS[:6]:
        for _ in range(100):
            try:
                assert await counters.at(key).get() == 6
                break
            except PerdureError:
                await asyncio.sleep(0.3)
