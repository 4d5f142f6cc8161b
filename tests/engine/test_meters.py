"""What an object is found to have used: requests and active time (spec: pricing, counting rules); and what quotas refuse."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import Overloaded, PerdureError, QuotaExceeded
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.limits import Limits
from perdure.engine.meters import METER_NAMES, Meters
from perdure.engine.residents import METERS_EVERY_S

from .shelf import Shard


class Watched(DurableObject):
    """Its calls end when the test says so."""

    gates: dict[str, asyncio.Future[None]]

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.gates = {}

    async def fetch(self, request):
        return HttpResponse(200, [], b"")

    async def wait(self, name):
        self.gates[name] = asyncio.get_running_loop().create_future()
        await self.gates[name]

    async def go(self, name):
        self.gates[name].set_result(None)

    async def leave_task(self):
        self.gates["task"] = asyncio.get_running_loop().create_future()

        async def wait():
            await self.gates["task"]

        self.task = asyncio.create_task(wait())

    async def fail(self):
        raise ValueError("no")

    async def abort(self):
        self.ctx.abort()

    async def put(self, value):
        await self.ctx.storage.put("key", value)

    async def get(self):
        return await self.ctx.storage.get("key")

    async def delete(self):
        return await self.ctx.storage.delete("key")

    async def delete_all(self):
        await self.ctx.storage.deleteAll()

    async def sql(self, query):
        return self.ctx.storage.sql.exec(query).toArray()

    async def transaction(self):
        async def body(_transaction=None):
            await self.ctx.storage.put("key", "in a transaction")

        await self.ctx.storage.transaction(body)

    async def caught(self, value):
        try:
            await self.ctx.storage.put("key", value)
        except Exception as error:
            return error.name
        return "written"


class Metered(Shard):
    """Sums what the residents hand in."""

    def __init__(self, folder: object, **options: object) -> None:
        super().__init__(Watched, folder, **options)  # type: ignore[arg-type]
        self.sum = Meters()
        self.handed: list[tuple[bytes, str]] = []
        self.residents.on_metered = self.take

    def take(self, object_id: bytes, class_key: str, taken: Meters) -> None:
        self.handed.append((object_id, class_key))
        self.sum.add(taken)

    def taken(self) -> Meters:
        self.residents.take_all_meters()
        return self.sum

    async def rounds(self, count: int = 20) -> None:
        for _ in range(count):
            await asyncio.sleep(0)


def test_a_request_is_a_fetch_or_a_call_whatever_comes_of_it(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.fetch("a", HttpRequest("GET", "http://a/", [], b""))
        await shard.call("a", "get")
        for method in ("fail", "not_there"):
            with pytest.raises(PerdureError):
                await shard.call("a", method)
        assert shard.taken().requests == 4  # the constructor is none
        assert set(shard.handed) == {(shard.key.id_from_name("a"), shard.key.unique)}
        shard.stop()

    asyncio.run(run())


def test_what_is_refused_for_overload_is_no_request(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path, limits=Limits(mailbox_length_max=1))
        first = shard.send("a", "get")
        with pytest.raises(Overloaded):
            await shard.send("a", "get")
        await first
        assert shard.taken().requests == 1
        shard.stop()

    asyncio.run(run())


def test_concurrent_events_are_active_once(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        one, two = shard.send("a", "wait", "one"), shard.send("a", "wait", "two")
        await shard.rounds()
        shard.clock.s += 3
        await shard.call("a", "go", "one")
        await one
        shard.clock.s += 4
        await shard.call("a", "go", "two")
        await two
        shard.clock.s += 100  # idle and able to hibernate: not billed
        assert shard.taken().active_us == 7_000_000
        shard.stop()

    asyncio.run(run())


def test_objects_are_active_each_for_itself(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        waiting = [shard.send(name, "wait", "it") for name in ("a", "b")]
        await shard.rounds()
        shard.clock.s += 2
        for name in ("a", "b"):
            await shard.call(name, "go", "it")
        await asyncio.gather(*waiting)
        assert shard.taken().active_us == 4_000_000
        shard.stop()

    asyncio.run(run())


def test_short_turns_are_not_rounded_away(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        for _ in range(10):
            waiting = shard.send("a", "wait", "it")
            await shard.rounds()
            shard.clock.s += 0.0001
            await shard.call("a", "go", "it")
            await waiting
        assert shard.taken().active_us == pytest.approx(1_000, abs=5)
        shard.stop()

    asyncio.run(run())


def test_a_running_task_keeps_an_object_active_without_an_event(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.call("a", "leave_task")
        await shard.rounds()
        shard.clock.s += 5
        assert shard.taken().active_us == 5_000_000
        await shard.call("a", "go", "task")
        await shard.rounds()
        shard.clock.s += 50
        assert shard.taken().active_us == 5_000_000
        shard.stop()

    asyncio.run(run())


def test_an_event_that_goes_on_is_counted_up_to_now_and_not_twice(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        waiting = shard.send("a", "wait", "it")
        await shard.rounds()
        for seconds in (10, 20):
            shard.clock.s += 10
            assert shard.taken().active_us == seconds * 1_000_000
        await shard.call("a", "go", "it")
        await waiting
        assert (shard.taken().active_us, shard.taken().requests) == (20_000_000, 2)
        shard.stop()

    asyncio.run(run())


def test_cancelling_what_waits_ends_no_busy_period_too_late(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.call("a", "get")
        waiting = shard.send("a", "wait", "it")
        await shard.rounds()
        shard.clock.s += 1
        shard.residents.cancel(waiting.call)  # type: ignore[attr-defined]
        with pytest.raises(PerdureError):
            await waiting
        await shard.rounds()
        shard.clock.s += 30
        assert shard.taken().active_us == 1_000_000
        shard.stop()

    asyncio.run(run())


def test_a_reset_keeps_what_was_used(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        waiting = shard.send("a", "wait", "it")
        await shard.rounds()
        shard.clock.s += 2
        with pytest.raises(PerdureError):
            await shard.call("a", "abort")
        with pytest.raises(PerdureError):
            await waiting
        shard.clock.s += 30
        assert (shard.sum.active_us, shard.sum.requests) == (2_000_000, 2)
        assert shard.taken().active_us == 2_000_000
        shard.stop()

    asyncio.run(run())


def test_meters_are_taken_at_eviction_and_while_an_object_stays(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        residents = shard.residents

        def after(seconds: float) -> tuple[int, int]:
            shard.clock.s += seconds
            residents._tick()
            residents._look_for_idle()
            return shard.sum.requests, residents.statistics()["hibernations"]

        await shard.call("a", "get")
        await shard.call("b", "get")
        assert after(METERS_EVERY_S - 0.5) == (0, 0)
        assert after(0.5) == (2, 0)
        await shard.call("b", "get")
        assert after(METERS_EVERY_S - 1) == (2, 0)
        assert after(2) == (3, 1)  # a was idle for ten seconds
        residents.meters_every_s = 1_000
        await shard.call("b", "get")
        assert after(11) == (4, 2)
        shard.stop()

    asyncio.run(run())


def test_a_scan_in_slices_passes_over_what_left_meanwhile(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.call("a", "get")
        residents = shard.residents
        residents._scan = list(residents._by_id.values())  # the rest of a scan begun ticks ago
        assert residents._make_room()
        shard.clock.s += 60
        residents._tick()
        residents._look_for_idle()
        assert residents.statistics()["hibernations"] == 1
        shard.stop()

    asyncio.run(run())


def test_taking_meters_loses_nothing_and_counts_nothing_twice() -> None:
    meters = Meters(*range(1, len(METER_NAMES) + 1))
    taken = meters.take()
    assert [getattr(taken, name) for name in METER_NAMES] == list(range(1, len(METER_NAMES) + 1))
    assert taken
    assert not meters
    taken.add(taken)
    assert [getattr(taken, name) for name in METER_NAMES] == list(range(2, 2 * len(METER_NAMES) + 1, 2))


# ---------------------------------------------------------------------- quotas
REFUSAL = QuotaExceeded("The quota requests_per_day is used up", hint="quota requests_per_day: resets at 00:00 UTC")


def test_a_quota_refuses_new_events_until_it_is_lifted(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        waiting = shard.send("a", "wait", "it")
        await shard.rounds()
        shard.residents.refuse(REFUSAL, None)
        for name in ("a", "new"):
            with pytest.raises(QuotaExceeded, match="used up") as raised:
                await shard.call(name, "get")
            assert (raised.value.name, raised.value.retryable, raised.value.durableObjectReset) == (
                "Error",
                False,
                False,
            )
        shard.residents.refuse(None, None)
        await shard.call("a", "go", "it")  # what ran went on
        await waiting
        assert shard.taken().requests == 2
        shard.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("put", ("new",)), ("sql", ("create table t(a)",)), ("sql", ("insert into u values(1)",)), ("transaction", ())],
)
def test_a_quota_of_writes_refuses_writes_and_leaves_the_object_alone(tmp_path, method, arguments) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.call("a", "put", "old")
        await shard.call("a", "sql", "create table u(a)")
        before = shard.instance("a")
        shard.residents.refuse(None, REFUSAL)
        with pytest.raises(QuotaExceeded, match="used up"):
            await shard.call("a", method, *arguments)
        assert await shard.call("a", "caught", "new") == "Error"
        assert await shard.call("a", "get") == "old"
        assert await shard.call("a", "sql", "select * from u") == []
        assert shard.instance("a") is before
        shard.residents.refuse(None, None)
        assert await shard.call("a", "caught", "new") == "written"
        assert await shard.call("a", "get") == "new"
        shard.stop()

    asyncio.run(run())


def test_deleting_is_not_refused_so_that_room_can_be_made(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        await shard.call("a", "put", "old")
        shard.residents.refuse(None, REFUSAL)
        assert await shard.call("a", "delete") is True
        assert await shard.call("a", "get") is None
        await shard.call("a", "delete_all")
        shard.stop()

    asyncio.run(run())


def test_a_drain_is_not_lifted_by_a_quota(tmp_path) -> None:
    async def run() -> None:
        shard = Metered(tmp_path)
        assert await shard.residents.drain(1.0)
        shard.residents.refuse(None, None)
        with pytest.raises(PerdureError, match="shutting down"):
            await shard.call("a", "get")
        shard.stop()

    asyncio.run(run())
