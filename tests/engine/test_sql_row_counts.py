"""Rows read and written, by the public vectors (spec: storage-sql, row counters); docs/compatibility.md shows the same table."""

from __future__ import annotations

import gc

import pytest

from .sqlbox import turn, turns

SCHEMA = """
create table things(id integer primary key, unindexed_int, value);
create table plain(a);
create table indexed(id integer primary key, a, b);
create index indexed_a on indexed(a);
create index indexed_b on indexed(b);
create table few(id integer primary key, a);
create table log(x);
create table noisy(id integer primary key, a);
create trigger on_insert after insert on noisy begin insert into log values(new.a); end;
create trigger on_delete after delete on noisy begin insert into log values(old.a); end;
create table words(word text primary key, n) without rowid;
create table named(name text primary key)
"""
AT_LEAST = "at least"
# name, statements before it, the statement, rows read (None: not pinned), rows written
VECTORS = [
    ("insert_with_primary_key", "", "insert into things values(1000, 1000, 'x')", 1, 1),
    ("insert_with_text_primary_key", "", "insert into named values('x')", 1, None),
    ("insert_without_key_or_index", "", "insert into plain values(1)", 0, 1),
    ("select_all", "", "select * from things", 1000, 0),
    ("select_by_id", "", "select * from things where id = 5", 1, 0),
    ("select_by_unindexed", "", "select * from things where unindexed_int = 5", 1000, 0),
    ("select_max_unindexed", "", "select max(unindexed_int) from things", 1000, 0),
    ("select_min_id", "", "select min(id) from things", 1, 0),
    ("select_limit_5", "", "select * from things limit 5", 5, 0),
    ("delete_one_by_id", "", "delete from things where id = 5", 1, 1),
    ("delete_none", "", "delete from things where id = 5000", None, 0),
    ("delete_none_by_scan", "", "delete from things where unindexed_int = -1", 1000, 0),
    ("insert_select_3", "", "insert into plain select id from things limit 3", 3, 3),
    ("update_2_by_scan", "", "update few set a = 9 where a < 3", None, 2),
    ("update_of_the_primary_key", "", "update few set id = id + 100 where a < 3", (AT_LEAST, 4), 2),
    ("insert_of_a_large_row", "", "insert into things values(1001, 1, zeroblob(100000))", 1, 1),
    ("insert_with_a_trigger", "", "insert into noisy values(1, 1)", None, 2),
    (
        "delete_3_with_a_trigger",
        "insert into noisy values(1, 1), (2, 2), (3, 3)",
        "delete from noisy where id <= 3",
        None,
        6,
    ),
    ("select_in_over_2", "delete from few where id > 2", "select * from few where a in (1, 2, 3, 4, 5, 6)", 2, 0),
    ("insert_with_two_indexes", "", "insert into indexed(a, b) values(1, 1)", 0, 3),
    ("insert_3_with_two_indexes", "", "insert into indexed(a, b) values(1, 1), (2, 2), (3, 3)", None, 9),
    (
        "update_of_one_indexed_column",
        "insert into indexed values(1, 1, 1)",
        "update indexed set a = 5 where id = 1",
        1,
        2,
    ),
    ("delete_with_two_indexes", "insert into indexed values(1, 1, 1)", "delete from indexed where id = 1", 1, 1),
    ("count_all", "", "select count(*) from things", 1000, 0),
    ("sum_all", "", "select sum(unindexed_int) from things", 1000, 0),
    ("order_by_unindexed", "", "select * from things order by unindexed_int desc limit 3", 1000, 0),
    ("range_by_key", "", "select * from things where id > 990", 9, 0),
    ("insert_without_rowid", "", "insert into words values('a', 1)", 1, 1),
    ("select_without_rowid", "insert into words values('a', 1)", "select * from words where word = 'a'", 1, 0),
    ("replace", "", "replace into few values(1, 50)", None, 1),
    ("insert_or_ignore_nothing", "", "insert or ignore into few values(1, 50)", None, 0),
    (
        "upsert",
        "insert into words values('a', 1)",
        "insert into words values('a', 1) on conflict do update set n = 2",
        None,
        1,
    ),
    ("insert_returning", "", "insert into plain values(1) returning a", None, 1),
    ("create_table", "", "create table made(x)", 0, 0),
    ("constant", "", "select 123", 0, 0),
]
# name, statement, rows read truly, and how far ours may be off
ESTIMATES = [
    ("join_by_key", "select * from few join things on things.id = few.a", 8, 0.0),
    ("cross_join", "select * from few, few b", 20, 0.25),
    ("sum_of_a_range", "select sum(unindexed_int) from things where id > 499", 500, 0.02),
    ("filtered_range", "select * from things where id >= 500 and unindexed_int % 2 = 0", 500, 0.3),
]


def schema(storage) -> None:
    storage.sql.exec(SCHEMA)
    for number in range(1000):
        storage.sql.exec("insert into things values(?, ?, ?)", number, number, f"value {number}")
    storage.sql.exec("insert into few values(1, 1), (2, 2), (3, 3), (4, 4)")


@pytest.mark.parametrize(
    ("before", "query", "read", "written"), [row[1:] for row in VECTORS], ids=[row[0] for row in VECTORS]
)
@pytest.mark.parametrize("known", [False, True], ids=["first", "known"])
def test_vectors(tmp_path, before, query, read, written, known) -> None:
    """Both for a text's first run and for a later one, which take different paths."""

    def once(storage):
        if before:
            storage.sql.exec(before)
        cursor = storage.sql.exec(query)
        cursor.toArray()
        return cursor.rowsRead, cursor.rowsWritten

    def body(storage):
        schema(storage)
        if known:
            learnt = {}

            def undone():
                once(storage)
                learnt.update(storage.sql._statements._known)
                raise ValueError

            with pytest.raises(ValueError):
                storage.transactionSync(undone)
            storage.sql._statements._known.update(learnt)  # the schema is the same again: what was learnt holds
        meters = storage._storage.meters
        start = meters.rows_read, meters.rows_written
        counted_before = 0, 0
        if before:
            cursor = storage.sql.exec(before)
            counted_before = cursor.rowsRead, cursor.rowsWritten
        cursor = storage.sql.exec(query)
        cursor.toArray()
        metered = meters.rows_read - start[0] - counted_before[0], meters.rows_written - start[1] - counted_before[1]
        return (cursor.rowsRead, cursor.rowsWritten), metered

    counts, metered = turn(tmp_path, body)
    if isinstance(read, tuple):
        assert counts[0] >= read[1]
    elif read is not None:
        assert counts[0] == read
    if written is not None:
        assert counts[1] == written
    assert counts == metered


@pytest.mark.parametrize(("query", "truth", "off"), [row[1:] for row in ESTIMATES], ids=[row[0] for row in ESTIMATES])
def test_estimates(tmp_path, query, truth, off) -> None:
    def body(storage):
        schema(storage)
        cursor = storage.sql.exec(query)
        cursor.toArray()
        return cursor.rowsRead

    assert turn(tmp_path, body) == pytest.approx(truth, rel=off)


def test_nested_loops_read_two_rows_each(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec(
            "create table abc(a); create table cde(c); insert into abc values(1), (2); insert into cde values(3), (4)"
        )
        outer = sql.exec("select * from abc")
        found, inners = [], []
        for one in outer:
            inner = sql.exec("select * from cde")
            found += [(one.a, two.c) for two in inner]
            inners.append(inner.rowsRead)
        return found, outer.rowsRead, inners

    assert turn(tmp_path, body) == ([(1, 3), (1, 4), (2, 3), (2, 4)], 2, [2, 2])


def test_meters_are_the_sum_of_the_cursors(tmp_path) -> None:
    def body(storage):
        schema(storage)
        meters = storage._storage.meters
        start = meters.rows_read
        cursors = [storage.sql.exec("select * from things where unindexed_int > 100") for _ in range(3)]
        cursors[0].toArray()
        for _ in range(5):
            cursors[1].next()
        del cursors[2]
        gc.collect()
        rest = sum(1 for _ in cursors[1])
        return rest, sum(cursor.rowsRead for cursor in cursors), meters.rows_read - start

    rest, counted, metered = turn(tmp_path, body)
    assert rest == 894
    assert counted == metered == 2000


def test_counters_end_with_the_statements_that_need_them(tmp_path) -> None:
    """SQLite's counters cost a microsecond a statement: none may be left on by a cursor that was dropped or kept."""
    kept = []

    def begin(storage):
        schema(storage)
        query = "select * from things where unindexed_int > 100"
        storage.sql.exec(query).next()
        gc.collect()
        dropped = bool(storage.sql._cursors.profiling)
        kept.append(storage.sql.exec(query))
        return dropped, bool(storage.sql._cursors.profiling)

    def later(storage):
        return bool(storage.sql._cursors.profiling), len(kept[0].toArray()), kept[0].rowsRead

    assert turns(tmp_path, begin, later) == [(False, True), (False, 899, 1000)]
