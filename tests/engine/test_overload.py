"""What an object does with more than it can take: bounds of its queue, the soft limit, and its share beside others."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import Overloaded
from perdure.engine.fairness import EVENTS_A_ROUND
from perdure.engine.limits import Limits
from perdure.engine.rates import LOG_EVERY_S, TRACKED_MAX
from perdure.testing.virtual import run

from .world import World

BEGAN: list[tuple[str, object]] = []


class Thing(DurableObject):
    async def echo(self, value=None):
        BEGAN.append((self.ctx.id.name, value))
        return value

    async def close(self, seconds):
        await self.ctx.blockConcurrencyWhile(lambda: asyncio.sleep(seconds))

    async def put(self, value):
        await self.ctx.storage.put("k", value)


@pytest.fixture(autouse=True)
def nothing_began():
    BEGAN.clear()


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcome(call) -> object:
    try:
        return await call
    except Overloaded as error:
        return error


def phrase_of(error: object) -> str:
    assert isinstance(error, Overloaded), error
    assert error.overloaded
    assert not error.retryable
    assert error.message.startswith("Durable Object is overloaded. ")
    assert error.hint
    return error.message


# ---------------------------------------------------------------- bounds of the queue
def test_too_many(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path, Limits(mailbox_length_max=5)) as world:
            thing = world.outside("a")
            busy = asyncio.ensure_future(thing.close(1))
            await asyncio.sleep(0.1)
            waiting = [asyncio.ensure_future(thing.echo(number)) for number in range(5)]
            await asyncio.sleep(0.1)
            assert "Too many requests queued" in phrase_of(await outcome(thing.echo()))
            assert now() < 0.3, "at once"
            assert await asyncio.gather(*waiting) == [0, 1, 2, 3, 4]
            await busy

    run(script())


def test_too_much(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path, Limits(mailbox_bytes_max=1_000)) as world:
            thing = world.outside("a")
            busy = asyncio.ensure_future(thing.close(1))
            await asyncio.sleep(0.1)
            waiting = [asyncio.ensure_future(thing.echo(bytes(600))) for _ in range(2)]
            await asyncio.sleep(0.1)
            assert "Too much data queued" in phrase_of(await outcome(thing.echo()))
            await asyncio.gather(*waiting, busy)

    run(script())


def test_too_long_is_said_when_the_time_is_up_not_when_the_gate_opens(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path, Limits(mailbox_age_ms_max=2_000)) as world:
            thing = world.outside("a")
            busy = asyncio.ensure_future(thing.close(20))
            await asyncio.sleep(0.1)
            early = asyncio.ensure_future(outcome(thing.echo("early")))
            await asyncio.sleep(1)
            late = asyncio.ensure_future(outcome(thing.echo("late")))
            assert "Requests queued for too long" in phrase_of(await early)
            assert 2.1 < now() < 2.3
            assert "Requests queued for too long" in phrase_of(await late)
            assert 3.1 < now() < 3.3
            young = asyncio.ensure_future(thing.echo("young"))
            await busy
            assert 19.9 < now() < 20.3, "the section is left alone"
            assert isinstance(await outcome(young), Overloaded)
            assert await thing.echo("after") == "after"
            assert [value for _, value in BEGAN] == ["after"]
            assert world.shard.residents.kept_out == {}

    run(script())


def test_a_call_that_has_waited_less_runs(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path, Limits(mailbox_age_ms_max=2_000)) as world:
            thing = world.outside("a")
            busy = asyncio.ensure_future(thing.close(1.5))
            await asyncio.sleep(0.1)
            assert await thing.echo("in time") == "in time"
            await busy

    run(script())


# ---------------------------------------------------------------- the soft limit
async def press(world: World, name: str, rate: int, seconds: float) -> list[object]:
    """Call an object at an even rate; outcomes in order."""
    thing, calls = world.outside(name), []
    for _ in range(int(seconds * 20)):
        calls += [asyncio.ensure_future(outcome(thing.echo())) for _ in range(rate // 20)]
        await asyncio.sleep(0.05)
    return await asyncio.gather(*calls)


def warnings(world: World) -> list[dict[str, object]]:
    return [fields for _, event, fields in world.shard.logs if event == "above_soft_limit"]


def test_above_the_soft_limit_is_logged_once_a_minute_and_served(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path, Limits(soft_limit_rps=30, idle_hibernate_ms=10**9)) as world:
            assert not any(await press(world, "slow", 20, 15))
            assert warnings(world) == []
            assert not any(await press(world, "hot", 60, LOG_EVERY_S + 12))
            said = warnings(world)
            assert len(said) == 2
            assert said[0]["object"] == "Thing/hot"
            assert "spread its load over several objects" in str(said[0]["hint"])
            assert world.shard.residents.statistics()["above_soft_limit"] == 1
            (hot, *_) = world.shard.residents.rates.hottest(10)
            assert (hot.name, hot.class_name, hot.above_soft_limit) == ("hot", "Thing", True)
            assert 55 < hot.requests_per_s < 65
            await asyncio.sleep(12)
            assert world.shard.residents.rates.hottest(10) == []
            assert world.shard.residents.statistics()["above_soft_limit"] == 0

    run(script())


def test_enforced_it_refuses_what_is_above(tmp_path) -> None:
    async def script() -> None:
        limits = Limits(soft_limit_rps=30, soft_limit_enforce=True, idle_hibernate_ms=10**9)
        async with World.of(Thing, tmp_path, limits) as world:
            outcomes = await press(world, "hot", 60, 30)
            served = sum(found is None for found in outcomes)
            refused = [found for found in outcomes if found is not None]
            assert 900 <= served <= 900 + 360, "thirty a second, and what one second may be late"
            assert all("within a 10 second window" in phrase_of(error) for error in refused)
            assert not any(await press(world, "slow", 20, 15)), "others are left alone"
            await asyncio.sleep(11)
            assert not any(await press(world, "hot", 20, 5)), "the window has moved on"

    run(script())


def test_a_burst_within_the_window_is_refused_before_any_count_is_read(tmp_path) -> None:
    async def script() -> None:
        limits = Limits(soft_limit_rps=2, soft_limit_enforce=True)
        async with World.of(Thing, tmp_path, limits) as world:
            thing = world.outside("a")
            outcomes = await asyncio.gather(*[outcome(thing.echo()) for _ in range(30)])
            assert [found is None for found in outcomes] == [True] * 20 + [False] * 10

    run(script())


def test_a_class_has_a_limit_of_its_own(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path) as world:
            (runtime,) = world.shard.residents._classes.values()
            runtime.limits = Limits(soft_limit_rps=1, soft_limit_enforce=True)
            thing = world.outside("a")
            outcomes = await asyncio.gather(*[outcome(thing.echo()) for _ in range(11)])
            assert "within a 10 second window" in phrase_of(outcomes[10])

    run(script())


def test_the_list_of_the_most_called_is_bounded_and_keeps_the_greatest(tmp_path) -> None:
    async def script() -> None:
        limits = Limits(soft_limit_rps=100)
        async with World.of(Thing, tmp_path, limits) as world:
            quiet = [world.outside(f"quiet {number}") for number in range(TRACKED_MAX)]
            await asyncio.gather(*[thing.echo() for thing in quiet])
            await asyncio.sleep(1.2)
            busy = world.outside("busy")
            await asyncio.gather(*[busy.echo() for _ in range(50)])
            await asyncio.sleep(1.2)
            found = world.shard.residents.rates.hottest(TRACKED_MAX * 2)
            assert len(found) == TRACKED_MAX
            assert found[0].name == "busy"

    run(script())


# ---------------------------------------------------------------- shares
def order(names: list[str]) -> str:
    """As letters, runs of one letter with their length."""
    text, last = [], ""
    for name in names:
        if name != last:
            text.append([name, 0])
            last = name
        text[-1][1] += 1
    return " ".join(f"{name}{count}" for name, count in text)


def test_beside_others_an_object_begins_its_share_of_a_round(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path) as world:
            hot, other = world.outside("h"), world.outside("o")
            await asyncio.gather(hot.echo(), other.echo())
            BEGAN.clear()
            calls = [hot.echo(number) for number in range(5 * EVENTS_A_ROUND)]
            calls += [other.echo(number) for number in range(2)]
            await asyncio.sleep(0)
            later = [other.echo(number) for number in range(2, 4)]
            await asyncio.gather(*calls, *later)
            share = EVENTS_A_ROUND
            found = order([name for name, _ in BEGAN])
            assert found.startswith(f"h{share} o2 h"), found
            assert " o2 " in found[8:], f"those that came while hot ones waited went before them: {found}"
            assert [value for name, value in BEGAN if name == "h"] == list(range(5 * share))
            assert [value for name, value in BEGAN if name == "o"] == list(range(4))

    run(script())


def test_alone_an_object_begins_everything_at_once(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path) as world:
            hot = world.outside("h")
            await hot.echo()
            await asyncio.sleep(1)
            rounds = 0
            calls = asyncio.gather(*[hot.put(number) for number in range(10 * EVENTS_A_ROUND)])
            while not calls.done():
                await asyncio.sleep(0)
                rounds += 1
            assert rounds < 15
            assert len(world.shard.commits.records) <= 5

    run(script())


def test_what_waits_for_its_share_can_be_cancelled_and_is_answered_at_a_reset(tmp_path) -> None:
    async def script() -> None:
        async with World.of(Thing, tmp_path) as world:
            hot, other = world.outside("h"), world.outside("o")
            await asyncio.gather(hot.echo(), other.echo())
            BEGAN.clear()
            calls = [asyncio.ensure_future(hot.echo(number)) for number in range(3 * EVENTS_A_ROUND)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            instance = world.shard.instance("h")
            assert instance.backlog
            last = world.wires.sent[-1]
            world.shard.residents.cancel(last)
            instance.reset(Overloaded("gone", reset=True))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert str(results[-1]).endswith("The call was cancelled by its caller")
            assert sum(isinstance(result, Overloaded) for result in results) > EVENTS_A_ROUND
            assert ("h", 3 * EVENTS_A_ROUND - 1) not in BEGAN
            assert await world.outside("h").echo("anew") == "anew"

    run(script())
