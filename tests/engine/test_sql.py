"""Cursors, values and statements (spec: storage-sql; edge cases 17-23, 27-29)."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits
from perdure.engine.values import UNDEFINED, Buffer

from .shelf import Shard
from .sqlbox import _RESULTS, _TURNS, SqlBox, failure, turn, turns

THINGS = "create table t(id integer primary key, x)"


def filled(storage, rows: int = 3):
    sql = storage.sql
    sql.exec(THINGS)
    for number in range(1, rows + 1):
        sql.exec("insert into t values(?, ?)", number, f"row {number}")
    return sql


# ---------------------------------------------------------------------- cursor
def next_results(sql):
    cursor = sql.exec("select id from t limit 2")
    first, second, last = cursor.next(), cursor.next(), cursor.next()
    return [first.done, first["value"], second.value.id, last.done, "value" in last, cursor.next().done]


def raw_shares_the_position(sql):
    cursor = sql.exec("select id from t")
    raw = cursor.raw()
    first = raw.next()
    return [first.value, cursor.toArray(), raw.toArray(), raw.next().done]


def array_twice(sql):
    cursor = sql.exec("select id from t")
    return [cursor.toArray(), cursor.toArray(), list(cursor)]


def one_consumes(sql):
    cursor = sql.exec("select id from t where id=1")
    return [cursor.one(), list(cursor), cursor.toArray()]


def one_after_next(sql):
    cursor = sql.exec("select id from t limit 2")
    cursor.next()
    return cursor.one()


def iteration(sql):
    return [(row["id"], row.x) for row in sql.exec("select * from t")]


def names_after_consumption(sql):
    cursor = sql.exec("select id, x from t")
    before = cursor.columnNames
    cursor.toArray()
    return [before, cursor.columnNames, cursor.raw().columnNames]


def names_without_rows(sql):
    return [sql.exec("select id from t where 0").columnNames, sql.exec("insert into t values(9, 9)").columnNames]


def names_of_expressions(sql):
    queries = [("select 123",), ("select ?", 1), ("select ? + ?", 1, 2), ("select 1 as a, 2 as a",)]
    return [sql.exec(*query).columnNames for query in queries]


def duplicates(sql):
    sql.exec("create table abc(a, b, c); create table cde(c, d, e)")
    sql.exec("insert into abc values(1, 2, 3); insert into cde values(4, 5, 6)")
    cursor = sql.exec("select * from abc, cde")
    rows = cursor.toArray()
    return [rows[0], cursor.columnNames, sql.exec("select * from abc, cde").raw().toArray()]


def same_text_nested(sql):
    query = "select id from t limit 2"
    return [(a.id, b.id) for a in sql.exec(query) for b in sql.exec(query)]


def interleaved(sql):
    one, two = sql.exec("select id from t"), sql.exec("select id from t")
    return [one.next().value.id, two.next().value.id, one.next().value.id, one.toArray(), two.toArray()]


def to_py_of_raw(sql):
    statement = sql.exec("select id, x from t limit 1")
    rows = statement.raw().toArray().to_py()
    return [rows, statement.rowsRead]


def a_later_write_is_seen(sql):
    cursor = sql.exec("select id from t order by id")
    cursor.next()
    sql.exec("insert into t values(50, 'late')")
    return cursor.toArray()[-1].id


def writes_without_reading(sql):
    sql.exec("insert into t values(7, 'x') returning id")
    return sql.exec("select count(*) c from t where id=7").one().c


CURSOR = [
    (next_results, [False, {"id": 1}, 2, True, False, True]),
    (raw_shares_the_position, [[1], [{"id": 2}, {"id": 3}], [], True]),
    (array_twice, [[{"id": 1}, {"id": 2}, {"id": 3}], [], []]),
    (one_consumes, [{"id": 1}, [], []]),
    (one_after_next, {"id": 2}),
    (iteration, [(1, "row 1"), (2, "row 2"), (3, "row 3")]),
    (names_after_consumption, [["id", "x"]] * 3),
    (names_without_rows, [["id"], []]),
    (names_of_expressions, [["123"], ["?"], ["? + ?"], ["a", "a"]]),
    (duplicates, [{"a": 1, "b": 2, "c": 4, "d": 5, "e": 6}, ["a", "b", "c", "c", "d", "e"], [[1, 2, 3, 4, 5, 6]]]),
    (same_text_nested, [(1, 1), (1, 2), (2, 1), (2, 2)]),
    (interleaved, [1, 1, 2, [{"id": 3}], [{"id": 2}, {"id": 3}]]),
    (to_py_of_raw, [[[1, "row 1"]], 1]),
    (a_later_write_is_seen, 50),
    (writes_without_reading, 1),
]


@pytest.mark.parametrize(("script", "expected"), CURSOR, ids=[script.__name__ for script, _ in CURSOR])
def test_cursor(tmp_path, script, expected) -> None:
    assert turn(tmp_path, lambda storage: script(filled(storage))) == expected


@pytest.mark.parametrize(
    ("where", "phrase"), [("0", "Expected exactly one result"), ("0", "got no results"), ("1", "got multiple results")]
)
def test_one_of_none_or_several(tmp_path, where, phrase) -> None:
    def body(storage):
        sql = filled(storage)
        with pytest.raises(PerdureError, match=phrase):
            sql.exec(f"select * from t where {where}").one()
        with pytest.raises(PerdureError, match=phrase):  # the same once more, as a text that is known
            sql.exec(f"select * from t where {where}").one()

    turn(tmp_path, body)


def test_a_row_is_fetched_ahead(tmp_path) -> None:
    def body(storage):
        cursor = filled(storage, 10).exec("select * from t")
        seen = [cursor.rowsRead]
        seen.extend(cursor.rowsRead for _ in cursor)
        return [*seen, cursor.rowsRead]

    assert turn(tmp_path, body) == [min(rows + 1, 10) for rows in range(11)] + [10]


def test_an_open_cursor_locks_its_table_until_it_is_exhausted_or_dropped(tmp_path) -> None:
    def body(storage):
        sql = filled(storage)
        cursor = sql.exec("select * from t")
        locked = failure(sql, "drop table t")
        rest = cursor.toArray()
        sql.exec("drop table t")
        filled(storage)
        dropped = sql.exec("select * from t")
        dropped.next()
        del dropped
        gc.collect()
        sql.exec("drop table t")
        filled(storage, 1).exec("select * from t").next()  # the row ahead was looked for: there is none
        sql.exec("drop table t")
        return locked, len(rest)

    assert turn(tmp_path, body) == ("database table is locked: SQLITE_LOCKED", 3)


def test_a_cursor_used_after_delete_all_is_canceled(tmp_path) -> None:
    def body(storage):
        sql = filled(storage)
        begun, fresh = sql.exec("select * from t"), sql.exec("select * from t")
        begun.next()
        storage.deleteAll()
        found = []
        for use in (begun.next, begun.toArray, begun.one, fresh.next, begun.raw().toArray):
            with pytest.raises(PerdureError) as caught:
                use()
            found.append(caught.value.message)
        return found

    for message in turn(tmp_path, body):
        assert "canceled because the database was deleted" in message


def test_a_cursor_kept_over_turns_is_canceled_by_delete_all_too(tmp_path) -> None:
    kept = []

    def begin(storage):
        kept.append(filled(storage).exec("select * from t"))

    def rest(storage):
        storage.deleteAll()
        with pytest.raises(PerdureError, match="canceled because the database was deleted"):
            kept[0].next()

    assert turns(tmp_path, begin, rest) == [None, None]


def test_a_cursor_is_not_canceled_by_the_rollback_of_a_later_turn(tmp_path) -> None:
    kept = []

    def begin(storage):
        kept.append(filled(storage).exec("select id from t"))

    def rest(storage):
        def undone():
            storage.sql.exec("insert into t values(99, 1)")
            raise ValueError

        with pytest.raises(ValueError):
            storage.transactionSync(undone)
        return kept[0].toArray()

    assert turns(tmp_path, begin, rest)[1] == [{"id": 1}, {"id": 2}, {"id": 3}]


# ---------------------------------------------------------------------- values
VALUES = [
    ("select 1 v", (), 1, int),
    ("select 1.5 v", (), 1.5, float),
    ("select 3.0 v", (), 3, int),
    ("select 9007199254740993 v", (), 9007199254740993, int),
    ("select 1e300 v", (), 1e300, float),
    ("select 'a' v", (), "a", str),
    ("select ? v", ("a\0b",), "a\0b", str),
    ("select x'0102' v", (), b"\x01\x02", Buffer),
    ("select zeroblob(10) v", (), bytes(10), Buffer),
    ("select null v", (), None, type(None)),
    ("select ? v", (None,), None, type(None)),
    ("select typeof(?) v", (1,), "integer", str),
    ("select typeof(?) v", (1.5,), "real", str),
    ("select ? v", (True,), 1, int),
    ("select ? v", (b"\x01",), b"\x01", Buffer),
    ("select typeof(?) v", (memoryview(b"ab"),), "blob", str),
    ("select typeof(?) v", (bytearray(b"ab"),), "blob", str),
    ("select ? v", ([1, 2],), "[1, 2]", str),
    ("select ? / 2 v", (5,), 2, int),
    ("select ? v", ((1 << 63) - 1,), (1 << 63) - 1, int),
    ('select "foo" v', (), "foo", str),
    ("select 'rename to _cf_' v", (), "rename to _cf_", str),
]


@pytest.mark.parametrize(
    ("query", "bindings", "value", "kind"),
    VALUES,
    ids=[f"{q} {[type(each).__name__ for each in b]}" for q, b, _, _ in VALUES],
)
def test_values(tmp_path, query, bindings, value, kind) -> None:
    def body(storage):
        found = [storage.sql.exec(query, *bindings).one()["v"] for _ in range(2)]
        found += [
            storage.sql.exec(query, *bindings).toArray()[0].v,
            storage.sql.exec(query, *bindings).raw().next().value[0],
        ]
        return found

    found = turn(tmp_path, body)
    assert found == [value] * 4
    assert {type(each) for each in found} == {kind}
    if kind is Buffer:
        assert found[0] is not found[1]
        assert found[0].byteLength == len(value)


def test_integers_beyond_64_bits(tmp_path) -> None:
    def body(storage):
        storage.sql.exec("select ?", 1)
        return failure(storage.sql, "select ?", 1 << 64), failure(storage.sql, "select ?, 1", -(1 << 63) - 1)

    for message in turn(tmp_path, body):
        assert "Cannot convert a BigInt value" in message


# ---------------------------------------------------------------------- statements
TRAILING = [" ", "\t", "\n", "\r", "\v", "\f", "\r\n", ""]


@pytest.mark.parametrize("space", TRAILING, ids=[repr(space) for space in TRAILING])
def test_space_after_the_last_statement(tmp_path, space) -> None:
    def body(storage):
        return [storage.sql.exec(f"select 1 v;{space}").one().v for _ in range(2)]

    assert turn(tmp_path, body) == [1, 1]


NOTHING = ["", ";", " ", "-- comment", "/* comment */", "select 123; select 456; -- comment", "select 1; /* x */"]


@pytest.mark.parametrize("query", NOTHING)
def test_no_statement(tmp_path, query) -> None:
    def body(storage):
        return [failure(storage.sql, query) for _ in range(2)]

    for message in turn(tmp_path, body):
        assert "SQL code did not contain a statement" in message


def test_several_statements_in_one_call(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        text = "create table if not exists m(a); insert into m values('x;y'); select count(*) c from m where a = ?"
        first = sql.exec(text, "x;y").one().c
        second = sql.exec(text, "x;y").one().c
        trigger = "create trigger g after insert on m begin select 1; select 2; end; select 'é;' v"
        return [first, second, sql.exec(trigger).one().v]

    assert turn(tmp_path, body) == [1, 2, "é;"]


def test_a_known_text_of_several_inside_another(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec("create table m(a)")
        found = [sql.exec("insert into m values(1); select count(*) c from m").one().c for _ in range(2)]
        found += [sql.exec("select 0; insert into m values(1); select count(*) c from m").one().c for _ in range(2)]
        return found

    def rolled_back(storage):
        def undone():
            storage.sql.exec("select 0; insert into m values(1); select count(*) c from m")
            raise ValueError

        with pytest.raises(ValueError):
            storage.transactionSync(undone)
        return storage.sql.exec("select count(*) c from m").one().c

    assert turns(tmp_path, body, rolled_back) == [[1, 2, 3, 4], 4]


def test_what_ran_before_a_failing_statement_stays(tmp_path) -> None:
    def body(storage):
        return failure(storage.sql, "create table a(x); insert into a values(1); insert into nowhere values(1)")

    def after(storage):
        return storage.sql.exec("select * from a").toArray()

    first, second = turns(tmp_path, body, after)
    assert "no such table: nowhere" in first
    assert second == [{"x": 1}]


def test_alter_table_does_not_break_known_statements(tmp_path) -> None:
    def body(storage):
        sql = filled(storage, 1)
        seen = [sql.exec("select * from t").one() for _ in range(2)]
        sql.exec("alter table t add column y default 5")
        seen.append(sql.exec("select * from t").one())
        sql.exec("alter table t rename column x to z")
        cursor = sql.exec("select * from t")
        seen += [cursor.columnNames, cursor.one()]
        sql.exec("alter table t rename to u")
        sql.exec("alter table u drop column y")
        empty = sql.exec("select * from u where 0").columnNames
        sql.exec("alter table u add column w")
        empty += sql.exec("select * from u where 0").columnNames
        sql.exec("alter table u drop column w")
        return [*seen, sql.exec("select * from u").one(), failure(sql, "select * from t"), empty]

    found = turn(tmp_path, body)
    row = {"id": 1, "x": "row 1"}
    assert found[:3] == [row, row, {**row, "y": 5}]
    assert found[3:] == [
        ["id", "z", "y"],
        {"id": 1, "z": "row 1", "y": 5},
        {"id": 1, "z": "row 1"},
        "no such table: t: SQLITE_ERROR",
        ["id", "z", "id", "z", "w"],
    ]


def test_known_statements_follow_a_rollback_of_the_schema(tmp_path) -> None:
    def body(storage):
        sql = filled(storage, 1)

        def undone():
            sql.exec("alter table t add column y default 5")
            sql.exec("select * from t").one()
            sql.exec("select * from t").one()
            raise ValueError

        with pytest.raises(ValueError):
            storage.transactionSync(undone)
        return sql.exec("select * from t").one()

    assert turn(tmp_path, body) == {"id": 1, "x": "row 1"}


def test_a_create_that_was_needless_runs_when_it_is_needed(tmp_path) -> None:
    """It was known as a statement that writes nothing: it must not run outside the turn's transaction."""

    def body(storage):
        sql = storage.sql
        for _ in range(3):
            sql.exec("create table if not exists t(x)")
        sql.exec("drop table t")
        sql.exec("create table if not exists t(x)")
        storage.transactionSync(lambda: sql.exec("insert into t values(1)"))
        return sql.exec("select x from t").one().x

    assert turn(tmp_path, body) == 1


def test_statements_after_a_pragma_that_invalidates_them(tmp_path) -> None:
    def body(storage):
        sql = filled(storage, 1)
        text = "insert into t values(10, 1); select count(*) c from t"
        sql.exec("delete from t")
        first = sql.exec(text).one().c
        sql.exec("delete from t")
        sql.exec("pragma case_sensitive_like = on")
        sql.exec("pragma defer_foreign_keys = on")
        return first, sql.exec(text).one().c

    def undone(storage):
        def fails():
            storage.sql.exec("pragma case_sensitive_like = off")
            storage.sql.exec("insert into t values(11, 1); insert into t values(12, 1)")
            raise ValueError

        with pytest.raises(ValueError):
            storage.transactionSync(fails)
        return storage.sql.exec("select count(*) c from t").one().c

    assert turns(tmp_path, body, undone) == [(1, 1), 1]


def test_more_texts_than_are_kept(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        return sum(sql.exec(f"select {number} v").one().v for number in range(300) for _ in range(2))

    assert turn(tmp_path, body, Limits(sql_statement_cache_bytes=20_000)) == 2 * sum(range(300))


def test_database_size(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        before = sql.databaseSize
        sql.exec("create table t(x)")
        more = sql.databaseSize
        sql.exec("drop table t")
        return before % 4096, more - before, sql.databaseSize - before

    assert turn(tmp_path, body) == (0, 4096, 0)


# ---------------------------------------------------------------------- pragmas of the object
def test_pragmas_outlive_the_closing_of_the_database_between_turns(tmp_path) -> None:
    shards = []

    def set_them(storage):
        storage.sql.exec("create table p(id integer primary key); create table c(p references p(id))")
        storage.sql.exec("pragma recursive_triggers = 'yes'")

    def off(storage):
        storage.sql.exec("pragma foreign_keys = off")

    def close(storage):
        return storage.sql.exec("pragma foreign_keys").one().foreign_keys

    def begun_by_keys(storage):  # the database opens inside the turn, for keys
        storage.put("k", 1)
        backend = shards[0].instance("a").storage
        assert backend._database is None
        storage.sql.exec("insert into c values(99)")
        return [
            storage.sql.exec(f"pragma {name}").raw().next().value[0] for name in ("foreign_keys", "recursive_triggers")
        ]

    async def body() -> None:
        shard = Shard(SqlBox, tmp_path)
        shards.append(shard)
        for number, function in enumerate((set_them, off, close, begun_by_keys)):
            _TURNS[number] = function
            if function is begun_by_keys:
                shard.instance("a").storage.release()
            await shard.call("a", "do", number)
        assert _RESULTS[-2:] == [0, [0, 1]]
        shard.stop()

    asyncio.run(body())


def test_undefined_is_bound_as_null(tmp_path) -> None:
    def body(storage):
        return [storage.sql.exec("select ? as v, typeof(?) as t", UNDEFINED, UNDEFINED).one() for _ in range(2)]

    assert turn(tmp_path, body) == [{"v": None, "t": "null"}] * 2
