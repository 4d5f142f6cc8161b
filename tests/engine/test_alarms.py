"""Alarms that run, in one object: the handler, its outcome, retries, resets (spec: alarms; edge cases 1 to 7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from perdure.engine.alarm_runs import AlarmInfo
from perdure.engine.errors import Overloaded, PerdureError
from perdure.engine.limits import Limits

from .box import Box, Plain

NOW = 1_000_000
"""The shelf's clock, in ms."""
RING: list[Callable[..., Any]] = []
"""What alarms do, the first that is due first; an alarm with nothing left to do returns."""
RUNS: list[Any] = []
"""What the handlers were told."""


class Ringing(Plain):
    async def alarm(self, alarm_info=None):
        RUNS.append(alarm_info)
        if RING:
            result = RING.pop(0)(self.ctx)
            if hasattr(result, "__await__"):
                await result


class WithoutArgument(Plain):
    async def alarm(self):
        RUNS.append(self.ctx.id.name)


class Synchronous(Plain):
    def alarm(self, info):
        RUNS.append(info.retryCount)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    RING.clear()
    RUNS.clear()


def on_box(tmp_path, body, kind: type = Ringing, **options) -> None:
    async def run() -> None:
        async with Box.on(tmp_path, kind, **options) as box:
            await body(box)

    asyncio.run(run())


def arm(when: float = NOW) -> Callable[..., Any]:
    def script(ctx):
        ctx.storage.setAlarm(when)  # not awaited

    return script


async def get_alarm(ctx):
    return await ctx.storage.getAlarm()


def said(box: Box, event: str) -> list[dict[str, object]]:
    return [fields for _, found, fields in box.shard.logs if found == event]


def due(box: Box) -> list[int]:
    """What the commits' records said of the alarm."""
    return [record.alarm_ms for record in box.shard.commits.records if record.alarm_ms is not None]


async def fails(box: Box, match: str = "") -> None:
    with pytest.raises(PerdureError, match=match):
        await box.shard.fire("a")


# ---------------------------------------------------------------------- the handler
def test_edge_1_an_alarm_set_without_await_runs(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        assert len(RUNS) == 1

    on_box(tmp_path, body)


@pytest.mark.parametrize(("kind", "told"), [(WithoutArgument, "a"), (Synchronous, 0)])
def test_edge_3_with_an_argument_or_without(tmp_path, kind: type, told: object) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        assert [told] == RUNS

    on_box(tmp_path, body, kind)


def test_what_the_handler_is_told(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm(NOW + 123.75))
        box.shard.clock.s += 1
        RING.append(lambda ctx: 1 / 0)
        await box.shard.fire("a")
        box.shard.clock.s += 3
        await box.shard.fire("a")

    on_box(tmp_path, body)
    first, second = RUNS
    assert isinstance(first, AlarmInfo)
    assert (first.retryCount, first.isRetry, first.scheduledTime) == (0, False, NOW + 123)
    assert (first["retryCount"], first["isRetry"], first["scheduledTime"]) == (0, False, NOW + 123)
    assert (second.retry_count, second.is_retry, second.scheduled_time) == (1, True, NOW + 123)


def test_edge_6_never_before_its_time(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm(NOW + 500))
        assert await box.shard.fire("a") == (False, NOW + 500)
        box.shard.clock.s -= 50
        assert await box.shard.fire("a") == (False, NOW + 500)
        box.shard.clock.s += 50.5
        assert await box.shard.fire("a") == (True, 0)
        assert RUNS[0].scheduledTime == NOW + 500
        assert await box.shard.fire("a") == (False, 0)

    on_box(tmp_path, body)


def test_it_may_be_run_before_its_time_by_force(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm(NOW + 500))
        assert await box.shard.fire("a", forced=True) == (True, 0)

    on_box(tmp_path, body)


def test_edge_4_get_alarm_in_the_handler_and_after_it(tmp_path) -> None:
    async def body(box: Box) -> None:
        seen = []

        async def look(ctx):
            seen.append(await ctx.storage.getAlarm())
            ctx.storage.setAlarm(NOW + 50)
            seen.append(await ctx.storage.getAlarm())
            ctx.storage.deleteAlarm()
            seen.append(await ctx.storage.getAlarm())

        RING.append(look)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        assert seen == [None, NOW + 50, None]
        assert await box.do(get_alarm) is None

    on_box(tmp_path, body)


def test_edge_4a_delete_alarm_in_the_handler_does_not_stop_the_run(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def delete(ctx):
            await ctx.storage.deleteAlarm()
            await asyncio.sleep(0)
            ctx.storage.put("ran", True)

        RING.append(delete)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        assert await box.do(lambda ctx: ctx.storage.kv.get("ran"))

    on_box(tmp_path, body)


def test_a_deleted_alarm_of_a_failing_run_is_retried_all_the_same(tmp_path) -> None:
    async def body(box: Box) -> None:
        def delete(ctx):
            ctx.storage.deleteAlarm()
            raise ValueError

        RING.append(delete)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, NOW + 2_000)

    on_box(tmp_path, body)


def test_edge_4b_set_and_deleted_in_the_handler_it_runs_once(tmp_path) -> None:
    async def body(box: Box) -> None:
        def both(ctx):
            ctx.storage.setAlarm(NOW + 50)
            ctx.storage.deleteAlarm()

        RING.append(both)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        box.shard.clock.s += 10
        assert await box.shard.fire("a") == (False, 0)
        assert len(RUNS) == 1

    on_box(tmp_path, body)


def test_edge_5_the_name_is_known_to_an_object_that_the_alarm_wakes(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        box.shard.residents._evict(box.instance())
        await box.shard.fire("a")
        assert RUNS == ["a"]

    on_box(tmp_path, body, WithoutArgument)


def test_a_deadline_runs_every_time_that_it_is_set(tmp_path) -> None:
    async def body(box: Box) -> None:
        RING.extend([arm(NOW + 100), arm(NOW + 200)])
        await box.do(arm())
        for ms in (100, 200, 0):
            assert await box.shard.fire("a") == (True, NOW + ms if ms else 0)
            box.shard.clock.s += 0.1
        assert [info.scheduledTime for info in RUNS] == [NOW, NOW + 100, NOW + 200]
        assert due(box) == [NOW, NOW + 100, NOW + 200, 0]

    on_box(tmp_path, body)


def test_single_flight(tmp_path) -> None:
    async def body(box: Box) -> None:
        ready = asyncio.Event()

        async def wait(ctx):
            await ready.wait()

        RING.append(wait)
        await box.do(arm())
        first = box.shard.fire("a")
        await asyncio.sleep(0)
        assert await box.shard.fire("a") == (False, NOW)
        assert await box.do(get_alarm) is None
        await box.do(arm(NOW + 77))  # by another event, while it runs
        assert await box.do(get_alarm) == NOW + 77
        ready.set()
        assert await first == (True, NOW + 77)
        assert len(RUNS) == 1

    on_box(tmp_path, body)


# ---------------------------------------------------------------------- the outcome
def test_success_clears_it_in_the_commit_of_the_last_turn(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def two_turns(ctx):
            ctx.storage.put("turn", 1)
            await ctx.storage.sync()
            ctx.storage.put("turn", 2)

        RING.append(two_turns)
        await box.do(arm())
        records = box.shard.commits.records
        records.clear()
        assert await box.shard.fire("a") == (True, 0)
        assert [record.alarm_ms for record in records] == [None, 0]

    on_box(tmp_path, body)


def test_the_outcome_waits_for_its_writes_to_be_durable(tmp_path) -> None:
    async def body(box: Box) -> None:
        setting = box.send(arm())
        await asyncio.sleep(0)
        box.shard.commits.commit()
        await setting
        RING.append(lambda ctx: ctx.storage.put("k", 1))
        fired = box.shard.fire("a")
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(RUNS) == 1
        assert not fired.done()
        box.shard.commits.commit()
        assert await fired == (True, 0)

    on_box(tmp_path, body, auto=False)


def test_a_failed_commit_of_the_outcome_is_a_lost_run(tmp_path) -> None:
    async def body(box: Box) -> None:
        commits = box.shard.commits
        await box.do(arm())
        commits.auto = False
        RING.append(lambda ctx: ctx.storage.put("k", 1))
        fired = box.shard.fire("a")
        for _ in range(10):
            await asyncio.sleep(0)
        commits.auto = True
        commits.fail()
        with pytest.raises(PerdureError, match="storage write"):
            await fired
        assert len(RUNS) == 1
        assert not said(box, "alarm_dropped")

    on_box(tmp_path, body)


def test_what_it_raises_is_retried_with_growing_waits_then_dropped(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def fail(ctx):
            ctx.storage.put("n", (ctx.storage.kv.get("n") or 0) + 1)
            raise ValueError("no luck")

        box.shard.jitter = 0.5
        await box.do(arm())
        waits = []
        RING.extend([fail] * 7)
        for _ in range(7):
            before = box.shard.clock.now_ms()
            ran, due_ms = await box.shard.fire("a")
            assert ran
            if due_ms:
                waits.append(due_ms - before)
                assert await box.do(get_alarm) == NOW  # the original time
                assert await box.shard.fire("a") == (False, due_ms)
                box.shard.clock.s = due_ms / 1000
        assert waits == [2_250, 4_500, 9_000, 18_000, 36_000, 72_000]
        assert await box.do(get_alarm) is None
        assert await box.do(lambda ctx: ctx.storage.kv.get("n")) == 7
        assert [info.retryCount for info in RUNS] == [0, 1, 2, 3, 4, 5, 6]
        assert len(said(box, "alarm_failed")) == 6
        (dropped,) = said(box, "alarm_dropped")
        assert "no luck" in str(dropped["traceback"])
        assert due(box)[-1] == 0

    on_box(tmp_path, body)


def test_retries_outlive_the_object(tmp_path) -> None:
    async def fail_first(box: Box) -> None:
        RING.append(lambda ctx: 1 / 0)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, NOW + 2_000)

    async def go_on(box: Box) -> None:
        assert await box.shard.fire("a") == (False, NOW + 2_000)
        box.shard.clock.s += 2
        RING.append(lambda ctx: 1 / 0)
        assert await box.shard.fire("a") == (True, NOW + 6_000)
        assert RUNS[-1].retryCount == 1

    on_box(tmp_path, fail_first)
    on_box(tmp_path, go_on)


def test_between_retries_it_can_be_deleted_or_set_anew(tmp_path) -> None:
    async def body(box: Box) -> None:
        for change in (lambda ctx: ctx.storage.deleteAlarm() and None, arm(NOW + 700)):
            RING.append(lambda ctx: 1 / 0)
            await box.do(arm())
            assert await box.shard.fire("a") == (True, NOW + 2_000)
            assert due(box)[-1] == NOW + 2_000
            await box.do(change)
        assert due(box) == [NOW, NOW + 2_000, 0, NOW, NOW + 2_000, NOW + 700]
        box.shard.clock.s += 0.7
        assert await box.shard.fire("a") == (True, 0)
        assert RUNS[-1].retryCount == 0

    on_box(tmp_path, body)


def test_set_in_a_failed_run_it_replaces_the_retry(tmp_path) -> None:
    async def body(box: Box) -> None:
        def set_and_fail(ctx):
            ctx.storage.setAlarm(NOW + 60_000)
            raise ValueError

        RING.append(set_and_fail)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, NOW + 60_000)
        box.shard.clock.s += 60
        await box.shard.fire("a")
        assert [info.retryCount for info in RUNS] == [0, 0]

    on_box(tmp_path, body)


class Bare(Plain):
    """Sets its alarm while it is constructed: then nobody asks for a handler."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.setAlarm(NOW)


def test_a_class_without_a_handler_is_warned_of_and_its_alarm_dropped(tmp_path) -> None:
    async def body(box: Box) -> None:
        assert await box.do(get_alarm) == NOW
        assert await box.shard.fire("a") == (False, 0)
        assert len(said(box, "alarm_without_handler")) == 1
        assert await box.do(get_alarm) is None

    on_box(tmp_path, body, Bare)


def test_each_run_is_metered(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        box.instance().meters.take()
        assert await box.shard.fire("a") == (True, 0)
        assert await box.shard.fire("a") == (False, 0)
        meters = box.meters()
        assert (meters.alarms, meters.requests) == (1, 0)

    on_box(tmp_path, body)


# ---------------------------------------------------------------------- resets
def test_abort_is_retried_by_default_and_undoes_its_turn(tmp_path) -> None:
    async def body(box: Box) -> None:
        def abort(ctx):
            ctx.storage.put("k", 1)
            ctx.abort("not now")

        RING.append(abort)
        await box.do(arm())
        await fails(box, "not now")
        assert await box.do(lambda ctx: ctx.storage.kv.get("k")) is None
        assert due(box)[-1] == NOW + 2_000
        assert await box.do(get_alarm) == NOW
        box.shard.clock.s += 2
        assert await box.shard.fire("a") == (True, 0)
        assert RUNS[-1].retryCount == 1

    on_box(tmp_path, body)


OPTIONS = {
    "dict": lambda ctx: ctx.abort("enough", {"retryAlarm": False}),
    "keyword": lambda ctx: ctx.abort("enough", retryAlarm=False),
    "alias": lambda ctx: ctx.abort("enough", {"retry_alarm": False}),
}


@pytest.mark.parametrize("form", OPTIONS)
def test_abort_may_drop_it(tmp_path, form: str) -> None:
    async def body(box: Box) -> None:
        RING.append(OPTIONS[form])
        await box.do(arm())
        await fails(box, "enough")
        assert await box.do(get_alarm) is None
        assert due(box)[-1] == 0

    on_box(tmp_path, body)


def test_aborts_count_like_exceptions(tmp_path) -> None:
    async def body(box: Box) -> None:
        RING.extend([lambda ctx: ctx.abort("again")] * 7)
        await box.do(arm())
        for _ in range(7):
            await fails(box, "again")
            box.shard.clock.s += 100
        assert await box.do(get_alarm) is None
        assert len(said(box, "alarm_dropped")) == 1

    on_box(tmp_path, body)


def test_a_reset_that_another_event_made_does_not_count(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def wait(ctx):
            await asyncio.get_running_loop().create_future()

        await box.do(arm())
        for times in range(8):
            RING.append(wait)
            fired = box.shard.fire("a")
            await asyncio.sleep(0)
            with pytest.raises(PerdureError):
                await box.do(lambda ctx: ctx.abort("by another", {"retryAlarm": False}))
            with pytest.raises(PerdureError, match="by another"):
                await fired
            assert due(box)[-1] == box.shard.clock.now_ms() + (2_000 << times)
            box.shard.clock.s = due(box)[-1] / 1000
        assert await box.shard.fire("a") == (True, 0)
        assert RUNS[-1].retryCount == 8

    on_box(tmp_path, body)


def test_an_alarm_set_before_a_lost_run_ended_replaces_it(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def set_then_abort(ctx):
            ctx.storage.setAlarm(NOW + 9_000)
            await ctx.storage.sync()
            ctx.abort("after that")

        RING.append(set_then_abort)
        await box.do(arm())
        await fails(box, "after that")
        assert due(box)[-1] == NOW + 9_000
        seen = []

        async def look(ctx):
            seen.append(await ctx.storage.getAlarm())

        RING.append(look)
        box.shard.clock.s += 9
        assert await box.shard.fire("a") == (True, 0)
        assert seen == [None]
        assert (RUNS[-1].retryCount, RUNS[-1].scheduledTime) == (0, NOW + 9_000)

    on_box(tmp_path, body)


def test_a_run_that_takes_too_long_is_cancelled_and_counts(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def wait(ctx):
            ctx.storage.put("k", 1)
            await asyncio.get_running_loop().create_future()

        RING.append(wait)
        await box.do(arm())
        with pytest.raises(PerdureError, match="Alarm exceeded its allowed execution time") as caught:
            await box.shard.fire("a")
        assert caught.value.name == "Error"
        assert due(box)[-1] == NOW + 2_000
        assert await box.do(get_alarm) == NOW
        box.shard.clock.s += 2
        RING.extend([lambda ctx: 1 / 0] * 6)
        for _ in range(6):  # with it seven runs: it counted
            ran, _ = await box.shard.fire("a")
            assert ran
            box.shard.clock.s += 100
        assert await box.do(get_alarm) is None

    on_box(tmp_path, body, limits=Limits(alarm_wall_ms_max=1))


def test_the_time_of_a_run_is_fifteen_minutes() -> None:
    assert Limits().alarm_wall_ms_max == 15 * 60 * 1000


class FailsToBegin(Ringing):
    failing = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        if FailsToBegin.failing:
            FailsToBegin.failing -= 1
            raise ValueError("cannot begin")


def test_a_constructor_that_raises_counts(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        box.shard.residents._evict(box.instance())
        FailsToBegin.failing = 7
        for _ in range(7):
            await fails(box, "cannot begin")
            box.shard.clock.s += 100
        assert await box.do(get_alarm) is None

    on_box(tmp_path, body, FailsToBegin)


def test_a_violated_constraint_at_the_end_of_the_run_counts(tmp_path) -> None:
    async def body(box: Box) -> None:
        def violate(ctx):
            sql = ctx.storage.sql
            sql.exec("create table p(id integer primary key)")
            sql.exec("create table c(p references p(id) deferrable initially deferred)")
            sql.exec("insert into c values (1)")

        RING.append(violate)
        await box.do(arm())
        await fails(box, "constraints were violated")
        assert due(box)[-1] == NOW + 2_000

    on_box(tmp_path, body)


def test_an_un_awaited_transaction_ends_before_the_run_does(tmp_path) -> None:
    async def body(box: Box) -> None:
        async def begin(ctx):
            async def inside(txn):
                await asyncio.sleep(0)
                txn.put("k", 1)
                raise ValueError

            task = ctx.storage.transaction(inside)
            task.add_done_callback(lambda done: done.exception())

        RING.append(begin)
        await box.do(arm())
        assert await box.shard.fire("a") == (True, 0)
        assert await box.do(get_alarm) is None

    on_box(tmp_path, body)


def test_a_refused_delivery_changes_nothing(tmp_path) -> None:
    async def body(box: Box) -> None:
        await box.do(arm())
        box.shard.residents.refuse(Overloaded("not today"), None)
        await fails(box, "not today")
        box.shard.residents.refuse(None, None)
        assert await box.shard.fire("a") == (True, 0)
        assert RUNS[-1].retryCount == 0

    on_box(tmp_path, body)
