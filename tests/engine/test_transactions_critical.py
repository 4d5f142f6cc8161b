"""Critical errors of SQLite, provoked by a bound on pages: the object is reset, everybody is told (spec: critical errors)."""

from __future__ import annotations

import asyncio

import apsw
import pytest
from perdure.engine.connections import is_critical
from perdure.engine.errors import PerdureError, StorageError, StorageFull

from .box import Box

FULL = "database or disk is full: SQLITE_FULL"


async def prepare(ctx):
    s = ctx.storage
    s.sql.exec("create table t(id integer)")
    s.sql.exec("insert into t values(1)")
    await s.sync()


def ids(ctx):
    return [row["id"] for row in ctx.storage.sql.exec("select id from t order by id")]


class Full:
    """A box whose object has no space left for another page."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def fill(self) -> None:
        connection = self.box.storage().opened().connection
        pages = connection.pragma("page_count")
        connection.pragma("max_page_count", pages)


def write_much(s):
    s.sql.exec("insert into t values(zeroblob(100000))")


def run_full(tmp_path, script, check):
    async def run():
        async with Box.on(tmp_path) as box:
            await box.do(prepare)
            box.shard.residents.settle(box.instance().object_id)  # there is no log here to rebuild it from
            full = Full(box)
            with pytest.raises(PerdureError) as caught:
                await box.do(script, full)
            assert caught.value.message == FULL
            assert caught.value.durableObjectReset
            await check(box)

    asyncio.run(run())


def test_edge_12_the_caller_is_told_when_the_handler_swallowed_it(tmp_path) -> None:
    async def script(ctx, full):
        s = ctx.storage
        s.sql.exec("insert into t values(2)")
        full.fill()
        with pytest.raises(StorageFull) as first:
            write_much(s)
        assert first.value.message == FULL
        for attempt in (
            lambda: s.get("a"),
            lambda: s.put("a", 1),
            lambda: s.put({"a": 1}),
            lambda: s.delete("a"),
            lambda: s.list(),
            lambda: s.kv.get("a"),
            lambda: s.kv.list(),
            lambda: s.sql.exec("select 1"),
            lambda: s.sql.databaseSize,
            lambda: s.getAlarm(),
            lambda: s.setAlarm(5_000_000),
            lambda: s.deleteAll(),
            lambda: s.sync(),
            lambda: s.transaction(lambda txn: None),
        ):
            with pytest.raises(StorageFull) as later:
                attempt()
            assert later.value.message == FULL
        with pytest.raises(StorageError, match="due to an earlier SQL critical error"):
            s.transactionSync(lambda: None)
        return "all is well"

    async def check(box):
        assert await box.do(ids) == [1]

    run_full(tmp_path, script, check)


def test_edge_12_inside_transaction_what_was_written_before_stays(tmp_path) -> None:
    async def script(ctx, full):
        s = ctx.storage
        s.sql.exec("insert into t values(2)")

        async def body(txn):
            s.sql.exec("insert into t values(3)")
            full.fill()
            with pytest.raises(StorageFull):
                write_much(s)

        await s.transaction(body)
        return "all is well"

    async def check(box):
        assert await box.do(ids) == [1, 2]

    run_full(tmp_path, script, check)


@pytest.mark.parametrize("own", [False, True])
def test_edge_13_a_sync_transaction_that_swallows_it(tmp_path, own: bool) -> None:
    def script(ctx, full):
        s = ctx.storage
        s.sql.exec("insert into t values(2)")

        def body():
            full.fill()
            with pytest.raises(StorageFull):
                write_much(s)
            if own:
                raise KeyError("its own")

        if own:
            with pytest.raises(KeyError, match="its own"):
                s.transactionSync(body)
        else:
            with pytest.raises(StorageError, match="due to an earlier SQL critical error"):
                s.transactionSync(body)

    async def check(box):
        assert await box.do(ids) == [1]

    run_full(tmp_path, script, check)


def test_a_put_inside_the_turns_own_transaction(tmp_path) -> None:
    async def script(ctx, full):
        s = ctx.storage
        s.sql.exec("insert into t values(2)")
        full.fill()
        for attempt in (lambda: s.put("k", "x" * 100_000), lambda: s.kv.put("k", 1)):
            with pytest.raises(StorageFull):
                attempt()

    async def check(box):
        assert await box.do(ids) == [1]

    run_full(tmp_path, script, check)


def test_puts_that_find_no_space_when_their_commit_is_made(tmp_path) -> None:
    async def script(ctx, full):
        full.fill()
        ctx.storage.put("k", "x" * 100_000)

    async def check(box):
        assert await box.do(lambda ctx: ctx.storage.kv.get("k")) is None
        assert await box.do(ids) == [1]

    run_full(tmp_path, script, check)


def test_writes_of_a_turn_before_are_never_acknowledged_and_lost(tmp_path) -> None:
    """The turn that finds the disk full must not take with it what waits for the commit, and pretend that it was made."""

    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            first = box.send(prepare)
            for _ in range(20):
                await asyncio.sleep(0)
            box.shard.commits.commit()
            await first
            full = Full(box)
            waiting = box.send(lambda ctx: [full.fill(), ctx.storage.put("k", "x" * 100_000)])
            breaking = box.send(lambda ctx: ctx.storage.sql.exec("insert into t values(2)") and None)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not waiting.done()
            with pytest.raises(PerdureError, match=FULL):
                await breaking
            box.shard.commits.commit()
            with pytest.raises(PerdureError, match=FULL):
                await waiting
            for _ in range(5):
                await asyncio.sleep(0)
            reading = box.send(lambda ctx: ctx.storage.kv.get("k"))
            await reading

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "critical"),
    [
        (apsw.FullError, True),
        (apsw.IOError, True),
        (apsw.NoMemError, True),
        (apsw.CorruptError, True),
        (apsw.ConstraintError, False),
        (apsw.SQLError, False),
        (apsw.TooBigError, False),
    ],
)
def test_which_errors_are_critical(kind, critical: bool) -> None:
    assert is_critical(kind("x")) is critical
