"""Simulations: runs are repeated exactly, common mistakes are found, right programs are left alone."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ObjectReset, ShardLost
from perdure.testing import NothingHappens, Simulation, simulate
from perdure.testing.disk import SimDisk
from perdure.testing.schedule import spread
from perdure.testing.settings import SETTINGS
from perdure.testing.simulation import SEEDS

LOST = (ShardLost, ObjectReset)


class Rate(DurableObject):
    async def get(self):
        return 1


class Account(DurableObject):
    """One object of each mistake, and what is right."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.balance = None
        self.cached = 0

    async def add(self, amount):
        value = (await self.ctx.storage.get("balance") or 0) + amount
        await self.ctx.storage.put("balance", value)
        return value

    async def read(self):
        return await self.ctx.storage.get("balance") or 0

    async def add_over_a_call(self, amount):
        """Wrong: what was read before the call may have changed after it."""
        value = await self.ctx.storage.get("balance") or 0
        rate = await self.env.Rate.getByName("euro").get()
        await self.ctx.storage.put("balance", value + amount * rate)

    async def add_in_memory(self, amount):
        """Wrong: what is in memory only is gone with it."""
        self.cached += amount
        return self.cached

    async def give(self, name, amount):
        """Wrong: what is given is lost when the process dies between."""
        await self.add(-amount)
        await self.env.Account.getByName(name).add(amount)


CLASSES = [Rate, Account]


def runs(test, *, seeds: int = SEEDS, **options):
    simulation = Simulation(test, CLASSES, **options)
    return [simulation.run(seed) for seed in range(seeds)]


def first_failure(test, **options) -> int | None:
    simulation = Simulation(test, CLASSES, **options)
    return next((seed for seed in range(SEEDS) if simulation.run(seed).error is not None), None)


async def insist(call):
    """What a client does with a process that is gone: it asks again. Only for calls that may be repeated."""
    while True:
        try:
            return await call()
        except LOST:
            await asyncio.sleep(0.05)


# ---------------------------------------------------------------------- what is found
async def reads_and_writes_across_a_call(world):
    account = world.get(Account, "a")
    other = world.get(Account, "a")
    await asyncio.gather(account.add_over_a_call(1), other.add_over_a_call(1))
    assert await account.read() == 2


async def keeps_it_in_memory(world):
    account = world.get(Account, "a")
    assert [await account.add_in_memory(1) for _ in range(3)] == [1, 2, 3]


async def loses_what_is_between(world):
    await insist(lambda: world.get(Account, "a").read())
    try:
        await world.get(Account, "a").give("b", 5)
    except LOST:
        await asyncio.sleep(1)
    assert await insist(world.get(Account, "a").read) + await insist(world.get(Account, "b").read) == 0


async def takes_a_lost_answer_for_no(world):
    account = world.get(Account, "a")
    added = 0
    for _ in range(3):
        await insist(lambda: account.add(1))
        added += 1
    assert await insist(account.read) == added


@pytest.mark.parametrize(
    "test", [reads_and_writes_across_a_call, keeps_it_in_memory, loses_what_is_between, takes_a_lost_answer_for_no]
)
def test_common_mistakes_are_found(test):
    seed = first_failure(test, shards=2)
    assert seed is not None


# ---------------------------------------------------------------------- what is left alone
async def adds(world):
    account = world.get(Account, "a")
    asked = heard = 0

    async def one() -> None:
        nonlocal asked, heard
        asked += 1
        try:
            await world.get(Account, "a").add(1)
            heard += 1
        except LOST:
            return

    await asyncio.gather(*(one() for _ in range(4)))
    await one()
    found = await insist(account.read)
    assert heard <= found <= asked
    await asyncio.sleep(20)
    assert await insist(account.read) == found


def test_an_acknowledged_write_is_never_lost_and_none_is_made_up():
    failed = [run for run in runs(adds, shards=2) if run.error is not None]
    assert failed == []


async def in_order(world):
    account = world.get(Account, "a")
    answers = await asyncio.gather(*(account.add(1) for _ in range(5)), return_exceptions=True)
    heard = [answer for answer in answers if not isinstance(answer, LOST)]
    assert heard == sorted(heard)
    assert not [answer for answer in heard if isinstance(answer, BaseException)]


def test_calls_through_one_stub_stay_in_order():
    assert [run.error for run in runs(in_order) if run.error is not None] == []


class Forgetful(SimDisk):
    """Says that it has synced, and has not."""

    syncs = False


def test_a_runtime_that_loses_what_it_acknowledged_is_caught():
    assert first_failure(adds, disk=Forgetful) is not None


def test_a_test_that_waits_for_nothing_fails_and_says_so():
    async def waits(world):
        await asyncio.get_running_loop().create_future()

    run = Simulation(waits, CLASSES).run(0)
    assert isinstance(run.error, NothingHappens)


# ---------------------------------------------------------------------- repetition
def test_a_seed_is_the_same_run_whenever_it_is_run():
    first, again = runs(adds, seeds=60, shards=2), runs(adds, seeds=60, shards=2)
    assert [run.digest for run in first] == [run.digest for run in again]
    assert len({run.digest for run in first}) > 40
    alone = Simulation(adds, CLASSES, shards=2).run(37)
    assert alone.digest == first[37].digest


def test_a_failure_names_its_seed_and_tells_its_story(monkeypatch):
    @simulate(program=CLASSES, crashes=False)
    async def fails(world):
        await reads_and_writes_across_a_call(world)

    with pytest.raises(AssertionError) as failure:
        fails()
    note = failure.value.__notes__[0]
    seed = int(note.split(":")[0].removeprefix("seed "))
    assert f"seed {seed}: rerun with --perdure-seed={seed}" in note
    assert "Account/a method=add_over_a_call" in note
    monkeypatch.setattr(SETTINGS, "seed", seed)
    with pytest.raises(AssertionError) as again:
        fails()
    assert again.value.__notes__ == failure.value.__notes__


def test_without_crashes_nobody_dies():
    async def never_lost(world):
        await world.get(Account, "a").add(1)
        await world.get(Account, "a").give("b", 1)

    assert [run.error for run in runs(never_lost, crashes=False) if run.error is not None] == []


@simulate(seeds=5, program=CLASSES)
async def test_the_decorator_makes_a_test(world):
    await insist(world.get(Account, "a").read)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 100])
def test_each_point_has_its_turn(count):
    assert sorted(spread(number, count) for number in range(count)) == list(range(count))
    assert sorted(spread(count + number, count) for number in range(count)) == list(range(count))


def test_seeds_are_cheap():
    import time

    simulation = Simulation(adds, CLASSES)
    began = time.process_time()
    for seed in range(100):
        simulation.run(seed)
    assert (time.process_time() - began) / 100 < 0.05, "a tenth of that on a quiet machine"
