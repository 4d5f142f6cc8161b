"""Spreading without a map, positions and spans, and what decides that a shard is hot."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.errors import InvalidArgument, PerdureError
from perdure.sdk.sharding.by_key import chosen
from perdure.sdk.sharding.hot import Counted
from perdure.sdk.sharding.positions import HASHED, SORTED, cover, evenly, index_of, meet, middle, position_of, within
from perdure.sdk.sharding.spreading import spread
from perdure.sharding import ByKey, Load, RoundRobin, SplitPolicy
from perdure.testing import World, simulate
from perdure.testing.virtual import run

from .program import CLASSES, patiently

positions = st.text("abc", max_size=3)


def in_a_world(script):
    async def inside():
        async with World(CLASSES, shards=2) as world:
            await script(world)

    run(inside())


# ---------------------------------------------------------------------- round robin, by key
def test_round_robin_goes_round() -> None:
    async def script(world: World) -> None:
        shards = RoundRobin(world.namespace("Plain"), shards=4)
        for _ in range(12):
            await shards.next().add()
        assert await shards.gather("total") == [3, 3, 3, 3]
        assert await shards.map(lambda stub: stub.add(2), concurrency=1) == [5, 5, 5, 5]

    in_a_world(script)


def test_where_the_round_begins_is_left_to_chance() -> None:
    async def script(world: World) -> None:
        first = [RoundRobin(world.namespace("Plain"), 4, rng=lambda at=at: at / 4).next().name for at in range(4)]
        assert first == ["shard-0", "shard-1", "shard-2", "shard-3"]

    in_a_world(script)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=50, unique=True), st.integers(1, 12))
def test_one_shard_more_moves_keys_to_it_only(keys, count) -> None:
    names = [f"shard-{number}" for number in range(count + 1)]
    for key in keys:
        assert chosen(key, names) in (chosen(key, names[:count]), names[-1])


def test_keys_are_spread_evenly() -> None:
    names = [f"shard-{number}" for number in range(8)]
    counts = Counter(chosen(f"user {number}", names) for number in range(4_000))
    assert set(counts) == set(names)
    assert max(counts.values()) < 600


def test_a_key_stays_with_its_object() -> None:
    """These are kept in data folders by now: another answer would lose data."""
    assert [chosen(key, [f"shard-{number}" for number in range(8)]) for key in ("ann", "ben", "ü")] == WHERE


WHERE = ["shard-1", "shard-0", "shard-3"]


def test_by_key_reaches_it() -> None:
    async def script(world: World) -> None:
        shards = ByKey(world.namespace("Plain"), shards=4, name="of ")
        assert shards.at("ann").name == shards.name_of("ann")
        assert shards.name_of("ann").startswith("of ")
        assert await shards.at("ann").add() == 1
        assert await shards.at("ann").add() == 2
        with pytest.raises(InvalidArgument, match="a key is a text, got int"):
            shards.at(7)
        for count in (0, -1, 4_097, "4"):
            with pytest.raises(InvalidArgument, match="the number of shards"):
                ByKey(world.namespace("Plain"), shards=count)

    in_a_world(script)


# ---------------------------------------------------------------------- concurrency
def test_no_more_at_a_time_than_asked_for_and_one_failure_ends_all() -> None:
    async def script() -> None:
        running = most = 0
        ended: list[int] = []

        async def work(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(1)
                if number == 7:
                    raise PerdureError("seven")
                return number * number
            finally:
                running -= 1
                ended.append(number)

        assert await spread(range(7), work, 3) == [number * number for number in range(7)]
        assert most == 3
        with pytest.raises(PerdureError, match="seven"):
            await spread(range(100), work, 4)
        await asyncio.sleep(0)
        assert running == 0
        assert len(ended) < 20
        with pytest.raises(InvalidArgument, match="concurrency"):
            await spread(range(3), work, 0)
        assert await spread([], work) == []

    run(script())


# ---------------------------------------------------------------------- positions
@given(st.integers(1, 50), st.text(min_size=1, max_size=9).filter(lambda text: "\0" not in text))
def test_a_position_is_in_one_of_even_spans(count, key) -> None:
    lows = evenly(count)
    spans = list(zip(lows, [*lows[1:], None], strict=True))
    assert cover(spans, ("", None))
    position = position_of(key, HASHED)
    assert [at for at, span in enumerate(spans) if within(position, span)] == [index_of(position, lows)]
    assert position_of(key, SORTED) == key


@given(st.lists(st.tuples(positions, st.none() | positions), max_size=5), positions, st.none() | positions)
def test_cover_means_each_position_once(spans, low, high) -> None:
    if high is not None and high <= low:
        return
    ordered = sorted((span for span in spans if meet(span, (low, high))), key=lambda span: span[0])
    space = [a + b + c for a in ("", "a", "b", "c") for b in ("", "a", "b", "c") for c in ("", "a", "b", "c", "cc")]
    if cover(ordered, (low, high)):
        for position in space:
            if within(position, (low, high)):
                assert sum(within(position, span) for span in ordered) == 1


def test_middles() -> None:
    assert middle(("", None)) == "8" + "0" * 15
    assert middle(("8" + "0" * 15, None)) == "c" + "0" * 15
    assert middle(("0" * 16, "0" * 15 + "1")) is None


# ---------------------------------------------------------------------- hot
def test_what_is_hot_and_where_it_is_split() -> None:
    counted = Counted()
    looked = [counted.call("abcd"[at % 4], at // 100) for at in range(1_000)]
    assert sum(looked) == 9  # once a second, when one is over
    assert counted.per_s(10) == 100
    assert counted.middle("") == "c"
    assert counted.per_s(30) == 0
    lopsided = Counted()
    for at in range(100):
        lopsided.call("a" if at % 10 else "b", 0)
    assert lopsided.middle("") == "b"
    alone = Counted()
    alone.call("a", 0)
    assert alone.middle("") is None


def test_the_policy_has_bounds() -> None:
    policy = SplitPolicy(calls_per_s_max=100, shards_max=4, rest_s=10)
    hot = Load("m:0", 101, "7")
    assert policy.where(hot, 3, 11) == "7"
    assert policy.where(hot, 4, 11) is None
    assert policy.where(hot, 3, 9) is None
    assert policy.where(Load("m:0", 100, "7"), 3, 11) is None
    with pytest.raises(InvalidArgument):
        SplitPolicy(calls_per_s_max=0)


# ---------------------------------------------------------------------- the aggregator
def test_the_sum_is_collected_while_somebody_asks() -> None:
    async def script(world: World) -> None:
        totals = world.namespace("Totals").getByName("all")
        shards = RoundRobin(world.namespace("Plain"), shards=4)
        await shards.gather("add", 5)
        first = await totals.total()
        assert first["total"] == 20
        await shards.next().add()
        assert (await totals.total())["total"] == 20  # not older than two seconds
        await world.advance(seconds=2.5)
        assert (await totals.total())["total"] == 21
        await world.advance(seconds=30)
        assert await world.storage(totals).alarm() is None  # nobody asks: nobody works
        await shards.next().add()
        assert (await totals.total())["total"] == 22

    in_a_world(script)


def test_a_shard_that_is_away_leaves_the_old_sum() -> None:
    async def script(world: World) -> None:
        totals = world.namespace("Totals").getByName("all")
        shards = RoundRobin(world.namespace("Plain"), shards=4)
        await shards.gather("add", 5)
        at_ms = (await totals.total())["at_ms"]
        away = next(stub for stub in shards.stubs() if world.shard_of(stub) != world.shard_of(totals))
        await world.crash(away, restart=False)
        await world.advance(seconds=2.5)
        assert await totals.total() == {"total": 20, "at_ms": at_ms}
        await world.restart(away)
        await world.advance(seconds=3)
        assert (await totals.total())["at_ms"] > at_ms

    in_a_world(script)


@simulate(program=CLASSES, shards=2, seeds=40)
async def test_the_sum_is_never_more_than_asked_and_never_less_than_heard_before(world) -> None:
    shards = RoundRobin(world.namespace("Plain"), shards=4)
    totals = world.namespace("Totals").getByName("all")
    asked = heard = 0
    for _ in range(12):
        asked += 1
        try:
            await shards.next().add()
            heard += 1
            assert (await totals.total())["total"] <= asked
        except PerdureError:
            await asyncio.sleep(0.5)
        await world.advance(seconds=1)
    await world.advance(seconds=10)
    assert heard <= (await patiently(totals.total))["total"] <= asked
