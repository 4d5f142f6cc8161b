"""A world: calls, requests, time, what its failures lose and what they do not."""

from __future__ import annotations

import asyncio
import datetime
import time
from functools import partial

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ClassNotFound, ConfigError, DeadlineExceeded, InvalidArgument, PerdureError, ShardLost
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import NothingHappens, World
from perdure.testing.clocks import START
from perdure.testing.disk import SimDisk
from perdure.testing.virtual import run

HOUR_S = 3_600.0


class Counter(DurableObject):
    constructed = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Counter.constructed += 1
        self.seen = 0

    async def increment(self, amount=1):
        value = (await self.ctx.storage.get("value") or 0) + amount
        await self.ctx.storage.put("value", value)
        self.seen += 1
        return value

    async def increment_after(self, seconds):
        await asyncio.sleep(seconds)
        return await self.increment()

    async def add_row(self, text):
        self.ctx.storage.sql.exec("create table if not exists rows(text)")
        self.ctx.storage.sql.exec("insert into rows values(?)", text)

    async def clocks(self):
        return [time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.monotonic_ns() > 0]

    async def nap(self):
        time.sleep(1)  # noqa: ASYNC251 - what a world refuses

    async def increment_other(self, name):
        return await self.env.Counter.getByName(name).increment()

    async def fail(self):
        raise ValueError("as asked")

    async def wait_forever(self):
        await asyncio.get_running_loop().create_future()

    async def fetch(self, request):
        async def chunks():
            while True:
                yield b"chunk"
                await asyncio.sleep(10)

        return Response(chunks())

    async def variable(self):
        return self.env.GREETING


class Last(DurableObject):
    async def preShutdown(self, info):
        await asyncio.sleep(0.5)
        await self.ctx.storage.put("word", info.reason)

    async def word(self):
        return await self.ctx.storage.get("word")


class Fragile(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        raise RuntimeError("the constructor failed")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "POST":
            return Response.json(await request.json())
        if request.url.endswith("/fail"):
            raise ValueError("as asked")
        if request.url.endswith("/status"):
            return Response("short", status=418, status_text="Short And Stout")
        return Response(str(await self.env.Counter.getByName("front").increment()))


def counter(world: World, name: str = "a"):
    return world.namespace("Counter").getByName(name)


# ---------------------------------------------------------------------- calls
def test_a_response_has_the_program_s_status_text() -> None:
    with World([Counter, Default]) as world:
        assert world.fetch("/status").status_text == "Short And Stout"
        assert world.fetch("/").status_text == "OK"


async def test_calls_and_their_order(world):
    a = counter(world)
    assert await a.increment() == 1
    assert await asyncio.gather(a.increment(4), a.increment(), a.increment()) == [5, 6, 7]
    assert await world.get(Counter, "a").increment() == 8
    with pytest.raises(PerdureError, match="ValueError: as asked"):
        await a.fail()
    with pytest.raises(ClassNotFound):
        world.namespace("Counters")


@pytest.mark.perdure(shards=2)
async def test_calls_between_shards(world):
    a = counter(world, "a")
    b = next(other for other in map(partial(counter, world), "bcdefgh") if world.shard_of(other) != world.shard_of(a))
    assert await a.increment_other(b.name) == 1
    assert await b.increment() == 2


async def test_requests_reach_the_worker(world):
    assert await (await world.fetch("/")).text() == "1"
    assert await (await world.fetch("/echo", json={"a": 1})).json() == {"a": 1}
    answer = await world.fetch("http://example.com/fail")
    assert answer.status == 500
    assert "ValueError: as asked" in await answer.text()
    assert [record.event for record in world.log if record.level == "error"] == ["request_failed"]


@pytest.mark.perdure(env={"GREETING": "hello"})
async def test_variables_are_the_tests(world):
    assert await counter(world).variable() == "hello"
    assert world.env.GREETING == "hello"


# ---------------------------------------------------------------------- time
async def test_time_stands_still_until_nothing_is_left_to_do(world):
    assert world.now == START
    await counter(world).increment()
    assert world.now == START
    assert await counter(world).increment_after(5) == 2
    assert world.now == START + datetime.timedelta(seconds=5)


async def test_timers_fire_in_order_while_time_advances(world):
    order: list[str] = []

    async def later(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append(f"{name} at {(world.now - START).total_seconds():g}")

    tasks = [asyncio.ensure_future(later(*what)) for what in [("b", 20), ("a", 10), ("d", HOUR_S + 1), ("c", HOUR_S)]]
    await world.advance(hours=1)
    assert order == ["a at 10", "b at 20", "c at 3600"]
    await world.advance_to(START + datetime.timedelta(hours=2))
    assert order[3:] == ["d at 3601"]
    await asyncio.gather(*tasks)
    with pytest.raises(InvalidArgument):
        await world.advance(seconds=-1)


async def test_ten_years_pass(world):
    await counter(world).increment()
    await world.advance(days=3_650)
    assert await counter(world).increment_after(0.25) == 2


async def test_idle_objects_leave_memory_in_virtual_time(world):
    a = counter(world)
    assert world.state(a) == "cold"
    await a.increment()
    assert world.state(a) == "idle"
    assert world.object(a).seen == 1
    await world.advance(seconds=9)
    assert world.state(a) == "idle"
    await world.advance(seconds=4)
    assert world.state(a) == "cold"
    before = Counter.constructed
    assert await a.increment() == 2
    assert Counter.constructed == before + 1


async def test_an_object_is_told_in_virtual_time_before_it_sleeps(world):
    last = world.namespace("Last").getByName("a")
    assert await last.word() is None
    await world.advance(seconds=12)
    assert world.state(last) == "cold"
    assert await last.word() == "inactive"


async def test_one_that_sleeps_awake_is_not_hibernated_at_ten_seconds(world):
    sleeping = asyncio.ensure_future(counter(world).increment_after(20))
    await world.advance(seconds=15)
    assert world.state(counter(world)) == "running"
    assert await sleeping == 1


async def test_the_program_sees_the_wall_clock_and_the_system_does_not_see_its_steps(world):
    a = counter(world)
    assert (await a.clocks())[:2] == [START.timestamp()] * 2
    timer = asyncio.ensure_future(a.increment_after(10))
    await world.settle()
    world.step_clock(-HOUR_S)
    assert (await a.clocks())[:2] == [START.timestamp() - HOUR_S] * 2
    assert time.time() == START.timestamp() - HOUR_S
    began = world.loop.time()
    await timer
    assert world.loop.time() - began == pytest.approx(10)


async def test_calls_that_take_too_long_fail_at_their_deadline(world):
    with pytest.raises(DeadlineExceeded, match="no answer within 30 s"):
        await counter(world).wait_forever()
    assert world.now == START + datetime.timedelta(seconds=30)


async def test_waiting_that_blocks_the_process_is_refused(world):
    with pytest.raises(PerdureError, match=r"time\.sleep\(1\) stops everything"):
        await counter(world).nap()


def test_waiting_for_nothing_says_so():
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingHappens, match=r"nothing will ever happen: everybody waits: wait \(test_world.py:\d+\)$"):
        run(wait())


async def test_a_crash_of_what_is_no_object_says_so(world):
    with pytest.raises(InvalidArgument, match="neither a stub nor the index of a shard"):
        await world.crash("Counter")


async def test_the_story_tells_what_a_constructor_raised(world):
    with pytest.raises(PerdureError, match="the constructor failed"):
        await world.namespace("Fragile").getByName("a").anything()
    assert world.story.text().splitlines()[-1].endswith("PerdureError: RuntimeError: the constructor failed")


def test_a_world_that_cannot_begin_leaves_nothing_behind(tmp_path):
    (tmp_path / "app.py").write_text("import there_is_no_such_module")
    with pytest.raises(ConfigError, match="fails to import"):
        World(str(tmp_path / "app.py")).start()
    assert time.time() != START.timestamp()


def test_the_processs_own_clock_and_randomness_come_back():
    before = time.time()
    with World([Counter]):
        assert time.time() == START.timestamp()
    assert before <= time.time() < before + 60
    time.sleep(0)


# ---------------------------------------------------------------------- failures
async def test_a_killed_shard_loses_no_answer_and_no_acknowledged_write(world):
    a = counter(world)
    assert await a.increment() == 1
    waiting = asyncio.ensure_future(a.increment_after(5))
    await world.settle()
    await world.crash(a)
    with pytest.raises(ShardLost, match="shard 0 was lost while the call was running"):
        await waiting
    assert await a.increment() == 2
    await world.advance(seconds=20)
    assert await world.storage(a).get("value") == 2


async def test_code_of_a_killed_shard_does_not_go_on(world):
    told: list[str] = []

    class Telling(DurableObject):
        async def work(self):
            try:
                await asyncio.sleep(1)
                told.append("went on")
            finally:
                told.append("ended")

    async with World([Telling], loop=world.loop) as other:
        working = asyncio.ensure_future(other.namespace("Telling").getByName("a").work())
        await other.settle()
        await other.crash(0)
        await other.advance(seconds=10)
        assert told == []
        with pytest.raises(ShardLost):
            await working


async def test_a_body_breaks_off_with_its_process(world):
    response = await counter(world).fetch("http://object/")
    chunks = response.body.__aiter__()
    assert await anext(chunks) == b"chunk"
    rest = asyncio.ensure_future(anext(chunks))
    await world.settle()
    await world.crash(0)
    with pytest.raises(ShardLost, match="broke off"):
        await rest


async def test_calls_wait_for_a_shard_that_is_down(world):
    a = counter(world)
    await a.increment()
    await world.crash(a, restart=False)
    waiting = asyncio.ensure_future(a.increment())
    await world.advance(seconds=10)
    assert not waiting.done()
    await world.restart(a)
    assert await waiting == 2


async def test_restarts_leave_nothing_on_the_loop(world):
    """Each shard makes the loop count its objects' timers; once is enough, or timers would grow slower with each restart."""
    await counter(world).increment()
    before = world.loop.call_later, len(asyncio.all_tasks())
    for _ in range(3):
        await world.restart()
    await world.settle()
    assert world.loop.call_later is before[0]
    assert len(asyncio.all_tasks()) == before[1]


async def test_a_restart_loses_nothing(world):
    a = counter(world)
    running = asyncio.ensure_future(a.increment_after(3))
    await world.settle()
    await world.restart()
    assert await running == 1
    assert await a.increment() == 2


@pytest.mark.perdure(shards=3)
async def test_lost_power_loses_no_acknowledged_write(world):
    for round in range(1, 6):
        for name in "abcdef":
            assert await counter(world, name).increment() == round
        await counter(world).add_row(f"row {round}")
        await world.lose_power()
    rows = await world.storage(counter(world)).sql("select text from rows order by text")
    assert rows == [{"text": f"row {round}"} for round in range(1, 6)]


class Forgetful(SimDisk):
    """Says that it has synced, and has not."""

    syncs = False


def test_a_disk_that_lies_is_caught():
    async def work() -> list[object]:
        async with World([Counter], disk=Forgetful) as world:
            found: list[object] = []
            for _ in range(5):
                found.append(await counter(world).increment())
                await world.lose_power()
            return found

    assert run(work()) != [1, 2, 3, 4, 5]


async def test_an_object_can_be_evicted_unless_it_is_busy(world):
    a = counter(world)
    await a.increment()
    await world.evict(a)
    assert world.state(a) == "cold"
    assert await a.increment() == 2
    busy = asyncio.ensure_future(a.increment_after(5))
    await world.settle()
    with pytest.raises(InvalidArgument, match="cannot evict Counter/a: RUNNING"):
        await world.evict(a)
    assert await busy == 3


# ---------------------------------------------------------------------- inside
async def test_storage_is_read_through_the_owner(world):
    a = counter(world)
    await a.increment(7)
    await a.add_row("x")
    storage = world.storage(a)
    assert await storage.get("value") == 7
    assert await storage.get("nothing") is None
    assert await storage.list() == {"value": 7}
    assert await storage.sql("select text from rows where text = ?", "x") == [{"text": "x"}]
    assert await storage.alarm() is None


def test_programs_of_a_file_begin_anew_in_each_process(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(
        "from workers import DurableObject\n"
        "CALLS = []\n"
        "class Thing(DurableObject):\n"
        "    async def call(self):\n"
        "        CALLS.append(1)\n"
        "        return len(CALLS)\n"
    )
    with World(str(path), shards=2) as world:
        things = [world.namespace("Thing").getByName(name) for name in "abcdefgh"]
        stubs = [next(thing for thing in things if world.shard_of(thing) == shard) for shard in (0, 1)]
        assert [stub.call() for stub in stubs] == [1, 1]
        assert stubs[0].call() == 2
        world.crash(stubs[0])
        assert [stub.call() for stub in stubs] == [1, 2]
