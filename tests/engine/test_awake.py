"""What keeps an object in memory, and what is decided from that: in virtual time (spec: objects, lifecycle)."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from perdure.engine.awake import Fate, Work, decide
from perdure.engine.context import GatedTransport
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ObjectReset, Overloaded, PerdureError, StorageUnavailable
from perdure.engine.http import HttpResponse
from perdure.engine.lifecycle import State
from perdure.engine.limits import Limits
from perdure.engine.residents import DATABASE_BYTES, RESIDENT_BYTES
from perdure.testing.virtual import run

from .shelf import LoopClock, Shard

QUIET, BUSY = Work(attended=False), Work(attended=True)
DECISIONS = [
    # work, seconds since it was used, pending work prevents eviction → fate
    (QUIET, 9.9, True, Fate.STAYS),
    (QUIET, 10.0, True, Fate.HIBERNATES),
    (BUSY, 10_000.0, True, Fate.STAYS),
    (BUSY, 10_000.0, False, Fate.STAYS),
    (Work(False, 1, 60.0), 60.0, False, Fate.STAYS),
    (Work(False, 1, 70.0), 70.0, False, Fate.IS_EVICTED),
    (Work(False, 1, 0.0), 70.0, False, Fate.IS_EVICTED),
    (Work(False, 1, 70.0), 70.0, True, Fate.STAYS),
    (Work(False, 1, 899.0), 899.0, True, Fate.STAYS),
    (Work(False, 1, 900.0), 900.0, True, Fate.IS_EVICTED),
    (Work(False, 2, 10.0), 100_000.0, True, Fate.STAYS),
]


@pytest.mark.parametrize(("work", "unused_s", "prevents", "fate"), DECISIONS)
def test_decisions(work: Work, unused_s: float, prevents: bool, fate: Fate) -> None:
    assert decide(work, unused_s, Limits(), prevents) is fate


class Sleeper(DurableObject):
    """Each method leaves something behind."""

    constructed = 0
    ended: list[str]

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Sleeper.constructed += 1

    async def nothing(self):
        return Sleeper.constructed

    async def write(self, value):
        await self.ctx.storage.put("value", value)

    async def value(self):
        return await self.ctx.storage.get("value")

    async def event(self, seconds):
        await asyncio.sleep(seconds)

    async def task(self, seconds):
        self.kept = asyncio.create_task(asyncio.sleep(seconds), name="the program's")

    async def loop_of_sleeps(self):
        async def forever():
            while True:
                await asyncio.sleep(60)

        self.kept = asyncio.create_task(forever())

    async def wait_until(self, seconds):
        self.ctx.waitUntil(asyncio.sleep(seconds))

    async def timer(self, seconds):
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: Sleeper.ended.append("fired"))

    async def timer_at(self, seconds):
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + seconds, lambda: Sleeper.ended.append("fired"))

    async def cancelled_timer(self, seconds):
        asyncio.get_running_loop().call_later(seconds, lambda: None).cancel()

    async def timer_that_writes(self, seconds):
        asyncio.get_running_loop().call_later(seconds, lambda: self.ctx.storage.put("value", "by a timer"))

    async def section(self, seconds):
        self.ctx.blockConcurrencyWhile(lambda: asyncio.sleep(seconds))

    async def outgoing(self, seconds):
        Outside.transport.call("", b"", None, str(seconds), b"")

    async def outgoing_after_a_write(self, seconds):
        await self.ctx.storage.put("value", "before the call")
        Outside.transport.call("", b"", None, str(seconds), b"")

    async def cleans_up(self, seconds):
        async def work():
            try:
                await asyncio.sleep(seconds)
            finally:
                Sleeper.ended.append("finally")
                try:
                    self.ctx.storage.put("value", "too late")
                except StorageUnavailable as error:
                    Sleeper.ended.append(error.message)

        self.kept = asyncio.create_task(work())

    async def fetch(self, request):
        async def body():
            yield b"first"
            await asyncio.sleep(float(request))
            yield b"second"

        return HttpResponse(200, [], body())


class Outside:
    """What objects call: it answers after as many seconds as the method says."""

    transport: GatedTransport

    def call(self, _key, _id, _name, method, _args, *_more):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(float(method), future.set_result, None)
        return future

    fetch = call


def started(folder: object, **options: object) -> Shard:
    Sleeper.constructed = 0
    Sleeper.ended = []
    Outside.transport = GatedTransport(Outside(), asyncio.get_running_loop())  # type: ignore[arg-type]
    return Shard(Sleeper, folder, clock=LoopClock(), **options)  # type: ignore[arg-type]


async def left_after(shard: Shard, seconds: float, step: float = 0.5) -> float:
    """How many seconds later the object "a" is not in memory any more; `seconds` when it still is."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while shard.residents.is_resident(shard.key.id_from_name("a")) and loop.time() - began < seconds:
        await asyncio.sleep(step)
    return loop.time() - began


HIBERNATED = {
    # method, argument → seconds from which it is hibernated; a scan a second, so up to 2 later
    "nothing": (None, 10),
    "write": ("x", 10),
    "event": (30, 40),
    "task": (30, 40),
    "wait_until": (30, 40),
    "timer": (30, 30),
    "timer_at": (30, 30),
    "timer_that_writes": (30, 30),
    "cancelled_timer": (30, 10),
    "section": (15, 25),
    "outgoing": (30, 30),
    "outgoing_after_a_write": (30, 30),
}


@pytest.mark.parametrize("method", HIBERNATED)
def test_it_sleeps_when_nothing_is_left_to_do(tmp_path, method: str) -> None:
    argument, seconds = HIBERNATED[method]

    async def body() -> None:
        shard = started(tmp_path)
        loop = asyncio.get_running_loop()
        began = loop.time()
        future = shard.send("a", method, *([] if argument is None else [argument]))
        instance = shard.instance("a")
        await future
        await left_after(shard, 200)
        assert seconds <= loop.time() - began <= seconds + 2.5
        assert instance.state is State.HIBERNATED
        gc.collect()
        if method == "timer":
            assert Sleeper.ended == ["fired"]
        if method == "timer_that_writes":
            assert await shard.call("a", "value") == "by a timer"
        assert await shard.call("a", "nothing") == 2, "the constructor runs again"
        statistics = shard.residents.statistics()
        assert (statistics["hibernations"], statistics["evictions"], statistics["resets"]) == (1, 0, 0)
        shard.stop()

    run(body())


EVICTED = {
    # method → seconds from which it is evicted, with the flag and without; what is left takes 10,000 s
    "task": (900, 70),
    "wait_until": (900, 70),
    "timer": (900, 70),
    "outgoing": (900, 70),
    "loop_of_sleeps": (2_000, 70),  # with the flag: each of its sleeps is young
}


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("method", EVICTED)
def test_work_that_nobody_waits_for_is_cancelled_in_time(tmp_path, method: str, flag: bool) -> None:
    seconds = EVICTED[method][0 if flag else 1]

    async def body() -> None:
        shard = started(tmp_path, pending_prevents_eviction=flag)
        await shard.call("a", method, *([] if method == "loop_of_sleeps" else [10_000]))
        instance = shard.instance("a")
        left = await left_after(shard, 2_000)
        if method == "wait_until" and flag:  # its own bound of 15 minutes comes first; then it may sleep
            assert 900 <= left <= 915
            return
        assert seconds <= left <= seconds + 3
        if seconds == 2_000:
            assert instance.state is State.RUNNING
            return
        assert instance.state is State.EVICTED
        assert 70 <= left <= 140 or flag
        assert [event for _, event, _ in shard.logs] == ["object_evicted"]
        await asyncio.sleep(10_001)
        assert Sleeper.ended == [], "nothing of it runs any more"
        assert await shard.call("a", "nothing") == 2
        shard.stop()

    run(body())


def test_an_event_that_takes_long_is_not_evicted(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, pending_prevents_eviction=False)
        await shard.call("a", "event", 300)
        assert shard.residents.statistics()["evictions"] == 0
        shard.stop()

    run(body())


def test_events_keep_it_awake(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, pending_prevents_eviction=False)
        await shard.call("a", "task", 10_000)
        for _ in range(20):
            await asyncio.sleep(60)
            assert await shard.call("a", "nothing") == 1
        shard.stop()

    run(body())


def test_a_response_body_that_is_read_keeps_it_awake(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, pending_prevents_eviction=False)
        response = await shard.fetch("a", "300")  # type: ignore[arg-type]
        assert await anext(response.body) == b"first"
        assert await anext(response.body) == b"second"
        assert await anext(response.body, None) is None
        assert 10 <= await left_after(shard, 100) <= 12.5
        assert shard.residents.statistics()["hibernations"] == 1
        shard.stop()

    run(body())


def test_what_an_evicted_object_cleans_up_reaches_no_storage(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, pending_prevents_eviction=False)
        await shard.call("a", "write", "kept")
        await shard.call("a", "cleans_up", 10_000)
        await left_after(shard, 100)
        await asyncio.sleep(1)
        assert Sleeper.ended[0] == "finally"
        assert "storage is no longer accessible" in Sleeper.ended[1]
        assert await shard.call("a", "value") == "kept"
        shard.stop()

    run(body())


def test_a_timer_of_a_reset_object_does_not_fire(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path)
        await shard.call("a", "timer", 30)
        shard.instance("a").reset(ObjectReset("no more"))
        await asyncio.sleep(60)
        assert Sleeper.ended == []
        shard.stop()

    run(body())


def test_many_timers_and_calls_leave_nothing_behind(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path)
        for _ in range(300):
            await shard.call("a", "event", 0.01)
            await shard.call("a", "outgoing", 0.01)
        assert len(shard.instance("a").pending._pieces) <= 64
        shard.stop()

    run(body())


# ---------------------------------------------------------------- bounds
def test_beyond_the_bound_the_least_recently_used_goes(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, limits=Limits(residents_max=4, idle_hibernate_ms=10**9))
        for name in "abcd":
            await shard.call(name, "nothing")
            await asyncio.sleep(1)
        await shard.call("a", "nothing")
        await asyncio.sleep(1)
        await shard.call("c", "task", 10_000)
        await shard.call("e", "nothing")
        await asyncio.sleep(1)
        await shard.call("f", "nothing")
        await asyncio.sleep(1)
        await shard.call("g", "nothing")

        def resident() -> str:
            return "".join(name for name in "abcdefg" if shard.residents.is_resident(shard.key.id_from_name(name)))

        assert resident() == "cefg", "b, d, a in the order of their last use; c has work to do"
        shard.stop()

    run(body())


def test_without_anybody_who_may_leave_new_objects_are_refused(tmp_path) -> None:
    async def body() -> None:
        shard = started(tmp_path, limits=Limits(residents_max=2))
        running = [shard.send(name, "event", 5) for name in "ab"]
        with pytest.raises(Overloaded, match="as many objects as it may"):
            await shard.call("c", "nothing")
        await asyncio.gather(*running)
        assert await shard.call("c", "nothing") == 3
        shard.stop()

    run(body())


def test_the_bound_in_bytes_counts_objects_and_open_databases(tmp_path) -> None:
    async def body() -> None:
        room = 3 * (RESIDENT_BYTES + DATABASE_BYTES)
        shard = started(tmp_path, limits=Limits(residents_bytes_max=room, idle_hibernate_ms=10**9))
        for number in range(20):
            await shard.call(f"with a database {number}", "write", number)
            await asyncio.sleep(0.1)
            assert shard.residents.count <= 4
        assert shard.residents.statistics()["open_databases"] <= 3
        assert await shard.call("with a database 0", "value") == 0
        shard.stop()

    run(body())


def test_choosing_who_leaves_does_not_look_at_everybody(tmp_path) -> None:
    """Each new object beyond the bound costs a look at a few, not at all."""

    async def body() -> None:
        shard = started(tmp_path, limits=Limits(residents_max=500, idle_hibernate_ms=10**9))
        looked = 0
        may_leave = shard.residents._least_recent._may_leave

        def count(instance):
            nonlocal looked
            looked += 1
            return may_leave(instance)

        shard.residents._least_recent._may_leave = count
        for number in range(1_500):
            await shard.call(f"{number}", "nothing")
        assert shard.residents.count == 500
        assert looked <= 1_100
        shard.stop()

    run(body())


# ---------------------------------------------------------------- waitUntil
class Background(DurableObject):
    """`ctx.waitUntil` in its forms."""

    released: asyncio.Future[None]

    async def later(self, kind):
        async def work():
            await Background.released
            await self.ctx.storage.put("done", kind)

        if kind == "coroutine":
            self.ctx.waitUntil(work())
        elif kind == "future":
            self.ctx.waitUntil(Background.released)
            await self.ctx.storage.put("done", "future")
        elif kind == "task":
            self.ctx.wait_until(asyncio.ensure_future(work()))
        elif kind == "fails":

            async def fails():
                await asyncio.sleep(1)
                raise ValueError("in the background")

            self.ctx.waitUntil(fails())
        elif kind == "aborts":

            async def aborts():
                await asyncio.sleep(1)
                self.ctx.abort("from the background")

            self.ctx.waitUntil(aborts())
        else:
            self.ctx.waitUntil(kind)

    async def done(self):
        return await self.ctx.storage.get("done")

    async def hang(self):
        await asyncio.sleep(20)


@pytest.mark.parametrize("kind", ["coroutine", "future", "task"])
def test_edge_37_wait_until_outlives_the_call(tmp_path, kind: str) -> None:
    async def body() -> None:
        shard = Shard(Background, tmp_path, clock=LoopClock())
        Background.released = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(shard.call("a", "later", kind), 0.05)
        asyncio.get_running_loop().call_later(0.1, Background.released.set_result, None)
        await asyncio.sleep(0.2)
        assert await shard.call("a", "done") == kind
        assert shard.logs == []
        shard.stop()

    run(body())


def test_a_failure_of_wait_until_is_only_logged(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Background, tmp_path, clock=LoopClock())
        await shard.call("a", "later", "fails")
        hanging = shard.send("a", "hang")
        await asyncio.sleep(2)
        assert [(event, fields["error"]) for _, event, fields in shard.logs] == [
            ("wait_until_failed", "in the background")
        ]
        await hanging
        with pytest.raises(PerdureError, match="TypeError: .*not int"):
            await shard.call("a", "later", 7)
        shard.stop()

    run(body())


def test_an_abort_in_wait_until_resets_the_object(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Background, tmp_path, clock=LoopClock())
        await shard.call("a", "later", "aborts")
        with pytest.raises(ObjectReset) as caught:
            await shard.call("a", "hang")
        assert caught.value.message == "from the background"
        shard.stop()

    run(body())


def test_wait_until_has_fifteen_minutes(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(Background, tmp_path, clock=LoopClock())
        Background.released = asyncio.get_running_loop().create_future()
        await shard.call("a", "later", "coroutine")
        for _ in range(44):  # events come all the time
            await asyncio.sleep(20)
            await shard.call("a", "done")
        assert shard.logs == []
        await asyncio.sleep(21)
        ((_, event, fields),) = shard.logs
        assert event == "wait_until_failed"
        assert fields["error"] == "it was not done within 900 s and was cancelled"
        shard.stop()

    run(body())


@pytest.mark.parametrize("count", [300, 1_500])
def test_what_sleeps_is_garbage_that_is_looked_for(tmp_path, count: int) -> None:
    """Its parts point at one another, and an idle process allocates nothing that would have them collected."""

    async def body() -> None:
        shard = started(tmp_path)
        for number in range(count):
            await shard.call(f"{number}", "nothing")
        instances = [weakref.ref(instance.object) for instance in shard.residents.instances]
        assert len(instances) == count
        gc.disable()
        try:
            await asyncio.sleep(15)
        finally:
            gc.enable()
        assert shard.residents.count == 0
        assert [instance for instance in instances if instance() is not None] == []
        shard.stop()

    run(body())
