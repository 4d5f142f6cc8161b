"""A map grows while it is used: nothing is lost, nothing counts twice, whatever dies meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import InvalidArgument, MethodNotFound, PerdureError
from perdure.sharding import ByMap, ByRange, Shard
from perdure.testing import World, simulate
from perdure.testing.virtual import run

from .program import CLASSES, Counters, Map, by_map, patiently

KEYS = [f"key {number}" for number in range(12)]


async def grown(counters, to):
    await patiently(lambda: counters.map.grow(to))
    for _ in range(200):
        status = await patiently(counters.map.status)
        if len(status["shards"]) == to:
            return status
        await asyncio.sleep(0.5)
    raise AssertionError(f"it does not grow: {status}")


async def count_while_it_grows(world, classes_map="Map"):
    """Writers add while 2 shards become 4; what was acknowledged is there once, what was not at most once."""
    counters = by_map(world, kind=classes_map)
    asked = dict.fromkeys(KEYS, 0)
    heard = dict.fromkeys(KEYS, 0)

    async def write(keys):
        for _ in range(3):
            for key in keys:
                asked[key] += 1
                try:
                    await counters.at(key).add(1)
                except PerdureError:
                    await asyncio.sleep(0.2)
                else:
                    heard[key] += 1

    _, *_ = await asyncio.gather(grown(counters, 4), *[write(KEYS[at::3]) for at in range(3)])
    other = by_map(world, kind=classes_map)  # with a fresh map
    for key in KEYS:
        found = await patiently(lambda key=key: other.at(key).get()) or 0
        assert heard[key] <= found <= asked[key], f"{key}: {heard[key]} heard, {found} found, {asked[key]} asked"
    total = sum(await patiently(lambda: other.gather("total")))
    assert sum(heard.values()) <= total <= sum(asked.values())
    assert total == sum([await patiently(lambda key=key: counters.at(key).get()) or 0 for key in KEYS])


@simulate(program=CLASSES, shards=2, seeds=60)
async def test_no_count_is_lost_or_doubled(world) -> None:
    await count_while_it_grows(world)


class Forgetful(Counters):
    """A broken twin: what it gives away it does not keep calls from."""

    def _leaves(self):
        return None


class Doubling(Counters):
    """Another one: takes each part as often as it comes, and adds it."""

    def write_span(self, items):
        for item in items:
            before = self._kept.get(f"__items\0{item[0]}\0{item[1]}\0{item[2]}") or 0
            self._kept.put(f"__items\0{item[0]}\0{item[1]}\0{item[2]}", before + item[3])

    async def shard_take(self, split, number, low, high, items, order, hot):
        self._own.pop("taken", None)
        if self._own:
            self.write_span(items)
            self._own["span"] = [low, self._own["span"][1]]
            self._save()
            return
        await super().shard_take(split, number, low, high, items, order, hot)


@pytest.mark.parametrize("twin", [Forgetful, Doubling])
def test_broken_twins_are_caught(twin) -> None:
    """The same property over seeds, until it fails."""
    shown = type("Counters", (twin,), {"__module__": __name__})

    @simulate(program=[shown, Map], shards=2, seeds=200)
    async def broken(world) -> None:
        await count_while_it_grows(world)

    with pytest.raises(AssertionError, match=r"heard, \d+ found|assert"):
        broken()


def in_a_world(script):
    async def inside():
        async with World(CLASSES, shards=2) as world:
            await script(world)

    run(inside())


def test_a_map_grows_from_n_to_2n_and_an_old_copy_still_finds_its_way() -> None:
    async def script(world: World) -> None:
        counters = by_map(world)
        for number, key in enumerate(KEYS):
            assert await counters.at(key).add(number) == number
        old = by_map(world)
        assert await old.at("key 3").get() == 3
        status = await grown(counters, 4)
        assert status["epoch"] == 3
        assert status["splits"] == []
        assert [shard["low"] for shard in status["shards"]] == [
            "",
            "4000000000000000",
            "8000000000000000",
            "c000000000000000",
        ]
        assert [await old.at(key).get() for key in KEYS] == list(range(12))
        assert len(old._lows) == 4  # the first moved answer has told it
        assert sum(await counters.gather("total")) == sum(range(12))
        totals = [await world.storage(world.namespace("Counters").getByName(f"m:{at}")).list() for at in range(4)]
        kept = [name for found in totals for name in found if name.startswith("__items")]
        assert len(kept) == len(set(kept)) == 12  # no copy is left behind
        await grown(counters, 8)
        assert [await old.at(key).get() for key in KEYS] == list(range(12))

    in_a_world(script)


def test_a_call_in_progress_is_waited_for() -> None:
    async def script(world: World) -> None:
        counters = by_map(world)
        await counters.gather("total")
        waiting = [asyncio.ensure_future(counters.at(key).slowly(3)) for key in KEYS]
        await world.settle()
        await counters.map.grow(4)
        await world.advance(seconds=10)
        await asyncio.gather(*waiting)
        await grown(counters, 4)
        assert [await counters.at(key).get() for key in KEYS] == [1] * 12

    in_a_world(script)


def test_gather_is_whole_while_parts_move() -> None:
    async def script(world: World) -> None:
        counters = by_map(world)
        for key in KEYS * 4:
            await counters.at(key).add(1)
        await counters.map.grow(8)
        while (await counters.map.status())["splits"]:
            assert sum(await counters.gather("total")) == 48
            await world.advance(milliseconds=1)
        assert sum(await counters.gather("total")) == 48

    in_a_world(script)


def test_sorted_keys_are_asked_for_by_range_and_split_in_the_middle() -> None:
    async def script(world: World) -> None:
        counters = by_map(world, "s", "Sorted", ByRange)
        names = [f"{letter}{number}" for letter in "abcxyz" for number in range(3)]
        for name in names:
            await counters.at(name).add(1)
        found = await counters.over("b", "y", "keys_between")
        assert [key for part in found for key in part] == sorted(name for name in names if "b" <= name < "y")
        assert len(found) == 3
        assert await counters.map.split("s:0") == "s:3"
        assert await counters.map.split("s:1") is None  # nothing is in it
        status = await grown(counters, 4)
        assert [shard["low"] for shard in status["shards"]] == ["", "b1", "h", "p"]
        found = await counters.over("a1", "b2", "keys_between")
        assert [key for part in found for key in part] == ["a1", "a2", "b0", "b1"]

    in_a_world(script)


def test_what_a_key_has_moves_together() -> None:
    async def script(world: World) -> None:
        counters = by_map(world, "s", "Sorted", ByRange)
        for number in range(9):
            await counters.at("room").say(f"message {number}")
        await counters.at("rooms").say("another")
        await counters.at("q").say("first")
        status = await counters.map.status()
        await counters.map.split(status["shards"][-1]["name"], "rooms")
        await grown(counters, 4)
        assert await counters.at("room").last(2) == ["message 7", "message 8"]
        assert len(await counters.at("room").last(100)) == 9
        assert await counters.at("rooms").last(5) == ["another"]

    in_a_world(script)


def test_errors_are_those_of_the_shard() -> None:
    async def script(world: World) -> None:
        counters = by_map(world)
        with pytest.raises(PerdureError, match="ValueError: as asked for a"):
            await counters.at("a").fail()
        for method in ("missing", "shard_drop", "items", "alarm", "fetch", "read_span"):
            with pytest.raises(MethodNotFound, match="does not implement"):
                await counters.call("a", method)
        for key in ("", "a\0b", "k" * 513, 7):
            with pytest.raises(InvalidArgument, match="a key is a text"):
                await counters.call(key, "get")
        with pytest.raises(InvalidArgument, match="do not grow to 1"):
            await counters.map.grow(1)
        with pytest.raises(InvalidArgument, match="no shard 'x'"):
            await counters.map.split("x")
        with pytest.raises(InvalidArgument, match="cannot be split at"):
            await counters.map.split("m:0", "f" * 16)

    in_a_world(script)


def test_a_hot_shard_is_split_where_its_calls_are() -> None:
    async def script(world: World) -> None:
        counters = by_map(world, "auto", "Auto")
        for _ in range(12):
            await asyncio.gather(*[counters.at(KEYS[at % 12]).add(1) for at in range(120)])
            await world.advance(seconds=1)
        status = await counters.map.status()
        assert len(status["shards"]) >= 2
        assert sum(await counters.gather("total")) == 12 * 120
        assert all(shard["calls_per_s"] <= 120 for shard in status["shards"])

    in_a_world(script)


def test_one_hot_key_splits_nothing() -> None:
    async def script(world: World) -> None:
        counters = by_map(world, "auto", "Auto")
        for _ in range(12):
            await asyncio.gather(*[counters.at("one").add(1) for _ in range(120)])
            await world.advance(seconds=1)
        assert len((await counters.map.status())["shards"]) == 1

    in_a_world(script)


def test_a_shard_of_no_map_says_so() -> None:
    async def script(world: World) -> None:
        assert await world.namespace("Counters").getByName("alone").shard_call("a", "add", [1]) == ["unknown"]
        assert issubclass(Counters, Shard)
        assert isinstance(by_map(world), ByMap)

    in_a_world(script)
