"""Migrations of an object's tables: on real objects, and on the list alone."""

from __future__ import annotations

import asyncio

import perdure
import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import MigrationError, PerdureError
from perdure.migrations import Migration, Migrations, migrate

from ..engine.shelf import Shard


def add_author(sql):
    sql.exec("alter table notes add column author text")
    sql.exec("update notes set author = 'nobody'")


NOTES = (1, "notes", "create table notes(id integer primary key, text);\ninsert into notes(text) values('first');")
AUTHORS = (2, "authors", add_author)
BROKEN = (3, "broken", "insert into notes(text) values('half'); insert into missing values(1)")


class Notebook(DurableObject):
    """Takes its list from the test: `steps`."""

    steps: tuple[object, ...] = ()
    forgive = False
    now = 5_000

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.error = ""
        try:
            self.applied = Migrations(*self.steps).apply(ctx.storage, now_ms=lambda: self.now)
        except MigrationError as error:
            if not self.forgive:
                raise
            self.error = error.message

    async def state(self):
        sql = self.ctx.storage.sql
        tables = [
            row["name"] for row in sql.exec("select name from sqlite_master where type = 'table' order by 1").toArray()
        ]
        rows = sql.exec("select * from _migrations order by number").raw().toArray() if "_migrations" in tables else []
        notes = sql.exec("select * from notes").raw().toArray() if "notes" in tables else []
        return {"rows": rows, "notes": notes, "error": self.error, "applied": getattr(self, "applied", None)}


def program(*steps: object, forgive: bool = False) -> type[Notebook]:
    return type("Notebook", (Notebook,), {"steps": steps, "forgive": forgive})


async def states(folder, *programs: type) -> list[object]:
    """What each program, one after the other on the same object, finds or raises."""
    found: list[object] = []
    for cls in programs:
        shard = Shard(cls, folder)
        try:
            found.append(await shard.call("a", "state"))
        except PerdureError as error:
            found.append(error)
        shard.stop()
    return found


def test_each_is_applied_once_in_order_with_its_record(tmp_path) -> None:
    async def run() -> None:
        one, two, again = await states(tmp_path, program(NOTES), program(NOTES, AUTHORS), program(NOTES, AUTHORS))
        assert one == {"rows": [[1, "notes", 5_000]], "notes": [[1, "first"]], "error": "", "applied": [1]}
        rows = [[1, "notes", 5_000], [2, "authors", 5_000]]
        assert two == {"rows": rows, "notes": [[1, "first", "nobody"]], "error": "", "applied": [2]}
        assert again == {**two, "applied": []}

    asyncio.run(run())


def test_a_failing_one_is_undone_whole_and_those_before_it_stay(tmp_path) -> None:
    async def run() -> None:
        (found,) = await states(tmp_path, program(NOTES, AUTHORS, BROKEN, (4, "later", "select 1"), forgive=True))
        assert "migration 3 ('broken') failed: " in found["error"]
        assert "no such table: missing" in found["error"]
        assert [row[0] for row in found["rows"]] == [1, 2]
        assert found["notes"] == [[1, "first", "nobody"]]

    asyncio.run(run())


def test_one_that_fails_in_the_constructor_reaches_the_caller_and_leaves_the_committed_version(tmp_path) -> None:
    async def run() -> None:
        first, failed, back = await states(tmp_path, program(NOTES), program(NOTES, AUTHORS, BROKEN), program(NOTES))
        assert isinstance(failed, PerdureError)
        assert "migration 3 ('broken') failed" in failed.message
        assert failed.durableObjectReset
        assert back["rows"] == first["rows"]
        assert back["notes"] == [[1, "first"]]

    asyncio.run(run())


class Patient(Notebook):
    """Each step is durable before the next."""

    def __init__(self, ctx, env):
        DurableObject.__init__(self, ctx, env)
        self.error = ""
        ctx.blockConcurrencyWhile(self.prepare)

    async def prepare(self):
        self.applied = await Migrations(*self.steps).apply_each(self.ctx.storage, now_ms=lambda: self.now)


def test_with_a_sync_after_each_those_before_a_failing_one_are_kept(tmp_path) -> None:
    async def run() -> None:
        patient = type("Notebook", (Patient,), {"steps": (NOTES, AUTHORS, BROKEN)})
        failed, kept = await states(tmp_path, patient, type("Notebook", (Patient,), {"steps": (NOTES, AUTHORS)}))
        assert "migration 3 ('broken') failed" in failed.message
        assert [row[0] for row in kept["rows"]] == [1, 2]
        assert kept["applied"] == []

    asyncio.run(run())


def test_a_list_that_does_not_fit_what_was_applied_runs_nothing(tmp_path) -> None:
    async def run() -> None:
        both = program(NOTES, AUTHORS)
        renamed = program((1, "other", "create table other(a)"), AUTHORS, (3, "more", "create table more(a)"))
        _, older, changed, after = await states(tmp_path, both, program(NOTES), renamed, both)
        assert "has applied migration 2 ('authors'), the program knows up to 1" in older.message
        assert "migration 1 was applied as 'notes', the program now has 'other'" in changed.message
        assert [row[0] for row in after["rows"]] == [1, 2]

    asyncio.run(run())


def raising(sql):
    sql.exec("create table half(a)")
    raise ValueError("on purpose")


async def waiting(sql):
    raise AssertionError("it must not begin")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (raising, "on purpose"),
        (waiting, "is asynchronous"),
        ("begin transaction", "transaction"),
        ("create table _cf_x(a)", "not authorized"),
        ("", "did not contain a statement"),
    ],
    ids=["raises", "async", "begins", "hidden", "empty"],
)
def test_bodies_that_cannot_be(tmp_path, body: object, said: str) -> None:
    async def run() -> None:
        (found,) = await states(tmp_path, program((1, "bad", body), forgive=True))
        assert said in found["error"]
        assert found["rows"] == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([(2, "b", "x")], "leaves a gap: expected number 1"),
        ([(1, "a", "x"), (3, "c", "x")], "leaves a gap: expected number 2"),
        ([(1, "a", "x"), (1, "b", "x")], "appears twice or out of order: expected number 2"),
        ([(1, "a", "x"), (2, "a", "x")], "have the same name 'a'"),
        ([(1, "", "x")], "a whole number and a name"),
        ([("1", "a", "x")], "a whole number and a name"),
        ([(True, "a", "x")], "a whole number and a name"),
        ([(1, "a", 5)], "neither SQL nor a function"),
        ([(1, "a")], "a migration is"),
    ],
)
def test_lists_that_cannot_be(steps: list[object], said: str) -> None:
    with pytest.raises(MigrationError, match=said):
        Migrations(*steps)


def test_gaps_in_the_record_are_an_error(tmp_path) -> None:
    async def run() -> None:
        def forget(sql):
            sql.exec("delete from _migrations where number = 1")

        _, found = await states(tmp_path, program(NOTES, (2, "forget", forget)), program(NOTES, (2, "forget", forget)))
        assert "has gaps: [2]" in found.message

    asyncio.run(run())


def test_public_names() -> None:
    assert perdure.migrations.Migrations is Migrations
    assert Migrations(Migration(1, "a", "select 1")).version == 1
    assert Migrations().version == 0

    class Nothing:
        sql = None

    with pytest.raises(MigrationError):
        migrate(Nothing(), [(5, "x", "y")])


def test_an_object_without_migrations_to_do_writes_nothing(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(program(NOTES), tmp_path)
        await shard.call("a", "state")
        shard.stop()
        shard = Shard(program(NOTES), tmp_path)
        await shard.call("a", "state")
        assert shard.commits.records == []
        shard.stop()

    asyncio.run(run())
