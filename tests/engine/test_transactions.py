"""transaction() and transactionSync(): what belongs to them, how they nest, end and fail (spec: transactions and gates)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import Overloaded, PerdureError, StorageError
from perdure.engine.limits import Limits

from .box import Box


def in_object(tmp_path, *scripts, **options):
    async def run():
        async with Box.on(tmp_path, **options) as box:
            return [await box.do(script) for script in scripts]

    return asyncio.run(run())


async def everything(ctx):
    s = ctx.storage
    rows = s.sql.exec("select name from sqlite_schema where name = 't'").toArray()
    return [dict(await s.list()), [row["x"] for row in s.sql.exec("select x from t order by x")] if rows else []]


# ---------------------------------------------------------------- transaction()
def test_the_value_of_the_function(tmp_path) -> None:
    async def script(ctx):
        async def body(txn):
            await txn.put({"a": 1, "b": 2})
            return [await txn.get("a"), dict(await txn.list()), await txn.delete("b"), await txn.getAlarm()]

        return [await ctx.storage.transaction(body), await ctx.storage.transaction(lambda txn: "sync")]

    assert in_object(tmp_path, script, everything) == [[[1, {"a": 1, "b": 2}, True, None], "sync"], [{"a": 1}, []]]


def test_not_awaited_it_runs_all_the_same(tmp_path) -> None:
    async def script(ctx):
        ctx.storage.transaction(lambda txn: txn.put("a", 1) and None)

    assert in_object(tmp_path, script, everything)[1] == [{"a": 1}, []]


@pytest.mark.parametrize("end", ["kept", "rollback", "raise"])
def test_edge_14_operations_on_storage_belong_to_it(tmp_path, end: str) -> None:
    async def prepare(ctx):
        ctx.storage.sql.exec("create table t(x)")

    async def script(ctx):
        s = ctx.storage

        async def body(txn):
            await s.put("a", 1)
            s.kv.put("b", 2)
            s.sql.exec("insert into t values(3)")
            await txn.put("c", 4)
            await asyncio.sleep(0)
            assert [await txn.get("b"), await s.get("c")] == [2, 4]
            if end == "raise":
                raise ValueError("undo")
            if end == "rollback":
                txn.rollback()
                txn.rollback()
                assert await s.get("a") is None
            return "value"

        if end == "raise":
            with pytest.raises(ValueError, match="undo"):
                await s.transaction(body)
            return "value"
        return await s.transaction(body)

    _, value, left = in_object(tmp_path, prepare, script, everything)
    assert value == "value"  # also after a rollback, and the object lives on after an exception
    assert left == ([{"a": 1, "b": 2, "c": 4}, [3]] if end == "kept" else [{}, []])


def test_what_was_written_before_it_is_committed_first(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        s.put("before", 1)

        async def body(txn):
            txn.put("inside", 1)
            ctx.abort("stop")

        await s.transaction(body)

    async def run():
        async with Box.on(tmp_path) as box:
            with pytest.raises(PerdureError, match="stop"):
                await box.do(script)
            assert await box.do(everything) == [{"before": 1}, []]

    asyncio.run(run())


def test_it_is_committed_when_it_ends(tmp_path) -> None:
    """An abort later in the same turn does not undo it."""

    async def script(ctx):
        await ctx.storage.transaction(lambda txn: txn.put("a", 1) and None)
        ctx.storage.put("b", 1)
        ctx.abort("stop")

    async def run():
        async with Box.on(tmp_path) as box:
            with pytest.raises(PerdureError, match="stop"):
                await box.do(script)
            assert await box.do(everything) == [{"a": 1}, []]

    asyncio.run(run())


@pytest.mark.parametrize("inner_end", ["kept", "rollback", "raise"])
@pytest.mark.parametrize("outer_end", ["kept", "rollback", "raise"])
def test_edge_15_nested(tmp_path, inner_end: str, outer_end: str) -> None:
    async def end(txn, how):
        if how == "rollback":
            txn.rollback()
        if how == "raise":
            raise ValueError(how)

    async def script(ctx):
        s = ctx.storage

        async def inner(txn):
            await txn.put("inner", 1)
            await asyncio.sleep(0)
            await end(txn, inner_end)

        async def outer(txn):
            await txn.put("before", 1)
            try:
                await s.transaction(inner)
            except ValueError:
                assert inner_end == "raise"
            await txn.put("after", 1)
            await end(txn, outer_end)

        try:
            await s.transaction(outer)
        except ValueError:
            assert outer_end == "raise"

    _, (left, _) = in_object(tmp_path, script, everything)
    if outer_end != "kept":
        assert left == {}
    else:
        assert left == {"before": 1, "after": 1} | ({"inner": 1} if inner_end == "kept" else {})


def test_an_inner_one_that_is_not_awaited_ends_first(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage

        async def inner(txn):
            await asyncio.sleep(0.001)
            await txn.put("inner", 1)

        async def outer(txn):
            await txn.put("outer", 1)
            s.transaction(inner)

        await s.transaction(outer)
        return dict(await s.list())

    found, _ = in_object(tmp_path, script, everything)
    assert found == {"inner": 1, "outer": 1}


OPERATIONS = {
    "get": lambda txn: txn.get("a"),
    "put": lambda txn: txn.put("a", 1),
    "delete": lambda txn: txn.delete("a"),
    "list": lambda txn: txn.list(),
    "getAlarm": lambda txn: txn.getAlarm(),
    "setAlarm": lambda txn: txn.setAlarm(5_000_000),
    "deleteAlarm": lambda txn: txn.deleteAlarm(),
    "rollback": lambda txn: txn.rollback(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_failures_after_its_end(tmp_path, name: str) -> None:
    async def script(ctx):
        kept = []

        async def rolled_back(txn):
            txn.rollback()
            if name != "rollback":
                with pytest.raises(StorageError) as caught:
                    OPERATIONS[name](txn)
                assert f"Cannot {name}() on rolled back transaction" in caught.value.message
                assert caught.value.name == "Error"
            else:
                OPERATIONS[name](txn)

        await ctx.storage.transaction(rolled_back)
        await ctx.storage.transaction(kept.append)
        with pytest.raises(StorageError) as caught:
            OPERATIONS[name](kept[0])
        assert f"{name}() on transaction that has already committed" in caught.value.message
        assert "did you move `txn` outside" in caught.value.message
        return len(await ctx.storage.list())

    assert in_object(tmp_path, script) == [0]


def test_delete_all_inside_is_refused(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        await s.put("a", 1)

        def attempt(each):
            with pytest.raises(StorageError, match=r"Cannot call deleteAll\(\) within a transaction"):
                each.deleteAll()

        async def body(txn):
            attempt(txn)
            attempt(s)

        await s.transaction(body)
        s.transactionSync(lambda: attempt(s))
        await s.deleteAll()
        return len(await s.list())

    assert in_object(tmp_path, script) == [0]


def test_an_outer_one_cannot_be_rolled_back_by_an_inner(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        phrase = "Cannot roll back an outer transaction"

        async def outer(txn):
            async def inner(_txn):
                with pytest.raises(StorageError, match=phrase):
                    txn.rollback()

            def sync():
                with pytest.raises(StorageError, match=phrase):
                    txn.rollback()

            await txn.put("a", 1)
            await s.transaction(inner)
            s.transactionSync(sync)
            txn.rollback()

        await s.transaction(outer)
        return len(await s.list())

    assert in_object(tmp_path, script) == [0]


def test_a_deferred_constraint_fails_the_transaction_alone(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage
        s.sql.exec("create table p(id integer primary key); create table t(x references p(id))")

        async def body(txn):
            await txn.put("a", 1)
            s.sql.exec("pragma defer_foreign_keys=on")
            s.sql.exec("insert into t values(99)")

        with pytest.raises(StorageError, match="FOREIGN KEY constraint failed: SQLITE_CONSTRAINT"):
            await s.transaction(body)
        s.put("b", 1)

    assert in_object(tmp_path, script, everything)[1] == [{"b": 1}, []]


def test_longer_than_30_seconds_resets_the_object(tmp_path) -> None:
    async def script(ctx):
        async def body(txn):
            await txn.put("a", 1)
            await asyncio.sleep(3600)

        await ctx.storage.transaction(body)

    async def run():
        assert Limits().critical_section_ms_max == 30_000
        async with Box.on(tmp_path, limits=Limits(critical_section_ms_max=5)) as box:
            with pytest.raises(Overloaded, match="waited for too long") as caught:
                await box.do(script)
            assert caught.value.durableObjectReset
            assert await box.do(everything) == [{}, []]

    asyncio.run(run())


def test_reading_alone_holds_nothing_back(tmp_path) -> None:
    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            assert await box.do(lambda ctx: ctx.storage.transaction(lambda txn: txn.get("a"))) is None
            assert await box.do(lambda ctx: ctx.storage.transactionSync(lambda: ctx.storage.kv.get("a"))) is None
            undone = box.do(lambda ctx: ctx.storage.transaction(lambda txn: [txn.put("a", 1), txn.rollback()][1]))
            assert await undone is None

    asyncio.run(run())


# ---------------------------------------------------------------- transactionSync()
def test_sync_nests_and_an_inner_rollback_leaves_outer_changes(tmp_path) -> None:
    def script(ctx):
        s = ctx.storage
        s.sql.exec("create table t(x)")

        def inner():
            s.kv.put("inner", 1)
            s.sql.exec("insert into t values(2)")
            raise ValueError("inner")

        def outer():
            s.kv.put("outer", 1)
            s.sql.exec("insert into t values(1)")
            with pytest.raises(ValueError, match="inner"):
                s.transactionSync(inner)
            assert s.transactionSync(lambda: s.kv.get("inner")) is None
            return "value"

        return s.transactionSync(outer)

    assert in_object(tmp_path, script, everything) == ["value", [{"outer": 1}, [1]]]


def test_sync_undoes_everything_when_it_raises(tmp_path) -> None:
    def script(ctx):
        s = ctx.storage
        s.kv.put("before", 1)

        def body():
            s.put("a", 1)
            s.delete("before")
            s.sql.exec("create table t(x)")
            raise KeyError("x")

        with pytest.raises(KeyError):
            s.transactionSync(body)
        found = [s.kv.get("a"), s.kv.get("before")]
        s.kv.put("after", 1)
        return found

    assert in_object(tmp_path, script, everything) == [[None, 1], [{"before": 1, "after": 1}, []]]


def test_sync_that_raised_leaves_no_transaction_to_the_next_turn(tmp_path) -> None:
    def script(ctx):
        with pytest.raises(ValueError):
            ctx.storage.transactionSync(lambda: int("x"))

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(script)
            assert not box.storage().opened().connection.in_transaction
            assert box.shard.residents.settle(box.instance().object_id) is not None

    asyncio.run(run())


def test_sync_inside_transaction(tmp_path) -> None:
    async def script(ctx):
        s = ctx.storage

        async def body(txn):
            s.transactionSync(lambda: s.put("sync", 1))
            txn.rollback()

        await s.transaction(body)

    assert in_object(tmp_path, script, everything)[1] == [{}, []]


# ---------------------------------------------------------------- the implicit transaction
def test_an_exception_does_not_undo_the_turns_writes(tmp_path) -> None:
    async def script(ctx):
        ctx.storage.put("a", 1)
        raise ValueError("user")

    async def run():
        async with Box.on(tmp_path) as box:
            with pytest.raises(PerdureError, match="ValueError: user"):
                await box.do(script)
            assert await box.do(everything) == [{"a": 1}, []]

    asyncio.run(run())


def test_writes_of_a_turn_are_one_commit(tmp_path) -> None:
    """KV, SQL and alarm together, also over awaited storage calls; a real suspension splits."""

    async def one(ctx):
        s = ctx.storage
        s.put("a", 1)
        await s.put("b", await s.get("a"))
        s.sql.exec("create table t(x)")
        await s.setAlarm(5_000_000)
        s.delete("a")

    async def two(ctx):
        await ctx.storage.put("c", 1)
        await asyncio.sleep(0.005)
        await ctx.storage.put("d", 1)

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(one)
            records = box.shard.commits.records
            assert len(records) == 1
            await box.do(two)
            assert len(records) == 3

    asyncio.run(run())


def test_abort_discards_the_turns_writes(tmp_path) -> None:
    async def script(ctx):
        ctx.storage.put("counter", 888)
        ctx.storage.sql.exec("create table t(x)")
        ctx.abort("test broken")

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(lambda ctx: ctx.storage.put("counter", 1) and None)
            with pytest.raises(PerdureError) as caught:
                await box.do(script)
            assert caught.value.message == "test broken"
            assert caught.value.durableObjectReset
            assert await box.do(everything) == [{"counter": 1}, []]

    asyncio.run(run())


def test_edge_11_a_deferred_constraint_fails_the_implicit_commit(tmp_path) -> None:
    def prepare(ctx):
        ctx.storage.sql.exec("create table p(id integer primary key); create table t(x references p(id))")

    def script(ctx):
        s = ctx.storage

        def orphan():
            s.sql.exec("pragma defer_foreign_keys=on")
            s.sql.exec("insert into t values(99)")

        s.transactionSync(orphan)
        s.kv.put("a", 1)
        return "returned"

    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(prepare)
            with pytest.raises(PerdureError) as caught:
                await box.do(script)
            assert "rolled back to its last known good state" in caught.value.message
            assert "constraints were violated: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT" in caught.value.message
            assert caught.value.durableObjectReset
            assert await box.do(everything) == [{}, []]

    asyncio.run(run())
