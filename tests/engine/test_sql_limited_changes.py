"""`DELETE … LIMIT` and `UPDATE … LIMIT` (spec: storage-sql, statements)."""

from __future__ import annotations

import pytest
from perdure.engine.limited_changes import limited_change

from .sqlbox import failure, turn

SCHEMA = """
create table t(id integer primary key, a, b);
create table "odd ; name"(a);
create table words(word text, n, note, primary key (n, word)) without rowid;
create table shadowed(rowid, oid, a);
insert into t values(1, 'x', 5), (2, 'x', 4), (3, 'y', 3), (4, 'x', 2), (5, 'x', 1);
insert into words values('a', 1, ''), ('b', 1, ''), ('c', 2, '');
insert into shadowed values(1, 1, 'x'), (1, 1, 'y')
"""
# name, statement, values, a query for what is left, and that
FORMS = [
    ("delete", "delete from t limit 2", (), "select id v from t", [3, 4, 5]),
    ("delete_where", "DELETE FROM t WHERE a = 'x' LIMIT 2", (), "select id v from t", [3, 4, 5]),
    ("delete_order", "delete from t where a = ? order by b limit ?", ("x", 2), "select id v from t", [1, 2, 3]),
    ("delete_offset", "delete from t order by id limit 1 offset 2", (), "select id v from t", [1, 2, 4, 5]),
    ("delete_alias", "delete from t as z where z.a = 'x' limit 1;", (), "select id v from t", [2, 3, 4, 5]),
    ("delete_schema", "delete from main.t where id > 1 limit 1", (), "select id v from t", [1, 3, 4, 5]),
    (
        "delete_inner_limit",
        "delete from t where id in (select id from t order by id desc limit 3) limit 1",
        (),
        "select count(*) v from t",
        [4],
    ),
    (
        "delete_with",
        "with old(i) as (select 2) delete from t where id in (select i from old) limit 5",
        (),
        "select id v from t",
        [1, 3, 4, 5],
    ),
    (
        "delete_comments",
        "delete /* limit 9 */ from t -- limit\n where a = 'limit 3' or 1 -- x\n limit 2 -- y",
        (),
        "select count(*) v from t",
        [3],
    ),
    ("delete_without_rowid", "delete from words where n = 1 limit 1", (), "select word v from words", ["b", "c"]),
    ("delete_shadowed_rowid", "delete from shadowed where a = 'y' limit 5", (), "select a v from shadowed", ["x"]),
    (
        "update",
        "update t set a = ? where a = ? order by b limit ?",
        ("z", "x", 2),
        "select id v from t where a = 'z'",
        [4, 5],
    ),
    ("update_or", "update or ignore t set a = 'z' limit 1", (), "select id v from t where a = 'z'", [1]),
    (
        "update_without_rowid",
        "update words set note = 'z' order by word desc limit 1",
        (),
        "select word v from words where note = 'z'",
        ["c"],
    ),
    (
        "in_a_text_of_several",
        "delete from t limit 1; insert into t values(9, 1, 1); delete from t order by id desc limit 1",
        (),
        "select id v from t",
        [2, 3, 4, 5],
    ),
]


@pytest.mark.parametrize(
    ("query", "values", "left", "expected"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS]
)
def test_forms(tmp_path, query, values, left, expected) -> None:
    def body(storage):
        storage.sql.exec(SCHEMA)
        storage.sql.exec(query, *values)
        return [row.v for row in storage.sql.exec(left)]

    assert turn(tmp_path, body) == expected


def test_it_is_known_afterwards_and_gives_what_it_returns(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec(SCHEMA)
        query = "delete from t where a = ? returning id limit 1"
        found = [[row.id for row in sql.exec(query, "x")] for _ in range(3)]
        return found, sql.exec("delete from t limit 1").rowsWritten, "delete from t limit 1" in sql._statements._known

    assert turn(tmp_path, body) == ([[1], [2], [4]], 1, True)


REFUSED = [
    "delete from nowhere limit 1",
    "delete from t where limit 1",
    "delete t limit 1",
    "delete from t where a = ? returning ? limit ?",
    "update t set a = 1 from words where t.id = words.n limit 1",
    "delete from _cf_KV limit 1",
    "select 1 limit limit",
]


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_refused_stays_so(tmp_path, query) -> None:
    def body(storage):
        storage.sql.exec(SCHEMA)
        storage.put("k", 1)
        return failure(storage.sql, query, *["x"] * query.count("?")), storage.sql.exec(
            "select count(*) c from t"
        ).one().c

    message, left = turn(tmp_path, body)
    assert "SQLITE_" in message
    assert left == 5


def test_the_rewritten_text_and_how_much_was_used() -> None:
    found = limited_change("delete from t where a limit 5; select 1", lambda _table: ["rowid"])
    assert found is not None
    assert found.statement == "delete from t  where rowid in (select rowid from t  where a  limit 5)"
    assert found.length == len("delete from t where a limit 5;")
