"""Every row of the failures table, in the reference's form (spec: storage-sql, failures; transactions and gates)."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from perdure.engine.errors import PerdureError, StatementTooLong, StorageFull
from perdure.engine.limits import Limits

from .shelf import Shard
from .sqlbox import _RESULTS, _TURNS, SqlBox, failure, turn, turns

SCHEMA = """
create table t(id integer primary key, n check (n > 0), u unique);
create table p(id integer primary key); create table c(p references p(id));
insert into t values(1, 1, 'a')
"""
FAILURES = [
    ("syntax", "bunk", (), 'near "bunk": syntax error at offset 0: SQLITE_ERROR'),
    ("syntax_offset", "select 1, bunk bunk bunk", (), 'near "bunk": syntax error at offset 20: SQLITE_ERROR'),
    ("unknown_table", "select * from x", (), "no such table: x: SQLITE_ERROR"),
    ("unknown_column", "select y from t", (), "no such column: y at offset 7: SQLITE_ERROR"),
    (
        "check",
        "insert into t values(2, 0, 'b')",
        (),
        "CHECK constraint failed: n > 0: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_CHECK)",
    ),
    (
        "unique",
        "insert into t values(2, 1, 'a')",
        (),
        "UNIQUE constraint failed: t.u: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
    ),
    (
        "foreign_key",
        "insert into c values(9)",
        (),
        "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
    ),
    ("rowid_type", "insert into t(id) values('x')", (), "datatype mismatch: SQLITE_MISMATCH"),
    ("forbidden_action", "attach ':memory:' as x", (), "not authorized: SQLITE_AUTH"),
    ("hidden_table", "select key from _cf_KV", (), "access to _cf_KV.key is prohibited: SQLITE_AUTH"),
    (
        "forbidden_function",
        "select sqlite_version()",
        (),
        "not authorized to use function: sqlite_version at offset 7: SQLITE_ERROR",
    ),
    ("no_statement", "", (), "SQL code did not contain a statement"),
    ("too_few_bindings", "select ?", (), "Wrong number of parameter bindings"),
    ("too_many_bindings", "select ?", (1, 2), "Wrong number of parameter bindings"),
    ("needless_bindings", "select 1", (1,), "Wrong number of parameter bindings"),
    ("bindings_of_the_last", "select 1; select ?", (1, 2), "Wrong number of parameter bindings"),
    ("parameters_not_in_the_last", "select ?; select 1", (1,), "only the last statement can have parameters"),
    ("parameters_not_in_the_last_none_given", "select ?; select 1", (), "only the last statement can have parameters"),
    ("parameters_in_both", "insert into p values(?); select ?", (1, 2), "only the last statement can have parameters"),
    ("six_terms", " union all ".join(["select 1"] * 6), (), "too many terms in compound SELECT"),
    ("five_terms", " union all ".join(["select 1"] * 5), (), "ran"),
    ("row_too_big", "select zeroblob(4194305)", (), "string or blob too big: SQLITE_TOOBIG"),
    ("null_character", "select 1\0", (), "unrecognized token"),
    ("no_text", "select \ud800", (), "no valid text"),
    ("bound_no_text", "select ?", ("\ud800",), "no valid text"),
]


@pytest.mark.parametrize(
    ("query", "bindings", "message"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_failures(tmp_path, query, bindings, message) -> None:
    def body(storage):
        storage.sql.exec(SCHEMA)
        return failure(storage.sql, query, *bindings), failure(storage.sql, query, *bindings)

    first, second = turn(tmp_path, body)
    assert message in first
    assert message in second


TRANSACTIONS = [
    "begin",
    "BEGIN IMMEDIATE",
    "commit",
    "end",
    "rollback",
    "savepoint x",
    "release x",
    "/* c */ begin",
    "rollback to x",
]


@pytest.mark.parametrize("query", TRANSACTIONS)
def test_transactions_are_the_runtimes(tmp_path, query) -> None:
    message = turn(tmp_path, lambda storage: failure(storage.sql, query))
    for phrase in (
        "To execute a transaction, please use",
        "transaction()",
        "transactionSync()",
        "roll back on exceptions",
        "automatic atomic write coalescing",
    ):
        assert phrase in message


def test_a_query_that_is_no_text(tmp_path) -> None:
    def body(storage):
        return failure(storage.sql, 5), failure(storage.sql, ["select 1"])

    for message in turn(tmp_path, body):
        assert "is not of type 'string'" in message


# ---------------------------------------------------------------------- critical errors
SMALL = Limits(object_bytes_max=20 * 4096)


def begin(storage):
    storage.sql.exec("create table r(id integer primary key, x)")
    storage.sql.exec("insert into r values(1, '')")


def ids(storage):
    return [row.id for row in storage.sql.exec("select id from r")]


def fill(storage):
    storage.sql.exec("insert into r values(2, '')")
    storage.sql.exec("insert into r values(3, zeroblob(1000000))")


def test_full_breaks_the_object_and_what_was_committed_stays(tmp_path) -> None:
    _, full, left = turns(tmp_path, begin, fill, ids, limits=SMALL)
    assert isinstance(full, StorageFull)
    assert full.message == "database or disk is full: SQLITE_FULL"
    assert "object_bytes_max" in full.hint
    assert left == [1]


def test_full_breaks_the_object_also_when_the_program_swallows_it(tmp_path) -> None:
    def swallows(storage):
        with pytest.raises(StorageFull):
            fill(storage)
        again = failure(storage.sql, "select 1")
        assert again == "database or disk is full: SQLITE_FULL"
        return "fine"

    _, full, left = turns(tmp_path, begin, swallows, ids, limits=SMALL)
    assert isinstance(full, StorageFull)
    assert left == [1]


def test_full_inside_a_transaction_keeps_what_was_written_before_it(tmp_path) -> None:
    async def inside(storage):
        storage.sql.exec("insert into r values(2, '')")

        async def body(_transaction):
            fill_more(storage)

        with pytest.raises(StorageFull):
            await storage.transaction(body)

    def fill_more(storage):
        storage.sql.exec("insert into r values(3, zeroblob(1000000))")

    _, full, left = turns(tmp_path, begin, inside, ids, limits=SMALL)
    assert isinstance(full, StorageFull)
    assert left == [1, 2]


ENDLESS = "with recursive c(x) as (select 1 union all select x + 1 from c) "


def ticking(shard) -> None:
    seconds = itertools.count(1)
    shard.clock.monotonic_s = lambda: float(next(seconds))


ENDLESS_RUNS = {
    "read": lambda sql: sql.exec(ENDLESS + "select max(x) from c"),
    "write": lambda sql: sql.exec(ENDLESS + "insert into r(x) select 1 from c where x < 0"),
    "step": lambda sql: [sql.exec(ENDLESS + "select x from c where x = 1").next()],
    "array": lambda sql: sql.exec(ENDLESS + "select x from c where x = 1").toArray(),
}


@pytest.mark.parametrize("run", list(ENDLESS_RUNS))
def test_a_statement_past_its_time_is_interrupted_and_the_object_reset(tmp_path, run) -> None:
    def endless(storage):
        storage.sql.exec("insert into r values(2, '')")
        ENDLESS_RUNS[run](storage.sql)

    _, late, left = turns(tmp_path, begin, endless, ids, limits=Limits(statement_cpu_ms_max=3_000), before=ticking)
    assert isinstance(late, StatementTooLong)
    assert "3000 ms (statement_cpu_ms_max)" in late.message
    assert "SQLITE_INTERRUPT" in late.message
    assert late.durableObjectReset
    assert late.hint
    assert left == [1]


def test_other_objects_go_on_after_an_interrupt(tmp_path) -> None:
    async def body() -> None:
        shard = Shard(SqlBox, tmp_path, limits=Limits(statement_cpu_ms_max=3_000))
        ticking(shard)
        _TURNS[0] = begin
        _TURNS[1] = lambda storage: ENDLESS_RUNS["read"](storage.sql)
        _TURNS[2] = ids
        await shard.call("other", "do", 0)
        with pytest.raises(StatementTooLong):
            await shard.call("a", "do", 1)
        await shard.call("other", "do", 2)
        assert _RESULTS[-1] == [1]
        shard.stop()

    asyncio.run(body())


def test_time_between_the_steps_of_a_cursor_is_not_the_statements(tmp_path) -> None:
    def slow_reader(storage):
        storage.sql.exec("create table big(x)")
        storage.sql.exec(
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 200000) insert into big select x from c"
        )
        cursor = storage.sql.exec("select x from big where x % 40000 = 0")
        return [row.x for row in cursor]

    def jumpy(shard) -> None:  # each look at the clock is 2 s later; one step never has three looks
        ticks = itertools.count(1)
        shard.clock.monotonic_s = lambda: 2.0 * next(ticks)

    (found,) = turns(tmp_path, slow_reader, limits=Limits(statement_cpu_ms_max=100_000), before=jumpy)
    assert found == [40_000, 80_000, 120_000, 160_000, 200_000]


def test_the_runtimes_own_sql_is_not_bound(tmp_path) -> None:
    """A program's statement began long ago: what the runtime runs later is not measured against it."""

    def many(storage):
        storage.sql.exec(
            "with recursive c(x) as (select 1 union all select x + 1 from c limit 60000) select count(*) from c"
        ).one()
        for number in range(3000):
            storage.put(f"key {number}", number)

    def wipe(storage):
        storage.deleteAll()

    assert turns(tmp_path, many, wipe, limits=Limits(statement_cpu_ms_max=50_000), before=ticking) == [None, None]


def test_a_deferred_constraint_fails_the_commit(tmp_path) -> None:
    def schema(storage):
        storage.sql.exec(SCHEMA)

    def orphan(storage):
        storage.sql.exec("pragma defer_foreign_keys = on")
        storage.transactionSync(lambda: storage.sql.exec("pragma defer_foreign_keys = on; insert into c values(99)"))
        return "returned"

    _, failed = turns(tmp_path, schema, orphan)
    assert isinstance(failed, PerdureError)
    assert "constraints were violated" in failed.message
    assert "FOREIGN KEY constraint failed: SQLITE_CONSTRAINT" in failed.message
