"""D1 databases: each row of docs/bindings.md, in a world and over crashes."""

from __future__ import annotations

import asyncio

import pytest
from perdure.bindings.d1 import D1Database
from perdure.bindings.d1_values import reads_only
from perdure.engine.errors import (
    BindingError,
    ConfigError,
    InvalidArgument,
    Overloaded,
    PerdureError,
    ShardLost,
    StatementTooLong,
)
from perdure.engine.retrying import again
from perdure.engine.values import UNDEFINED
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

D1 = {
    "d1_databases": [
        {"binding": "DB", "database_name": "main", "database_id": "db-1"},
        {"binding": "OTHER", "database_name": "other", "database_id": "db-2"},
        {"binding": "AGAIN", "database_name": "main", "database_id": "db-1"},
    ]
}
SOURCE = """
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def add(self, name):
        await self.env.DB.prepare("insert into people(name) values (?)").bind(name).run()
        return await self.env.DB.prepare("select count(*) as n from people").first("n")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        query = "SELECT id, name FROM people WHERE name = ?1 LIMIT 1"
        results = await self.env.DB.prepare(query).bind("ann").all()
        return Response.json(results.results[0])
"""
SCHEMA = "create table people(id integer primary key, name text unique, photo blob, score real)"


@pytest.fixture
def d1_world(tmp_path):
    path = folder(tmp_path / "app", SOURCE, **D1, **WITH_OBJECT)

    def with_world(test):
        async def inside():
            async with World(path, shards=2) as world:
                await world.env.DB.exec(SCHEMA)
                await test(world, world.env.DB)

        run(inside())

    return with_world


async def add(db, *names):
    for name in names:
        await db.prepare("insert into people(name) values (?)").bind(name).run()


async def count(db):
    return await db.prepare("select count(*) as n from people").first("n")


def test_the_example_of_the_public_documentation(d1_world):
    async def test(world, db):
        await add(db, "ann")
        response = await world.fetch("/")
        assert await response.json() == {"id": 1, "name": "ann"}

    d1_world(test)


# ---------------------------------------------------------------------- results
def test_all_and_run(d1_world):
    async def test(_world, db):
        made = await db.prepare("insert into people(name) values ('ann'), ('bob') returning id").run()
        assert made.success is True
        assert made.results == [{"id": 1}, {"id": 2}]
        assert (made.meta.changes, made.meta.last_row_id, made.meta.changed_db) == (2, 2, True)
        assert made.meta["rows_written"] == 4  # two of the table, two of its index
        found = await db.prepare("select id, name from people order by id").all()
        assert found.results == [{"id": 1, "name": "ann"}, {"id": 2, "name": "bob"}]
        assert found.results[1].name == "bob"
        assert (found.meta.changes, found.meta.changed_db, found.meta.rows_read) == (0, False, 2)
        assert set(found.meta) == {
            "served_by",
            "served_by_primary",
            "duration",
            "changes",
            "last_row_id",
            "changed_db",
            "size_after",
            "rows_read",
            "rows_written",
        }
        assert found.meta.size_after % 4096 == 0
        assert (await db.prepare("select 1 where 0").all()).results == []

    d1_world(test)


def test_first(d1_world):
    async def test(_world, db):
        await add(db, "ann", "bob")
        statement = db.prepare("select id, name from people order by id desc")
        assert await statement.first() == {"id": 2, "name": "bob"}
        assert await statement.first("name") == "bob"
        assert await db.prepare("select * from people where id = 9").first() is None
        assert await db.prepare("select * from people where id = 9").first("name") is None
        assert await db.prepare("select null as n").first("n") is None
        with pytest.raises(BindingError, match=r"D1_COLUMN_NOTFOUND: Column not found \(age\)"):
            await statement.first("age")

    d1_world(test)


def test_raw(d1_world):
    async def test(_world, db):
        await add(db, "ann", "bob")
        statement = db.prepare("select id, name, 1 as name from people order by id")
        assert await statement.raw() == [[1, "ann", 1], [2, "bob", 1]]
        expected = [["id", "name", "name"], [1, "ann", 1], [2, "bob", 1]]
        assert await statement.raw({"columnNames": True}) == expected
        assert await statement.raw(columnNames=True) == expected
        assert await statement.raw(column_names=True) == expected
        assert (await statement.all()).results[0] == {"id": 1, "name": 1}  # of two columns with one name the last

    d1_world(test)


# ---------------------------------------------------------------------- values
VALUES = {
    "null": (None, "null", None),
    "integer": (7, "integer", 7),
    "real": (1.5, "real", 1.5),
    "a whole real": (2.0, "real", 2),
    "text": ("hé", "text", "hé"),
    "true": (True, "integer", 1),
    "false": (False, "integer", 0),
    "bytes": (b"\x00\xff", "blob", [0, 255]),
    "memoryview": (memoryview(b"ab"), "blob", [97, 98]),
    "a list of bytes": ([1, 2, 255], "blob", [1, 2, 255]),
    "63 bits": ((1 << 63) - 1, "integer", (1 << 63) - 1),
}


@pytest.mark.parametrize("row", VALUES)
def test_values(d1_world, row):
    value, kind, read = VALUES[row]

    async def test(_world, db):
        assert await db.prepare("select typeof(?1) as kind, ?1 as value").bind(value).raw() == [[kind, read]]

    d1_world(test)


REFUSED_VALUES = {
    "undefined": (UNDEFINED, "D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'"),
    "a dict": ({}, "D1_TYPE_ERROR: Type 'object' not supported for value '[object Object]'"),
    "a list of texts": (["a", "b"], "D1_TYPE_ERROR: Type 'object' not supported for value 'a,b'"),
    "a function": (len, "D1_TYPE_ERROR: Type 'function' not supported"),
    "beyond 64 bits": (1 << 63, "D1_TYPE_ERROR: Type 'bigint' not supported"),
    "half a surrogate pair": ("\ud800", "D1_TYPE_ERROR: Type 'string' not supported"),
}


@pytest.mark.parametrize("row", REFUSED_VALUES)
def test_values_that_are_refused(d1_world, row):
    value, phrase = REFUSED_VALUES[row]

    async def test(_world, db):
        with pytest.raises(BindingError) as caught:
            db.prepare("select ?").bind(value)
        assert phrase in str(caught.value)

    d1_world(test)


# ---------------------------------------------------------------------- errors
ERRORS = {
    "no such table": ("select * from nobody", [], "D1_ERROR: no such table: nobody: SQLITE_ERROR"),
    "a syntax error": ("selec 1", [], 'D1_ERROR: near "selec": syntax error at offset 0: SQLITE_ERROR'),
    "a unique constraint": (
        "insert into people(name) values ('ann'), ('ann')",
        [],
        "D1_ERROR: UNIQUE constraint failed: people.name: SQLITE_CONSTRAINT",
    ),
    "too few values": ("select ?, ?", [1], "D1_ERROR: Wrong number of parameter bindings for SQL query."),
    "too many values": ("select ?", [1, 2], "D1_ERROR: Wrong number of parameter bindings for SQL query."),
    "two statements": ("select 1; select 2", [], "D1_ERROR: A prepared SQL statement must contain only one statement."),
    "no statement": (" -- nothing\n/* at all */", [], "D1_ERROR: No SQL statements detected."),
    "begin": (
        "BEGIN TRANSACTION",
        [],
        "D1_ERROR: To execute a transaction, please use the state.storage.transaction()",
    ),
    "savepoint": ("SAVEPOINT a", [], "instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements"),
    "101 parameters": (f"select {','.join('?' * 101)}", [1] * 101, "D1_ERROR: too many SQL variables"),
    "100,001 bytes": (f"select '{'x' * 99_993}'", [], "D1_ERROR: statement too long: SQLITE_TOOBIG"),
    "a value above the bound": ("select length(zeroblob(5000000))", [], "string or blob too big: SQLITE_TOOBIG"),
    "attach": ("attach 'x' as y", [], "D1_ERROR: not authorized: SQLITE_AUTH"),
    "a pragma that is not allowed": ("pragma journal_mode=delete", [], "D1_ERROR: not authorized: SQLITE_AUTH"),
    "a hidden table": ("select * from _cf_METADATA", [], "SQLITE_AUTH"),
    "a foreign key": (
        "insert into child values (99)",
        [],
        "D1_ERROR: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT",
    ),
}


@pytest.mark.parametrize("row", ERRORS)
def test_errors(d1_world, row):
    sql, values, phrase = ERRORS[row]

    async def test(_world, db):
        await db.exec("create table child(id integer references people(id) deferrable initially deferred)")
        with pytest.raises(PerdureError) as caught:
            await db.prepare(sql).bind(*values).all()
        assert phrase in str(caught.value)
        assert caught.value.name == "Error"
        assert await count(db) == 0  # and the database goes on

    d1_world(test)


def test_a_result_that_is_too_large(d1_world):
    async def test(_world, db):
        wide = (
            "with n(i) as (select 1 union all select i + 1 from n where i < 30) select i, zeroblob(1000000) as z from n"
        )
        with pytest.raises(BindingError, match="D1_ERROR: the result is larger than 24 MiB"):
            await db.prepare(wide).all()
        assert len(await db.prepare(f"{wide} limit 3").raw()) == 3

    d1_world(test)


@pytest.mark.parametrize(
    "pragma",
    [
        "table_list",
        "table_info('people')",
        "index_list('people')",
        "foreign_key_list('people')",
        "defer_foreign_keys=on",
    ],
)
def test_pragmas(d1_world, pragma):
    async def test(_world, db):
        assert (await db.prepare(f"PRAGMA {pragma}").all()).success

    d1_world(test)


# ---------------------------------------------------------------------- several statements
def test_a_batch_is_one_transaction(d1_world):
    async def test(_world, db):
        insert = db.prepare("insert into people(name) values (?)")
        results = await db.batch([insert.bind("ann"), insert.bind("bob"), db.prepare("select name from people")])
        assert [result.success for result in results] == [True, True, True]
        assert results[2].results == [{"name": "ann"}, {"name": "bob"}]
        assert [result.meta.last_row_id for result in results] == [1, 2, 2]
        with pytest.raises(BindingError, match="D1_ERROR: UNIQUE constraint failed"):
            await db.batch([insert.bind("cid"), insert.bind("ann")])
        assert await count(db) == 2
        with pytest.raises(BindingError, match="No SQL statements detected"):
            await db.batch([])
        with pytest.raises(InvalidArgument, match="takes prepared statements"):
            await db.batch(["select 1"])

    d1_world(test)


def test_a_batch_may_defer_its_foreign_keys(d1_world):
    async def test(_world, db):
        await db.exec("create table child(id integer primary key, person integer references people(id))")
        defer = db.prepare("PRAGMA defer_foreign_keys = on")
        child = db.prepare("insert into child(person) values (1)")
        with pytest.raises(BindingError, match="FOREIGN KEY constraint failed"):
            await db.batch([defer, child])
        with pytest.raises(BindingError, match="FOREIGN KEY constraint failed"):
            await child.run()  # it was for the batch alone
        await db.batch([defer, child, db.prepare("insert into people(name) values ('ann')")])
        assert await db.prepare("select count(*) as n from child").first("n") == 1

    d1_world(test)


def test_exec(d1_world):
    async def test(_world, db):
        done = await db.exec(
            "insert into people(name) values ('ann');\n-- a comment\ninsert into people(name) values ('bob')"
        )
        assert done["count"] == 2
        assert done.duration >= 0
        with pytest.raises(BindingError) as caught:
            await db.exec("insert into people(name) values ('cid')\nselec 1")
        assert 'D1_EXEC_ERROR: Error in line 2: selec 1: near "selec": syntax error' in str(caught.value)
        assert await count(db) == 2
        with pytest.raises(BindingError, match="takes each line for a statement"):
            await db.exec("create table t(\n a)")
        with pytest.raises(BindingError, match="D1_EXEC_ERROR"):
            await db.exec("\n")

    d1_world(test)


def test_statements_run_when_asked_for_and_not_before(d1_world):
    async def test(_world, db):
        insert = db.prepare("insert into people(name) values (?)")
        insert.bind("nobody")
        insert.bind("ann").run()  # not awaited
        assert await count(db) == 1
        bound = insert.bind("bob")
        await bound.run()
        with pytest.raises(BindingError, match="UNIQUE"):
            await bound.run()
        results = await asyncio.gather(*(insert.bind(str(n)).run() for n in range(20)))
        assert len({result.meta.last_row_id for result in results}) == 20

    d1_world(test)


# ---------------------------------------------------------------------- sessions
def test_sessions(d1_world):
    async def test(_world, db):
        session = db.withSession("first-primary")
        assert session.getBookmark() is None
        await session.prepare("insert into people(name) values ('ann')").run()
        first = session.getBookmark()
        assert isinstance(first, str)
        await session.batch([session.prepare("insert into people(name) values ('bob')")])
        assert session.get_bookmark() > first
        later = db.with_session(first)
        assert later.getBookmark() == first
        assert await count(later) == 2
        assert await count(db.withSession()) == 2
        with pytest.raises(InvalidArgument, match="withSession"):
            db.withSession(7)

    d1_world(test)


def test_dump_is_refused(d1_world):
    async def test(_world, db):
        with pytest.raises(BindingError, match="D1_DUMP_ERROR"):
            await db.dump()

    d1_world(test)


# ---------------------------------------------------------------------- which database, and failures
def test_databases_go_by_their_id(d1_world):
    async def test(world, db):
        await add(db, "ann")
        assert await count(world.env.AGAIN) == 1
        with pytest.raises(BindingError, match="no such table"):
            await count(world.env.OTHER)

    d1_world(test)


def test_from_inside_an_object(d1_world):
    async def test(world, _db):
        room = world.namespace("Room").getByName("a")
        assert [await room.add("ann"), await room.add("bob")] == [1, 2]

    d1_world(test)


def test_nothing_acknowledged_is_lost(d1_world):
    async def test(world, db):
        await add(db, "ann")
        await world.crash(db._stub)
        assert await count(db) == 1
        await add(db, "bob")
        await world.lose_power()
        assert await count(db) == 2

    d1_world(test)


@pytest.mark.parametrize("section", [{"x": 1}, ["DB"], [{"database_id": "x"}], [{"binding": "DB", "database_id": 7}]])
def test_configuration_mistakes(tmp_path, section):
    path = folder(tmp_path / "app", SOURCE, d1_databases=section, **WITH_OBJECT)
    with pytest.raises(ConfigError, match="d1_databases"):
        World(path).start()


READS = {
    "select 1": True,
    " /* a */ SELECT 1": True,
    "-- a\nexplain delete from t": True,
    "values (1)": True,
    "with a as (select 1) select * from a": True,
    "with a as (select 1) insert into t select * from a": False,
    "WITH a AS (SELECT 1) DELETE\nFROM t": False,
    "with a as (select replace('x', 'y', 'z')) select * from a": False,
    "insert into t values ('select 1')": False,
    "pragma table_list": False,
    "": False,
}


@pytest.mark.parametrize("sql", READS)
def test_what_certainly_reads(sql):
    assert reads_only(sql) is READS[sql]


def test_sizes_and_ids_after_each_statement(d1_world):
    async def test(_world, db):
        insert = db.prepare("insert into people(name, photo) values (?, zeroblob(20000))")
        results = await db.batch([db.prepare("select 1"), insert.bind("a"), db.prepare("select 1"), insert.bind("b")])
        sizes = [result.meta.size_after for result in results]
        assert sizes[0] < sizes[1] == sizes[2] < sizes[3]
        assert [result.meta.changed_db for result in results] == [False, True, False, True]
        with pytest.raises(BindingError, match="UNIQUE"):
            await db.batch([insert.bind("c"), insert.bind("a")])
        after = (await db.prepare("with n as (select 1) select * from n").all()).meta
        assert (after.size_after, after.changed_db) == (sizes[3], False)
        dropped = await db.prepare("drop table people").run()
        assert dropped.meta.size_after < sizes[3]

    d1_world(test)


class _Lost:
    """A stub whose first `fails` calls lose their answer."""

    def __init__(self, fails):
        self.fails = fails
        self.policies = []

    def _with_retry(self, policy):
        self.policies.append(policy)
        stub = _Lost(self.fails)
        stub.policy = policy
        return stub

    def run(self, _statements):
        def once():
            future = asyncio.get_running_loop().create_future()
            if self.fails:
                self.fails -= 1
                future.set_exception(ShardLost("its shard was killed"))
            else:
                future.set_result({"results": [{"columns": ["n"], "rows": [[1]], "blobs": False, "meta": {}}]})
            return future

        return once() if self.policy is None else again(self.policy, False, once)


def test_what_reads_is_made_again_and_what_writes_is_not():
    async def inside():
        db = D1Database(_Lost(3))
        assert await db.prepare("select 1 as n").first("n") == 1
        assert await db.prepare("-- a comment\n explain select 1").first("n") == 1
        with pytest.raises(BindingError, match="D1_ERROR: its shard was killed") as caught:
            await db.prepare("insert into t values (1)").run()
        assert caught.value.retryable
        with pytest.raises(BindingError, match="D1_ERROR"):
            await db.batch([db.prepare("select 1"), db.prepare("with a as (select 1) delete from t")])

    run(inside())


FAILURES = {
    "overload": (Overloaded("4096 wait"), "D1_ERROR: D1 DB is overloaded. Requests queued for too long."),
    "a statement that is too slow": (
        StatementTooLong("30 s"),
        "D1_ERROR: D1 DB exceeded its CPU time limit and was reset.",
    ),
    "anything else": (ShardLost("gone"), "D1_ERROR: gone"),
}


@pytest.mark.parametrize("row", FAILURES)
def test_failures_of_the_database_itself(row):
    error, phrase = FAILURES[row]

    class Failing(_Lost):
        def _with_retry(self, policy):
            return self

        def run(self, _statements):
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            return future

    async def inside():
        with pytest.raises(BindingError) as caught:
            await D1Database(Failing(0)).prepare("select 1").all()
        assert phrase in str(caught.value)
        assert caught.value.overloaded == error.overloaded
        assert caught.value.durableObjectReset == error.durableObjectReset

    run(inside())
