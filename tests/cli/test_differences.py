"""Differences between two copies: every kind of table, key and change; streamed."""

from __future__ import annotations

import json
import tracemalloc

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure.cli.differences import RowChange, SchemaChange, differences
from perdure.engine.errors import StorageError

from .workshop import Workshop, put, sql


def make(path: str, *statements: str) -> str:
    connection = apsw.Connection(path)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()
    return path


def compare(folder, before: list[str], after: list[str]) -> list[tuple[object, ...]]:
    """Schema changes as (what, name, change), rows as (table, change, key, before, after)."""
    old = make(f"{folder}/old.sqlite", *before)
    new = make(f"{folder}/new.sqlite", *after)
    return [
        (item.what, item.name, item.change)
        if isinstance(item, SchemaChange)
        else (item.table, item.change, item.key, item.before, item.after)
        for item in differences(old, new)
    ]


KEYED = "create table t(id integer primary key, a text)"


def test_rows_added_removed_and_changed(tmp_path) -> None:
    found = compare(
        tmp_path,
        [KEYED, "insert into t values(1, 'same'), (2, 'old'), (3, 'gone')"],
        [KEYED, "insert into t values(1, 'same'), (2, 'new'), (4, 'come')"],
    )
    assert found == [
        ("t", "changed", {"id": 2}, {"id": 2, "a": "old"}, {"id": 2, "a": "new"}),
        ("t", "removed", {"id": 3}, {"id": 3, "a": "gone"}, None),
        ("t", "added", {"id": 4}, None, {"id": 4, "a": "come"}),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [("1", "1.0"), ("1", "'1'"), ("'a'", "'A'"), ("x'61'", "'a'"), ("null", "0"), ("''", "null"), ("'a'", "'a '")],
)
def test_a_value_of_another_type_or_case_is_another(tmp_path, before: str, after: str) -> None:
    table = "create table t(id integer primary key, a collate nocase, b text collate rtrim)"
    row = "insert into t values(1, {0}, cast({0} as text))"
    found = compare(tmp_path, [table, row.format(before)], [table, row.format(after)])
    assert [change[1] for change in found] == ["changed"]


@pytest.mark.parametrize(
    "table",
    [
        "create table t(a text, b text, v, primary key(b, a)) without rowid",
        "create table t(a text, b text, v, primary key(b, a))",
        "create table t(a text collate nocase, b text, v, primary key(b desc, a)) without rowid",
        "create table t(a text, b text, v, primary key(b, a)) strict".replace(" v,", " v any,"),
    ],
    ids=["without rowid", "composite", "collated", "strict"],
)
def test_other_keys(tmp_path, table: str) -> None:
    found = compare(
        tmp_path,
        [table, "insert into t values('x', 'k', 1), ('y', 'k', 2), ('z', 'k', 3)"],
        [table, "insert into t values('y', 'k', 5), ('z', 'k', 3), ('w', 'l', 4)"],
    )
    assert sorted((change[1], change[2]["a"], change[2]["b"]) for change in found) == [
        ("added", "w", "l"),
        ("changed", "y", "k"),
        ("removed", "x", "k"),
    ]


def test_tables_without_a_primary_key_go_by_rowid(tmp_path) -> None:
    table = "create table t(rowid text, a)"  # the name is taken: SQLite has two more
    found = compare(
        tmp_path,
        [table, "insert into t values('x', 1), ('x', 1), ('x', 2)"],
        [table, "insert into t values('x', 1), ('x', 1), ('x', 3)"],
    )
    assert found == [("t", "changed", {"oid": 3}, {"rowid": "x", "a": 2}, {"rowid": "x", "a": 3})]
    hidden = "create table h(rowid, _rowid_, oid)"
    (tmp_path / "hidden").mkdir()
    found = compare(tmp_path / "hidden", [hidden], [hidden])
    assert found == [("table", "h", "not compared: its rows have no key")]


def test_primary_keys_with_nulls_go_by_rowid(tmp_path) -> None:
    table = "create table t(k text primary key, a)"
    found = compare(
        tmp_path,
        [table, "insert into t values(null, 1), (null, 2), ('x', 3)"],
        [table, "insert into t values(null, 1), (null, 5), ('x', 3)"],
    )
    assert [(change[1], change[2], change[3]["a"], change[4]["a"]) for change in found] == [
        ("changed", {"rowid": 2}, 2, 5)
    ]


def test_new_dropped_and_altered_tables(tmp_path) -> None:
    found = compare(
        tmp_path,
        [KEYED, "create table gone(x)", "insert into gone values(1)", "create index i on t(a)",
         "insert into t values(1, 'a'), (2, 'b')"],
        [
            "create table t(id integer primary key, a text, more)",
            "insert into t values(1, 'a', null), (2, 'b', 5)",
            "create table come(y primary key) without rowid",
            "insert into come values('k')",
            "create view v as select 1",
        ],
    )  # fmt: skip
    assert found == [
        ("index", "i", "removed"),
        ("table", "come", "added"),
        ("table", "gone", "removed"),
        ("table", "t", "altered"),
        ("view", "v", "added"),
        ("come", "added", {"y": "k"}, None, {"y": "k"}),
        ("gone", "removed", {"rowid": 1}, {"x": 1}, None),
        ("t", "changed", {"id": 2}, {"id": 2, "a": "b"}, {"id": 2, "a": "b", "more": 5}),
    ]


def test_a_table_whose_key_changed_goes_and_comes(tmp_path) -> None:
    found = compare(
        tmp_path,
        ["create table t(a primary key, b) without rowid", "insert into t values(1, 2)"],
        ["create table t(a, b primary key) without rowid", "insert into t values(1, 2)"],
    )
    assert [change[:2] for change in found] == [("table", "t"), ("t", "removed"), ("t", "added")]


def test_generated_columns_and_full_text_tables(tmp_path) -> None:
    tables = [
        "create table g(id integer primary key, a, twice as (a * 2))",
        "create virtual table f using fts5(body)",
    ]
    found = compare(
        tmp_path,
        [*tables, "insert into g values(1, 2)", "insert into f values('old words')"],
        [*tables, "insert into g values(1, 3)", "insert into f values('new words')"],
    )
    assert found == [
        ("f", "changed", {"rowid": 1}, {"body": "old words"}, {"body": "new words"}),
        ("g", "changed", {"id": 1}, {"id": 1, "a": 2}, {"id": 1, "a": 3}),
    ]


def test_odd_names(tmp_path) -> None:
    table = """create table "a ""b'] c"("se lect" integer primary key, "x;y" text)"""
    row = """insert into "a ""b'] c" values(1, '{}')"""
    found = compare(tmp_path, [table, row.format("old")], [table, row.format("new")])
    assert found == [
        ("a \"b'] c", "changed", {"se lect": 1}, {"se lect": 1, "x;y": "old"}, {"se lect": 1, "x;y": "new"})
    ]


_ROWS = st.dictionaries(st.integers(-5, 5), st.one_of(st.none(), st.integers(0, 2), st.sampled_from(["", "a", "A"])))


@settings(max_examples=60, deadline=None)
@given(before=_ROWS, after=_ROWS, without_rowid=st.booleans())
def test_what_is_told_turns_the_old_copy_into_the_new(tmp_path_factory, before, after, without_rowid) -> None:
    folder = tmp_path_factory.mktemp("diff")
    paths = []
    for name, rows in (("old", before), ("new", after)):
        path = make(f"{folder}/{name}", f"create table t(id integer primary key, a){' without rowid' * without_rowid}")
        connection = apsw.Connection(path)
        connection.executemany("insert into t values(?, ?)", list(rows.items()))
        connection.close()
        paths.append(path)
    now = dict(before)
    for item in differences(*paths):
        assert isinstance(item, RowChange)
        identity = item.key["id"]
        assert (identity in now) == (item.change != "added")
        if item.after is None:
            del now[identity]
        else:
            now[identity] = item.after["a"]
    assert now == after


def test_memory_is_bounded_by_a_row(tmp_path) -> None:
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)"
    fill = numbers + " insert into t select i, '{}' || i from n"
    old = make(f"{tmp_path}/old", KEYED, fill.format("a" * 100))
    new = make(f"{tmp_path}/new", KEYED, fill.format("b" * 100))
    tracemalloc.start()
    count = sum(1 for _ in differences(old, new))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40_000
    assert peak < 1 << 20


def test_what_is_no_database_is_a_typed_error(tmp_path) -> None:
    (tmp_path / "a").write_bytes(b"nothing" * 1000)
    with pytest.raises(StorageError, match="cannot be compared"):
        list(differences(f"{tmp_path}/a", f"{tmp_path}/a"))


# ---------------------------------------------------------------------- the command
@pytest.fixture
def shop(tmp_path):
    found = Workshop(str(tmp_path))
    yield found
    found.end()


def test_diff_tells_keys_decoded_and_rows_by_table(shop) -> None:
    first = shop.save("b", put(n=1, gone="x"))
    shop.save("b", sql("create table t(id integer primary key, a); insert into t values(1, 'one')"))
    second = shop.save("b", put(n={"deep": [1]}, come=True))
    shop.save("b", sql("delete from _cf_KV where key = 'gone'; update t set a = 'two'; create index i on t(a)"))
    text = shop.run("diff", "Room/b", "--from", first).stdout.splitlines()
    assert text == [
        "index i: added",
        "+ CREATE INDEX i on t(a)",
        "table t: added",
        "+ CREATE TABLE t(id integer primary key, a)",
        "keys and values",
        '- "gone"  value: "x"',
        '~ "n"  value: 1 -> {"deep": [1]}',
        '+ "come"  value: true',
        "table t",
        '+ 1  a: "two"',
        "keys and values: 1 added, 1 removed, 1 changed",
        "table t: 1 added, 0 removed, 0 changed",
    ]
    lines = [
        json.loads(line)
        for line in shop.run("diff", "Room/b", "--from", first, "--to", second, "--json").stdout.splitlines()
    ]
    assert lines[1] == {
        "table": "_cf_KV", "change": "changed", "key": {"key": "n"},
        "before": {"key": "n", "value": 1}, "after": {"key": "n", "value": {"deep": [1]}},
    }  # fmt: skip
    assert lines[0]["schema"] == "table"
    assert [line["change"] for line in lines[2:]] == ["added", "added"]
    assert shop.run("diff", "Room/b", "--from", second, "--to", second).stdout == "no differences\n"
    assert shop.run("diff", "Room/b", "--from", second, "--to", second, "--json").stdout == ""
