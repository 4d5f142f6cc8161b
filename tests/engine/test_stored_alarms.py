"""The alarm as it is stored: getAlarm, setAlarm, deleteAlarm, deleteAll, transactions, what a commit says (spec: alarms)."""

from __future__ import annotations

import asyncio
import datetime
from types import SimpleNamespace

import pytest
from perdure.engine.class_runtime import ClassRuntime
from perdure.engine.errors import InvalidArgument, PerdureError
from perdure.sdk import compatibility

from .box import Alarmed, Box, Plain

NOW = 1_000_000
"""The shelf's clock, in ms."""
LATER = 5_000_000


def in_object(tmp_path, *scripts, **options):
    async def run():
        async with Box.on(tmp_path, **options) as box:
            found = [await box.do(script) for script in scripts]
            return found, [record.alarm_ms for record in box.shard.commits.records]

    return asyncio.run(run())


def test_set_get_delete_take_effect_when_called(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        found = [await s.getAlarm()]
        s.setAlarm(LATER)
        found.append(await s.getAlarm())
        s.setAlarm(LATER + 1, {"allowUnconfirmed": True})
        found.append(await s.getAlarm({"allowConcurrency": True}))
        s.deleteAlarm()
        return [*found, await s.getAlarm(), await s.deleteAlarm()]

    assert in_object(tmp_path, script)[0] == [[None, LATER, LATER + 1, None, None]]


def test_it_outlives_the_object(tmp_path) -> None:
    async def write(ctx):
        ctx.storage.setAlarm(LATER)

    async def read(ctx):
        return await ctx.storage.getAlarm()

    assert in_object(tmp_path, write)[1] == [LATER]
    assert in_object(tmp_path, read) == ([LATER], [])


local = datetime.datetime(2030, 1, 2, 3, 4, 5, 678_000)
TIMES = {
    "int": (LATER, LATER),
    "float": (LATER + 0.75, LATER),
    "past": (1, NOW),
    "now": (NOW, NOW),
    "naive-is-local": (local, int(local.timestamp() * 1000)),
    "aware": (datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC), 1_893_456_000_000),
    "js-date": (SimpleNamespace(getTime=lambda: LATER), LATER),
}


@pytest.mark.parametrize("name", TIMES)
def test_times(tmp_path, name: str) -> None:
    when, ms = TIMES[name]

    async def script(ctx):
        await ctx.storage.setAlarm(when)
        return await ctx.storage.getAlarm()

    assert in_object(tmp_path, script) == ([ms], [ms])


BAD = {
    "zero": (0, "with an alarm time <= 0"),
    "negative": (-5, "with an alarm time <= 0"),
    "before-1970": (datetime.datetime(1960, 1, 1), "with an alarm time <= 0"),
    "nan": (float("nan"), "is no time"),
    "infinite": (float("inf"), "is no time"),
    "text": ("soon", "parameter 1 is not of type 'date'"),
    "none": (None, "parameter 1 is not of type 'date'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_time(tmp_path, name: str) -> None:
    when, phrase = BAD[name]

    async def script(ctx):
        with pytest.raises(InvalidArgument, match=phrase) as caught:
            ctx.storage.setAlarm(when)
        assert caught.value.name == "TypeError"
        return await ctx.storage.getAlarm()

    assert in_object(tmp_path, script) == ([None], [])


class InConstructor(Plain):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.setAlarm(LATER)


def test_a_class_without_a_handler_may_set_it_in_the_constructor_only(tmp_path) -> None:
    async def script(ctx):
        with pytest.raises(InvalidArgument, match=r"must have an alarm\(\) handler") as caught:
            ctx.storage.setAlarm(LATER + 1)
        assert caught.value.name == "TypeError"
        return await ctx.storage.getAlarm()

    assert in_object(tmp_path / "one", script, kind=Plain)[0] == [None]
    assert in_object(tmp_path / "two", script, kind=InConstructor)[0] == [LATER]


def test_edge_7_the_same_value_twice_writes_nothing(tmp_path) -> None:
    async def script(ctx):
        ctx.storage.setAlarm(LATER)

    _, records = in_object(tmp_path, script, script, script)
    assert records == [LATER]


def test_it_belongs_to_the_turn_and_to_transactions(tmp_path) -> None:
    async def set_first(ctx):
        ctx.storage.setAlarm(LATER)

    async def aborted(ctx):
        ctx.storage.setAlarm(LATER + 1)
        ctx.abort("stop")

    async def transactions(ctx):
        s = ctx.storage
        found = []

        async def kept(txn):
            txn.setAlarm(LATER + 2)
            return await txn.getAlarm()

        async def undone(txn):
            await txn.deleteAlarm()
            found.append(await s.getAlarm())
            txn.rollback()

        async def fails(txn):
            await s.setAlarm(LATER + 3)
            raise ValueError

        def fails_too():
            s.setAlarm(LATER + 4)
            raise ValueError

        found += [await s.getAlarm(), await s.transaction(kept)]
        await s.transaction(undone)
        with pytest.raises(ValueError):
            await s.transaction(fails)
        with pytest.raises(ValueError):
            s.transactionSync(fails_too)
        s.put("k", 1)
        return [*found, await s.getAlarm()]

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(set_first)
            with pytest.raises(PerdureError, match="stop"):
                await box.do(aborted)
            assert await box.do(transactions) == [LATER, LATER + 2, None, LATER + 2]
            records = [record.alarm_ms for record in box.shard.commits.records]
            assert records[0] == LATER
            assert [ms for ms in records[1:] if ms is not None][-1] == LATER + 2
            assert LATER + 3 not in records
            assert LATER + 4 not in records

    asyncio.run(run())


def test_a_record_says_when_the_alarm_has_changed(tmp_path) -> None:
    """None: as it was; 0: there is none any more."""

    def put(ctx):
        ctx.storage.put("k", (ctx.storage.kv.get("k") or 0) + 1)

    _, records = in_object(
        tmp_path,
        lambda ctx: ctx.storage.setAlarm(LATER) and None,
        put,
        lambda ctx: ctx.storage.deleteAlarm() and None,
        put,
        lambda ctx: ctx.storage.setAlarm(LATER) and None,
        lambda ctx: ctx.storage.deleteAll() and None,
    )
    assert records == [LATER, None, 0, None, LATER, 0]


@pytest.mark.parametrize("deletes", [True, False])
def test_delete_all_and_the_alarm(tmp_path, monkeypatch, deletes: bool) -> None:
    made = ClassRuntime.__init__

    def with_flag(self, *args):
        made(self, *args)
        self.delete_all_deletes_alarm = deletes

    monkeypatch.setattr(ClassRuntime, "__init__", with_flag)

    async def script(ctx):
        s = ctx.storage
        await s.setAlarm(LATER)
        await s.sync()
        await s.deleteAll()
        return await s.getAlarm()

    assert in_object(tmp_path, script, kind=Alarmed)[0] == [None if deletes else LATER]


@pytest.mark.parametrize(
    ("date", "flags", "expected"),
    [
        ("2026-02-23", (), False),
        ("2026-02-24", (), True),
        ("", (), True),
        ("2020-01-01", ("delete_all_deletes_alarm",), True),
        ("2030-01-01", ("delete_all_preserves_alarm",), False),
    ],
)
def test_delete_all_by_compatibility_date_and_flag(date, flags, expected) -> None:
    assert compatibility.applies(compatibility.DELETE_ALL_DELETES_ALARM, date, flags) is expected


def test_a_rolled_back_first_write_does_no_harm(tmp_path) -> None:
    """Edge 16: what made the hidden tables' first rows was undone; later writes find them as before."""

    def put(s):
        s.put("k", 1)
        raise ValueError

    def alarm(s):
        s.setAlarm(LATER)
        raise ValueError

    async def script(ctx):
        s = ctx.storage
        for body in (put, alarm):
            with pytest.raises(ValueError):
                s.transactionSync(lambda body=body: body(s))
        found = [await s.get("k"), await s.getAlarm()]
        await s.put("k", 2)
        await s.setAlarm(LATER)
        return [*found, await s.get("k"), await s.getAlarm()]

    assert in_object(tmp_path, script)[0] == [[None, None, 2, LATER]]
