"""`perdure.dbapi`: an object's database for code that speaks PEP 249."""

from __future__ import annotations

import asyncio
import datetime
import decimal

import pytest
from perdure import dbapi
from perdure.engine.blocking import run_sync
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError, ProgramBug


class Base(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.db = dbapi.connect(ctx.storage)
        self.db.execute("create table if not exists t(id integer primary key, text unique, data)")

    async def run(self, name, *args):
        """One of the functions below, inside the object's turn."""
        found = globals()[name](self.db, *args)
        return await found if hasattr(found, "__await__") else found

    async def texts(self):
        return [text for (text,) in self.db.execute("select text from t order by id")]


def base(world):
    return world.namespace("Base").getByName("a")


def cursors(db):
    cursor = db.cursor()
    assert cursor.execute("insert into t(text, data) values(?, ?)", ["a", b"\0\1"]) is cursor
    assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (1, 1, None)
    assert cursor.fetchone() is None
    cursor.executemany("insert into t(text, data) values(?, ?)", [(f"b{n}", n / 2) for n in range(4)])
    assert (cursor.rowcount, cursor.lastrowid) == (4, 5)
    cursor.execute("update t set data = null where id > 3")
    assert (cursor.rowcount, cursor.lastrowid) == (2, 5)
    cursor.execute("select id, text, data from t order by id")
    assert cursor.rowcount == -1
    assert [column[0] for column in cursor.description] == ["id", "text", "data"]
    assert {len(column) for column in cursor.description} == {7}
    assert cursor.fetchone() == (1, "a", b"\0\1")
    assert type(cursor.execute("select data from t").fetchone()[0]) is bytes
    cursor.execute("select id, data from t order by id")
    assert cursor.fetchmany() == [(1, b"\0\1")]
    assert cursor.fetchmany(2) == [(2, 0), (3, 0.5)]
    assert cursor.fetchall() == [(4, None), (5, None)]
    assert (cursor.fetchall(), cursor.fetchmany(3), cursor.fetchone()) == ([], [], None)
    assert cursor.execute("insert into t(text) values('r') returning id, text").fetchall() == [(6, "r")]
    assert list(db.execute("select 1 union select 2")) == [(1,), (2,)]


def values(db):
    stored = [True, 2**60, datetime.date(2026, 1, 2), decimal.Decimal("1.50"), float("inf")]
    return [db.execute("select ?", [value]).fetchone()[0] for value in stored]


def errors(db):
    db.execute("insert into t(text) values('a')")
    found = []
    for sql, parameters in (
        ("insert into t(text) values('a')", ()),
        ("select * from nowhere", ()),
        ("selec", ()),
        ("select ?", ()),
        ("begin", ()),
        ("select zeroblob(2000000000)", ()),
        ("select ?", (2**70,)),
        ("pragma user_version", ()),
    ):
        try:
            db.execute(sql, parameters).fetchall()
        except dbapi.Error as error:
            assert isinstance(error.__cause__, PerdureError)
            found.append(type(error).__name__)
    for wrong in (
        lambda: db.cursor().fetchone(),
        lambda: db.execute("select :a", {"a": 1}),
        lambda: db.cursor().executemany("select ?", [[1]]),
        lambda: closed_cursor(db).fetchone(),
    ):
        with pytest.raises(dbapi.Error):
            wrong()
    assert issubclass(db.IntegrityError, db.DatabaseError)
    return found


def closed_cursor(db):
    cursor = db.execute("select 1")
    cursor.close()
    return cursor


def add(db, *texts):
    for text in texts:
        db.execute("insert into t(text) values(?)", [text])


def units(db):
    with db:
        add(db, "kept")
    with pytest.raises(ValueError, match="x"), db:
        add(db, "undone")
        raise ValueError("x")
    with db:
        add(db, "outer")
        with pytest.raises(dbapi.IntegrityError), db:
            add(db, "inner", "kept")
        with db:
            add(db, "inner kept")
    with pytest.raises(ValueError, match="y"), db:
        add(db, "outer undone")
        with db:
            add(db, "inner undone with it")
        raise ValueError("y")
    db.begin()
    add(db, "a")
    db.rollback()
    db.begin()
    add(db, "b")
    db.commit()
    add(db, "no unit")
    db.rollback()
    db.commit()


def fails(db):
    with db:
        add(db, "kept too")
    raise ValueError("the event fails, what it wrote stays")


async def over_a_turn(db):
    with pytest.raises(ProgramBug, match="the turn has ended inside a unit"), db:
        add(db, "first")
        await asyncio.sleep(1)
        raise ValueError("too late to undo")
    with pytest.raises(ProgramBug), db:
        await asyncio.sleep(1)
        add(db, "second")


def waits(db):
    """Synchronous code that would wait for something else in the middle of a unit."""
    assert run_sync(asyncio.sleep(1, "outside of units it may")) == "outside of units it may"
    with pytest.raises(ProgramBug, match="another unit of writes"), db:
        add(db, "undone")
        run_sync(asyncio.sleep(1))
    add(db, "kept")


def functions(db):
    class Longest:
        def __init__(self):
            self.found = ""

        def step(self, text):
            self.found = max(self.found, text, key=len)

        def finalize(self):
            return self.found

    with pytest.raises(dbapi.OperationalError, match="no such function"):
        db.execute("select twice(3)")
    db.create_function("twice", 1, lambda value: value * 2, deterministic=True)
    db.create_aggregate("longest", 1, Longest)
    add(db, "a", "abc", "ab")
    assert db.execute("select twice(id), TWICE(text) from t where id = 2").fetchall() == [(4, "abcabc")]
    assert db.execute("select longest(text) from t").fetchone() == ("abc",)
    with pytest.raises(dbapi.OperationalError, match="not authorized"):
        db.execute("select sqlite_version()")


def functions_again(db):
    return db.execute("select twice(4)").fetchone()[0]


def reserved(db):
    db.create_function("sqlite_mine", 0, int)
    db.execute("select 1")


def closed(db):
    db.close()
    with pytest.raises(dbapi.InterfaceError, match="closed"):
        db.execute("select 1")


def test_the_module_says_what_it_is() -> None:
    assert (dbapi.apilevel, dbapi.paramstyle, dbapi.threadsafety) == ("2.0", "qmark", 1)


@pytest.mark.parametrize("name", ["cursors", "closed"])
async def test_in_a_turn(world, name) -> None:
    await base(world).run(name)


async def test_values(world) -> None:
    assert await base(world).run("values") == [1, 2**60, "2026-01-02", "1.50", float("inf")]


async def test_errors_are_those_of_the_standard(world) -> None:
    assert await base(world).run("errors") == [
        "IntegrityError",
        "OperationalError",
        "OperationalError",
        "ProgrammingError",
        "NotSupportedError",
        "DataError",
        "DataError",
        "OperationalError",
    ]


async def test_units_are_kept_or_undone(world) -> None:
    await base(world).run("units")
    kept = ["kept", "outer", "inner kept", "b", "no unit"]
    assert await base(world).texts() == kept
    await world.crash(base(world))
    assert await base(world).texts() == kept
    with pytest.raises(PerdureError, match="the event fails"):
        await base(world).run("fails")
    assert await base(world).texts() == [*kept, "kept too"]


async def test_a_unit_does_not_last_longer_than_its_turn(world) -> None:
    await base(world).run("over_a_turn")
    assert await base(world).texts() == ["first", "second"]


async def test_nothing_waits_inside_a_unit(world) -> None:
    await base(world).run("waits")
    assert await base(world).texts() == ["kept"]


async def test_functions_in_python(world) -> None:
    await base(world).run("functions")
    assert await base(world).run("functions_again") == 8
    await world.evict(base(world))
    with pytest.raises(PerdureError, match="no such function"):
        await base(world).run("functions_again")
    with pytest.raises(PerdureError, match="cannot have the name"):
        await base(world).run("reserved")
