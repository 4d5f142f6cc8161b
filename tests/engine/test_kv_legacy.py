"""Classes with the key-value backend, and what operations count as on both backends (spec: storage-kv, pricing)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import OutOfRange, StorageError
from perdure.engine.meters import Meters

from .box import Box

KEY, VALUE = 2_048, 131_072


def run_in(tmp_path, script, **options):
    async def run():
        async with Box.on(tmp_path, **options) as box:
            found = await box.do(script)
            return found, box.meters().take()

    return asyncio.run(run())


def test_keys_have_a_bound(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        await s.put("k" * KEY, 1)
        await s.put("é" * (KEY // 2), 2)
        too_long = "k" * (KEY + 1)
        for attempt in (
            lambda: s.put(too_long, 1),
            lambda: s.put({"a": 1, too_long: 1}),
            lambda: s.put("é" * (KEY // 2) + "k", 1),
            lambda: s.get(too_long),
            lambda: s.get(["a", too_long]),
            lambda: s.delete(too_long),
            lambda: s.delete(["a", too_long]),
        ):
            with pytest.raises(OutOfRange, match="Keys cannot be larger than 2048 bytes") as caught:
                attempt()
            assert caught.value.name == "RangeError"
        return len(await s.list())

    assert run_in(tmp_path, script, sql=False)[0] == 2


def test_values_have_a_bound(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        await s.put("a", b"x" * (VALUE - 5))
        for attempt in (lambda: s.put("b", b"x" * VALUE), lambda: s.put({"b": 1, "c": ["x" * VALUE]})):
            with pytest.raises(OutOfRange, match="Values cannot be larger than 131072 bytes") as caught:
                attempt()
            assert caught.value.name == "RangeError"
        return list(await s.list())

    assert run_in(tmp_path, script, sql=False)[0] == ["a"]


def test_sqlite_classes_have_neither_bound(tmp_path) -> None:
    async def script(ctx):
        await ctx.storage.put("k" * 5_000, "x" * 500_000)
        return len(await ctx.storage.get("k" * 5_000))

    assert run_in(tmp_path, script)[0] == 500_000


FAILURES = {
    "kv.get": (lambda s: s.kv.get("a"), "only available for SQLite-backed Durable Objects"),
    "kv.put": (lambda s: s.kv.put("a", 1), "namespace is not declared to use SQLite"),
    "kv.list": (lambda s: s.kv.list(), "only available for SQLite-backed Durable Objects"),
    "sql.exec": (lambda s: s.sql.exec("select 1"), "SQL is not enabled for this"),
    "sql.databaseSize": (lambda s: s.sql.databaseSize, "new_sqlite_classes"),
    "transactionSync": (lambda s: s.transactionSync(list), "Durable Object is not backed by SQL"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_needs_sqlite(tmp_path, name: str) -> None:
    attempt, phrase = FAILURES[name]

    def script(ctx):
        with pytest.raises(StorageError, match=phrase) as caught:
            attempt(ctx.storage)
        return caught.value.name

    assert run_in(tmp_path, script, sql=False)[0] == "Error"


def test_legacy_classes_have_everything_else(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage

        async def body(txn):
            await txn.put("in", 1)
            txn.rollback()

        await s.put("a", 1)
        await s.transaction(body)
        await s.setAlarm(5_000_000)
        await s.sync()
        found = [dict(await s.list()), await s.getAlarm()]
        await s.deleteAll()
        return [*found, len(await s.list())]

    assert run_in(tmp_path, script, sql=False)[0] == [{"a": 1}, 5_000_000, 0]


ROWS = {
    "get": (lambda s: s.get("a"), Meters(rows_read=1)),
    "get-cached": (lambda s: [s.get("a"), s.get("a")], Meters(rows_read=2)),
    "get-missing": (lambda s: s.get("x"), Meters(rows_read=1)),
    "get-many": (lambda s: s.get(["a", "b", "x", "a"]), Meters(rows_read=3)),
    "kv.get": (lambda s: s.kv.get("a"), Meters(rows_read=1)),
    "put": (lambda s: s.put("x", "y" * 9_000), Meters(rows_written=1)),
    "put-entries": (lambda s: s.put({"x": 1, "y": 2}), Meters(rows_written=2)),
    "kv.put": (lambda s: s.kv.put("x", 1), Meters(rows_written=1)),
    "delete": (lambda s: s.delete("a"), Meters(rows_written=1)),
    "delete-missing": (lambda s: s.delete("x"), Meters()),
    "delete-many": (lambda s: s.delete(["a", "b", "x"]), Meters(rows_written=2)),
    "kv.delete": (lambda s: s.kv.delete("a"), Meters(rows_written=1)),
    "list": (lambda s: s.list(limit=2), Meters(rows_read=2)),
    "list-nothing": (lambda s: s.list(prefix="x"), Meters()),
    "kv.list": (lambda s: [next(s.kv.list())], Meters(rows_read=1)),
    "deleteAll": (lambda s: s.deleteAll(), Meters(rows_written=3)),
    "setAlarm": (lambda s: s.setAlarm(5_000_000), Meters(rows_written=1)),
    "setAlarm-twice": (lambda s: [s.setAlarm(5_000_000), s.setAlarm(5_000_000)], Meters(rows_written=1)),
    "transaction-sync": (lambda s: s.transactionSync(lambda: s.put("x", 1)), Meters(rows_written=1)),
}
UNITS = {
    "get": (lambda s: s.get("a"), Meters(kv_read_units=1)),
    "get-missing": (lambda s: s.get("x"), Meters(kv_read_units=1)),
    "get-large": (lambda s: s.get("c"), Meters(kv_read_units=3)),
    "get-many": (lambda s: s.get(["a", "c", "x"]), Meters(kv_read_units=5)),
    "put": (lambda s: s.put("x", 1), Meters(kv_write_units=1)),
    "put-4096": (lambda s: s.put("x", "y" * 4_092), Meters(kv_write_units=1)),  # 3 bytes say that it is text
    "put-4097": (lambda s: s.put("x", "y" * 4_093), Meters(kv_write_units=2)),
    "put-entries": (lambda s: s.put({"x": 1, "y": "y" * 9_000}), Meters(kv_write_units=4)),
    "delete": (lambda s: s.delete("c"), Meters(kv_deletes=1)),
    "delete-missing": (lambda s: s.delete("x"), Meters(kv_deletes=1)),
    "delete-many": (lambda s: s.delete(["a", "x"]), Meters(kv_deletes=2)),
    "list": (lambda s: s.list(end="c"), Meters(kv_read_units=1)),
    "list-large": (lambda s: s.list(), Meters(kv_read_units=3)),
    "list-nothing": (lambda s: s.list(prefix="x"), Meters(kv_read_units=1)),
    "deleteAll": (lambda s: s.deleteAll(), Meters(kv_deletes=3)),
    "setAlarm": (lambda s: s.setAlarm(5_000_000), Meters(kv_write_units=1)),
}


def metered(tmp_path, operation, **options) -> Meters:
    async def run():
        async with Box.on(tmp_path, **options) as box:
            await box.do(lambda ctx: ctx.storage.put({"a": 1, "b": 2, "c": "c" * 9_000}) and None)
            box.meters().take()
            await box.do(lambda ctx: operation(ctx.storage) and None)
            taken = box.meters().take()
            taken.requests = taken.active_us = 0
            return taken

    return asyncio.run(run())


@pytest.mark.parametrize("name", ROWS)
def test_sqlite_classes_count_rows(tmp_path, name: str) -> None:
    operation, expected = ROWS[name]
    assert metered(tmp_path, operation) == expected


@pytest.mark.parametrize("name", UNITS)
def test_legacy_classes_count_units(tmp_path, name: str) -> None:
    operation, expected = UNITS[name]
    assert metered(tmp_path, operation, sql=False) == expected


@pytest.mark.parametrize(("sql", "expected"), [(True, Meters()), (False, Meters(kv_deletes=1))])
def test_delete_all_of_nothing(tmp_path, sql: bool, expected: Meters) -> None:
    _, taken = run_in(tmp_path, lambda ctx: ctx.storage.deleteAll() and None, sql=sql)
    taken.requests = taken.active_us = 0
    assert taken == expected
