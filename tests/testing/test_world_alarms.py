"""Alarms in a world: they fire in virtual time, in order, over crashes, and by hand."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.testing import Simulation
from perdure.testing.clocks import START

FIRED: list[tuple[str, float]] = []


class Bell(DurableObject):
    async def arm(self, seconds):
        await self.ctx.storage.setAlarm((time.time() + seconds) * 1000)

    async def alarm(self):
        if await self.ctx.storage.get("broken"):
            raise ValueError("broken")
        FIRED.append((self.ctx.id.name, time.time() - START.timestamp()))
        await self.ctx.storage.put("rung", (await self.ctx.storage.get("rung") or 0) + 1)

    async def break_it(self):
        await self.ctx.storage.put("broken", True)

    async def rung(self):
        return await self.ctx.storage.get("rung") or 0


@pytest.fixture(autouse=True)
def none_fired():
    FIRED.clear()


def bell(world, name: str = "a"):
    return world.namespace("Bell").getByName(name)


@pytest.mark.perdure(shards=3)
async def test_alarms_fire_in_order_at_their_time(world):
    for name, seconds in [("c", 7_200), ("a", 60), ("d", 7_201), ("b", 3_600.5)]:
        await bell(world, name).arm(seconds)
    assert await world.storage(bell(world)).alarm() == START + datetime.timedelta(seconds=60)
    await world.advance(hours=2)
    assert FIRED == [("a", 60.0), ("b", 3_600.5), ("c", 7_200.0)]
    assert await world.storage(bell(world)).alarm() is None
    await world.advance(days=3)
    assert FIRED[3:] == [("d", 7_201.0)]


async def test_an_alarm_of_next_year_fires_to_the_millisecond(world):
    await bell(world).arm(400 * 86_400)
    await world.advance(days=399)
    assert world.state(bell(world)) == "cold"
    await world.restart()
    assert FIRED == []
    await world.advance(days=2)
    assert FIRED == [("a", 400 * 86_400.0)]


async def test_who_waits_for_nothing_but_an_alarm_gets_it(world):
    await bell(world).arm(20)
    while not FIRED:
        await asyncio.sleep(1)
    assert FIRED == [("a", 20.0)]


@pytest.mark.parametrize("failure", ["crash", "lose_power", "restart"])
async def test_an_alarm_outlives_its_process(world, failure):
    await bell(world).arm(60)
    if failure == "crash":
        await world.crash(0)
    else:
        await getattr(world, failure)()
    await world.advance(seconds=59)
    assert FIRED == []
    await world.advance(seconds=1.5)
    assert [name for name, _ in FIRED] == ["a"]


async def test_an_alarm_due_while_its_shard_is_down_fires_when_it_is_back(world):
    await bell(world).arm(10)
    await world.crash(0, restart=False)
    await world.advance(seconds=30)
    assert FIRED == []
    await world.restart()
    await world.advance(seconds=1)
    assert [name for name, _ in FIRED] == ["a"]


async def test_alarms_go_by_the_wall_clock(world):
    await bell(world).arm(3_600)
    world.step_clock(-1_800)
    await world.advance(seconds=3_600)
    assert FIRED == []
    await world.advance(seconds=1_800)
    assert [name for name, _ in FIRED] == ["a"]
    await bell(world).arm(3_600)
    world.step_clock(7_200)
    await world.advance(seconds=2)
    assert len(FIRED) == 2


async def test_an_alarm_is_run_by_hand(world):
    assert await world.run_alarm(bell(world)) is False
    await bell(world).arm(3_600)
    assert await world.run_alarm(bell(world)) is True
    assert FIRED == [("a", 0.0)]
    assert await world.storage(bell(world)).alarm() is None
    await bell(world).arm(3_600)
    await bell(world).break_it()
    assert await world.run_alarm(bell(world)) is True
    failed = next(record for record in world.log if record.event == "alarm_failed")
    assert "ValueError: broken" in str(failed.fields)
    await world.advance(seconds=10)
    assert len([record for record in world.log if record.event == "alarm_failed"]) > 1


def test_armed_is_fired_whatever_dies():
    async def rings(world):
        async def patient(call):
            while True:
                try:
                    return await call()
                except PerdureError as error:
                    assert error.retryable, error
                    await asyncio.sleep(0.2)

        await patient(lambda: bell(world).arm(30))
        await world.advance(seconds=200)
        assert await patient(lambda: bell(world).rung()) >= 1

    simulation = Simulation(rings, [Bell])
    failed = [run for seed in range(60) if (run := simulation.run(seed)).error is not None]
    assert [(run.seed, run.error) for run in failed] == []
