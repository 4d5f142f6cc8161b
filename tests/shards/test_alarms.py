"""The alarms of a shard: fired in time and in order, over kills, re-deals, lost catalogues, clock steps (spec: alarms)."""

from __future__ import annotations

import asyncio

import apsw
import pytest
from perdure.engine.errors import ObjectNotFound, PerdureError
from perdure.engine.limits import Limits
from perdure.shards.catalogue import AlarmRow, Row
from perdure.testing.virtual import run

from ..sim import conftest
from ..sim.machine import KEY
from .ringing import NAMES, World
from .session import Session

tmp_path = conftest.tmp_path
"""In memory: catalogues are synced often here."""


def test_it_fires_in_time(tmp_path) -> None:
    async def body(world: World) -> None:
        due_ms = await world.arm("a", 5.0)
        await world.wait(4.9)
        assert world.rang == []
        await world.wait(0.2)
        ((name, at_ms, info),) = world.rang
        assert (name, info.scheduledTime, info.retryCount) == ("a", due_ms, 0)
        assert due_ms <= at_ms <= due_ms + 20
        await world.wait(200)
        assert len(world.rang) == 1

    World(tmp_path).run(body)


def test_edge_5_it_wakes_an_evicted_object_by_its_name(tmp_path) -> None:
    async def body(world: World) -> None:
        await world.arm("a", 300.0)
        await world.cycle()
        world.evict()
        await world.wait(301)
        assert [name for name, _, _ in world.rang] == ["a"]

    World(tmp_path).run(body)


def test_overdue_ones_fire_after_a_restart_the_oldest_first(tmp_path) -> None:
    async def body(world: World) -> None:
        for seconds, name in zip((4, 1, 3, 2, 8), NAMES, strict=False):
            await world.arm(name, seconds)
        world.kill()
        await world.wait(6)
        world.start()
        await world.wait(0.5)
        assert [name for name, _, _ in world.rang] == ["o1", "o3", "o2", "o0"]
        await world.wait(2)
        assert world.rang[-1][0] == "o4"

    World(tmp_path).run(body)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("far_s", [2.0, 500.0])
def test_a_killed_process_loses_none(tmp_path, marked: bool, far_s: float) -> None:
    """Also one that was acknowledged and not yet in the catalogue (or there with another time), of an object that sleeps."""

    async def body(world: World) -> None:
        await world.arm("a", 1_000.0)
        await world.arm("b", far_s)
        await world.cycle()
        due_ms = await world.arm("a", far_s)
        await world.do("b", lambda ctx: ctx.storage.deleteAlarm() and None)
        if marked:
            await world.cycle()
        world.evict()
        world.kill()
        world.start()
        await world.wait(0.1)
        world.kill()
        world.start()
        await world.wait(far_s + 1)
        assert world.times("b") == []
        assert len(world.times("a")) == 1
        assert world.times("a")[0] >= due_ms
        assert world.rang[0][0] == "a"

    World(tmp_path).run(body)


def test_none_is_lost_when_the_slots_are_dealt_anew(tmp_path) -> None:
    async def body(world: World) -> None:
        due = {name: await world.arm(name, 100.0 + number) for number, name in enumerate(NAMES)}
        await world.cycle()
        due["o1"] = await world.arm("o1", 90.0)
        for shards in (3, 1, 2):
            world.kill()
            world.start(shards)
            await world.wait(1)
            if shards != 1:
                await world.cycle()
        await world.wait(110)
        assert {name: len(world.times(name)) for name in NAMES} == dict.fromkeys(NAMES, 1)
        for name, due_ms in due.items():
            assert due_ms <= world.times(name)[0] <= due_ms + 50, name

    World(tmp_path).run(body, shards=2)


def test_none_is_lost_with_the_catalogue(tmp_path) -> None:
    async def body(world: World) -> None:
        due = {name: await world.arm(name, 100.0) for name in NAMES}
        world.behaviour["o0"] = lambda ctx: 1 / 0
        await world.arm("o0", 1.0)
        await world.wait(2)
        assert len(world.times("o0")) == 1
        await world.cycle()
        world.kill()
        world.lose_catalogue()
        world.start()
        world.rebuild()
        await world.wait(2)
        assert [name for name, _, _ in world.rang] == ["o0", "o0"]  # the retry, and by its name
        assert world.rang[1][2].retryCount == 1
        await world.wait(110)
        for name in NAMES[1:]:
            assert len(world.times(name)) == 1
            assert world.times(name)[0] >= due[name]

    World(tmp_path).run(body)


def test_a_catalogue_of_an_older_format_learns_what_is_armed(tmp_path) -> None:
    async def body(world: World) -> None:
        await world.arm("a", 50.0)
        await world.cycle()
        world.kill()
        world.rebuild()
        for file in (tmp_path / "catalogue").glob("*.sqlite"):
            connection = apsw.Connection(str(file))
            connection.execute("drop index by_alarm; alter table objects drop column alarm_ms; pragma user_version=3")
            connection.close()
        world.start()
        assert len(world.machines[0].catalogue.missing) >= 1
        world.rebuild()
        assert world.machines[0].catalogue.missing == []
        await world.wait(51)
        assert len(world.times("a")) == 1

    World(tmp_path).run(body)


def test_the_clock_may_be_stepped(tmp_path) -> None:
    """Never early by the wall clock; a step forward is noticed within a second."""

    async def body(world: World) -> None:
        due_ms = await world.arm("a", 100.0)
        later_ms = await world.arm("b", 150.0)
        await world.wait(10)
        world.clock.offset_s -= 1_000
        await world.wait(100)
        assert world.rang == []
        world.clock.offset_s += 1_000  # the wall clock says 110 s after the start again
        await world.wait(1.1)
        ((name, at_ms, _),) = world.rang
        assert name == "a"
        assert at_ms >= due_ms
        world.clock.offset_s += 3_600
        await world.wait(1.1)
        assert [name for name, _, _ in world.rang] == ["a", "b"]
        assert world.times("b")[0] >= later_ms

    World(tmp_path).run(body)


def test_retries_go_on_after_a_kill_and_end(tmp_path) -> None:
    async def body(world: World) -> None:
        world.behaviour["a"] = lambda ctx: 1 / 0
        await world.arm("a", 1.0)
        for number in range(8):
            await world.wait(20 << number if number < 4 else 160)
            world.kill()
            world.start()
        assert [info.retryCount for _, _, info in world.rang] == list(range(7))
        waits = [after - before for before, after in zip(world.times("a"), world.times("a")[1:], strict=False)]
        for number, wait in enumerate(waits):
            assert wait >= 2_000 << number
        assert await world.do("a", lambda ctx: ctx.storage.getAlarm()._value) is None

    World(tmp_path).run(body)


def test_an_alarm_that_kills_its_shard_backs_off_and_is_named(tmp_path) -> None:
    """Hazard: a poison alarm would otherwise kill its shard at every start; its neighbours go on meanwhile."""

    async def body(world: World) -> None:
        async def never_ends(ctx):
            await asyncio.get_running_loop().create_future()

        world.behaviour["a"] = never_ends
        await world.arm("a", 1.0)
        await world.arm("b", 30.0)
        waits = []
        for _ in range(6):
            runs = len(world.times("a"))
            for _ in range(400):
                await world.wait(0.5)
                if len(world.times("a")) > runs:
                    break
            killed_ms = world.clock.now_ms()
            world.kill()
            world.start()
            lost = world.said("alarm_run_lost")
            assert [fields["id"] for fields in lost] == [KEY.id_from_name("a").hex()]
            await world.wait(0.1)
            assert world.said("alarm_failed")[0]["object"] == "Thing/a"
            waits.append(int(str(world.said("alarm_failed")[0]["due_ms"])) - killed_ms)
        for number, wait in enumerate(waits):
            assert (2_000 << number) <= wait <= (2_000 << number) * 1.25 + 200
        assert len(world.times("b")) == 1
        world.behaviour.clear()
        await world.wait(200)
        assert world.rang[-1][2].retryCount == 6
        assert len(world.times("a")) == 7
        await world.wait(1_000)
        assert len(world.times("a")) == 7

    World(tmp_path).run(body)


def test_notes_outlive_a_start_that_is_killed_too(tmp_path) -> None:
    async def body(world: World) -> None:
        async def never_ends(ctx):
            await asyncio.get_running_loop().create_future()

        world.behaviour["a"] = never_ends
        await world.arm("a", 1.0)
        await world.wait(2)
        world.kill()
        world.start()
        world.kill()  # before it has settled anything
        world.start()
        assert len(world.said("alarm_run_lost")) == 1
        await world.wait(1)
        assert len(world.times("a")) == 1

    World(tmp_path).run(body)


def test_a_backlog_does_not_fire_in_one_instant(tmp_path) -> None:
    limits = Limits(segment_bytes=256 << 10, alarms_per_second_max=20, alarms_running_max=3)

    async def body(world: World) -> None:
        running = 0
        most = 0

        async def short(ctx):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

        names = [f"n{number}" for number in range(60)]
        for name in names:
            world.behaviour[name] = short
            await world.arm(name, 1.0)
        world.kill()
        await world.wait(100)
        world.start()
        await world.wait(1.0)
        assert 15 <= len(world.rang) <= 24
        await world.wait(4.0)
        assert len(world.rang) == 60
        assert most <= 3

    World(tmp_path, limits).run(body)


def test_only_what_is_due_soon_is_in_memory(tmp_path) -> None:
    """10,000 armed objects that sleep cost nothing; in their time they fire all the same."""

    async def body(world: World) -> None:
        machine = world.machines[0]
        rows = [
            Row(KEY.id_from_name(f"m{n}"), KEY.unique, f"m{n}", 4096, 1, world.clock.now_ms() + 5_000 + n % 1_000)
            for n in range(10_000)
        ]
        machine.catalogue.write(rows)
        machine.alarms.refresh()
        await world.wait(1)
        assert machine.alarms.statistics()["alarms_soon"] <= 1_000
        assert machine.residents.count == 0
        asked = []
        machine.residents.deliver = lambda call: asked.append(call)  # type: ignore[method-assign]
        await world.wait(9)
        assert len(asked) == 1_000  # as many as may run at once
        assert asked == sorted(asked, key=lambda call: int(str(call.name)[1:]) % 1_000)

    World(tmp_path).run(body)


def test_alarms_of_a_class_that_is_gone_wait_and_keep_nobody_waiting(tmp_path) -> None:
    async def body(world: World) -> None:
        now_ms = world.clock.now_ms()
        ids = [KEY.id_from_name(f"gone{n}") for n in range(3_000)]
        world.machines[0].catalogue.write([Row(id, "of-another-program", None, 4096, 1, now_ms) for id in ids])
        await world.arm("a", 2.0)
        await world.cycle()
        world.kill()
        world.start()
        await world.wait(3)
        assert [name for name, _, _ in world.rang] == ["a"]
        assert world.said("alarm_postponed") == []
        rows = world.machines[0].catalogue.due(1 << 60, {"of-another-program"}, set(), 10_000)
        assert len(rows) == 3_000

    World(tmp_path).run(body)


def test_fire_runs_it_now(tmp_path) -> None:
    async def body(world: World) -> None:
        alarms = world.machines[0].alarms
        await world.arm("a", 1_000.0)
        assert await alarms.fire(KEY.id_from_name("a"))
        assert len(world.rang) == 1
        assert not await alarms.fire(KEY.id_from_name("a"))
        assert not await alarms.fire(KEY.id_from_name("never seen"))
        world.behaviour["a"] = lambda ctx: ctx.abort("no")
        await world.arm("a", 1_000.0)
        with pytest.raises(PerdureError, match="no"):
            await alarms.fire(KEY.id_from_name("a"))
        with pytest.raises(ObjectNotFound):
            await alarms.fire(bytes(32))

    World(tmp_path).run(body)


def test_while_events_are_refused_nothing_fires(tmp_path) -> None:
    async def body(world: World) -> None:
        residents = world.machines[0].residents
        await world.arm("a", 1.0)
        residents.refuse(PerdureError("used up"), None)
        await world.wait(5)
        assert world.rang == []
        residents.refuse(None, None)
        await world.wait(1.1)
        assert len(world.rang) == 1

    World(tmp_path).run(body)


def test_what_cannot_be_asked_is_asked_later(tmp_path) -> None:
    async def body(world: World) -> None:
        residents = world.machines[0].residents
        await world.arm("a", 1.0)
        deliver = residents.deliver
        refused = []

        def refuse(call):
            refused.append(world.clock.now_ms())
            call.answer(call, PerdureError("too much"))

        residents.deliver = refuse  # type: ignore[method-assign]
        await world.wait(20)
        assert len(refused) == 4  # after 1 s, then 2, 4 and 8 s later
        residents.deliver = deliver  # type: ignore[method-assign]
        await world.wait(21)
        assert len(world.rang) == 1
        assert world.rang[0][2].retryCount == 0

    World(tmp_path).run(body)


def test_after_an_object_was_deleted_its_alarm_is_gone(tmp_path) -> None:
    async def body(world: World) -> None:
        machine = world.machines[0]
        await world.arm("a", 5.0)
        await machine.timeline.delete(KEY, KEY.id_from_name("a"))
        await world.wait(10)
        assert world.rang == []
        assert machine.alarms.statistics()["alarms_soon"] == 0

    World(tmp_path).run(body)


def test_a_restored_object_has_the_alarm_that_it_had(tmp_path) -> None:
    """A restore has no commit record: the object is asked; after a kill too."""

    async def body(world: World) -> None:
        machine = world.machines[0]
        due_ms = await world.arm("a", 50.0)
        bookmark = await world.do("a", lambda ctx: ctx.storage.getCurrentBookmark())
        await world.do("a", lambda ctx: ctx.storage.deleteAlarm() and None)
        await world.cycle()
        await world.do("a", lambda ctx: ctx.storage.onNextSessionRestoreBookmark(bookmark))
        with pytest.raises(PerdureError):
            await world.do("a", lambda ctx: ctx.abort("restore"))
        assert await world.do("a", lambda ctx: ctx.storage.getAlarm()._value) == due_ms
        await world.wait(1)
        rows = machine.catalogue.due(1 << 60, {KEY.unique}, set(), 10)
        assert rows == [AlarmRow(due_ms, KEY.id_from_name("a"), KEY.unique, "a")]
        world.kill()
        world.start()
        await world.cycle()  # what the log says of it is of an earlier file: the marker finds that out
        await world.wait(60)
        assert [(name, info.scheduledTime) for name, _, info in world.rang] == [("a", due_ms)]

    World(tmp_path).run(body)


def test_a_wrong_row_of_the_catalogue_is_put_right(tmp_path) -> None:
    async def body(world: World) -> None:
        machine = world.machines[0]
        due_ms = await world.arm("a", 100.0)
        await world.do("b", lambda ctx: ctx.storage.put("k", 1) and None)
        await world.cycle()
        ids = [KEY.id_from_name(name) for name in ("a", "b")]
        machine.catalogue.set_alarms(dict.fromkeys(ids, world.clock.now_ms() + 1_000))
        world.kill()
        world.start()
        await world.wait(3)
        assert world.rang == []
        assert [row.due_ms for row in world.machines[0].catalogue.due(1 << 60, {KEY.unique}, set(), 10)] == [due_ms]

    World(tmp_path).run(body)


def test_a_session_of_tests_that_never_starts_them_fires_none(tmp_path) -> None:
    async def body() -> None:
        async with Session.on(tmp_path) as session:
            await session.do(lambda ctx: ctx.storage.setAlarm(1) and None)
            await asyncio.sleep(5)

    run(body())


# ---------------------------------------------------------------------- hand-offs
def test_one_that_becomes_due_in_a_hand_off_fires_once_in_the_next_session(tmp_path) -> None:
    async def body(world: World) -> None:
        await world.arm("a", 0.1)
        await world.arm("b", 5.0)
        await world.wait(0.09)
        for machine in world.machines:
            machine.alarms.stop()  # as the release does first
        await world.wait(0.05)
        assert world.rang == []
        await world.hand_over()
        await world.wait(0.1)
        assert [(name, info.retryCount) for name, _, info in world.rang] == [("a", 0)]
        await world.hand_over()
        await world.wait(300)
        assert [(name, info.retryCount) for name, _, info in world.rang] == [("a", 0), ("b", 0)]
        assert await world.do("a", lambda ctx: ctx.storage.getAlarm()) is None

    World(tmp_path).run(body, shards=2)


def test_a_run_that_ends_within_the_hand_off_s_patience_is_not_run_again(tmp_path) -> None:
    async def body(world: World) -> None:
        async def behaviour(ctx):
            await asyncio.sleep(0.1)
            await ctx.storage.put("ran", 1)

        world.behaviour["a"] = behaviour
        await world.arm("a", 1.0)
        await world.wait(1.05)
        assert len(world.rang) == 1
        await world.hand_over()
        assert await world.do("a", lambda ctx: ctx.storage.get("ran")) == 1
        await world.wait(300)
        assert len(world.rang) == 1
        assert world.said("alarm_run_lost") == []

    World(tmp_path).run(body)


@pytest.mark.parametrize("then", ["nothing", "storage", "killed"])
def test_a_run_that_a_hand_off_cuts_off_runs_again_as_a_retry(tmp_path, then: str) -> None:
    async def body(world: World) -> None:
        async def behaviour(ctx):
            if len(world.rang) > 1:
                return
            await ctx.storage.put("begun", 1)
            await asyncio.sleep(3.0)
            if then == "storage":
                await ctx.storage.put("begun", 2)

        world.behaviour["a"] = behaviour
        due_ms = await world.arm("a", 1.0)
        await world.wait(1.5)
        assert len(world.rang) == 1
        await world.hand_over()
        assert len(world.said("alarm_run_lost")) == 1
        if then == "killed":
            world.kill()
            world.start()
        await world.wait(300)
        assert [(info.scheduledTime, info.isRetry) for _, _, info in world.rang] == [(due_ms, False), (due_ms, True)]
        assert world.times("a")[1] >= world.times("a")[0] + 2_000
        assert await world.do("a", lambda ctx: ctx.storage.get("begun")) == 1
        assert await world.do("a", lambda ctx: ctx.storage.getAlarm()) is None

    World(tmp_path).run(body)


def test_what_is_armed_anew_while_its_run_outlives_the_hand_off_fires(tmp_path) -> None:
    async def body(world: World) -> None:
        async def behaviour(ctx):
            if len(world.rang) == 1:
                await asyncio.sleep(20.0)

        world.behaviour["a"] = behaviour
        await world.arm("a", 1.0)
        await world.wait(1.5)
        await world.hand_over()
        due_ms = await world.arm("a", 10.0)
        await world.wait(300)
        assert due_ms in [info.scheduledTime for _, _, info in world.rang]
        assert all(at_ms >= info.scheduledTime for _, at_ms, info in world.rang)

    World(tmp_path).run(body)
