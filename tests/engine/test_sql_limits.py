"""Bounds of SQL and of its storage (spec: limits), each with a value of its own and with the default."""

from __future__ import annotations

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits

from .sqlbox import failure, turn

COLUMNS = ", ".join(f"c{number}" for number in range(101))
DEEP = "+".join(["1"] * 102)
LONG = "select '" + "é" * 49_990 + "'"
TRIGGERS = (
    "create table t(x); create trigger g after insert on t when new.x > 0 begin insert into t values(new.x - 1); end; "
    "pragma recursive_triggers = on"
)
# name, statements before, what is just allowed, what is not, its error
DEFAULTS = [
    ("columns", "", f"create table t({COLUMNS.rsplit(',', 1)[0]})", f"create table u({COLUMNS})", "too many columns"),
    ("parameters", "", "select ?100, 1", "select ?101", "variable number must be between ?1 and ?100"),
    (
        "function_arguments",
        "",
        f"select max({','.join('1' * 127)})",
        f"select max({','.join('1' * 128)})",
        "too many arguments",
    ),
    ("row_bytes", "", "select zeroblob(4194304)", "select zeroblob(4194305)", "string or blob too big: SQLITE_TOOBIG"),
    ("statement_bytes_of_utf8", "", LONG[:-1] + "'", LONG[:-1] + "é" * 20 + "'", "statement too long: SQLITE_TOOBIG"),
    (
        "like_pattern",
        "",
        f"select 'a' like '{'a' * 50}'",
        f"select 'a' like '{'a' * 51}'",
        "LIKE or GLOB pattern too complex",
    ),
    (
        "expression_depth",
        "",
        f"select {DEEP[:-6]}",
        f"select {DEEP}",
        "Expression tree is too large (maximum depth 100)",
    ),
    (
        "compound_terms",
        "",
        " union all ".join(["select 1"] * 5),
        " union all ".join(["select 1"] * 6),
        "too many terms in compound SELECT",
    ),
    ("trigger_depth", TRIGGERS, "insert into t values(8)", "insert into t values(20)", "triggers nested too deep"),
    ("attached", "", "select 1", "attach ':memory:' as x", "not authorized"),
]


@pytest.mark.parametrize(
    ("before", "fits", "too_much", "message"), [row[1:] for row in DEFAULTS], ids=[row[0] for row in DEFAULTS]
)
def test_defaults(tmp_path, before, fits, too_much, message) -> None:
    def body(storage):
        if before:
            storage.sql.exec(before)
        bindings = [1] * 100 if "?100" in fits else []
        return failure(storage.sql, fits, *bindings), failure(storage.sql, too_much)

    first, second = turn(tmp_path, body)
    assert first == "ran"
    assert message in second


SETTINGS = [
    ("sql_columns_max", 3, "create table t(a, b, c, d)", "too many columns"),
    ("sql_parameters_max", 3, "select ?4", "variable number must be between ?1 and ?3"),
    ("sql_function_arguments_max", 3, "select max(1, 2, 3, 4)", "too many arguments"),
    ("sql_row_bytes_max", 2_000_000, "select zeroblob(2000001)", "string or blob too big: SQLITE_TOOBIG"),
    ("sql_statement_bytes_max", 60, "select '" + "a" * 60 + "'", "statement too long: SQLITE_TOOBIG"),
    ("sql_pattern_bytes_max", 3, "select 'a' like 'aaaa'", "pattern too complex"),
    ("sql_expression_depth_max", 10, "select 1+1+1+1+1+1+1+1+1+1+1", "maximum depth 10"),
    ("sql_compound_terms_max", 2, "select 1 union select 2 union select 3", "too many terms in compound SELECT"),
]


@pytest.mark.parametrize(("name", "value", "query", "message"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_settings(tmp_path, name, value, query, message) -> None:
    limits = Limits.from_settings({name: value})
    assert message in turn(tmp_path, lambda storage: failure(storage.sql, query), limits)


def test_operations_of_a_statement(tmp_path) -> None:
    """SQLite has no error of its own for it: it says that memory is out, which breaks the object as in the reference."""
    query = "select " + ", ".join(f"abs({number})" for number in range(90))
    with pytest.raises(PerdureError, match="SQLITE_NOMEM"):
        turn(tmp_path, lambda storage: failure(storage.sql, query), Limits(sql_operations_max=100))
    assert turn(tmp_path, lambda storage: failure(storage.sql, query)) == "ran"


def test_bytes_of_an_object(tmp_path) -> None:
    def body(storage):
        return storage._storage.opened().connection.pragma("max_page_count")

    assert turn(tmp_path, body) == 10**10 // 4096


def test_the_length_bound_counts_the_programs_own_text(tmp_path) -> None:
    text = "select '" + "a" * 51 + "'"
    limits = Limits(sql_statement_bytes_max=len(text))
    assert turn(tmp_path, lambda storage: failure(storage.sql, text), limits) == "ran"


def test_an_empty_database_is_three_pages(tmp_path) -> None:
    assert turn(tmp_path, lambda storage: storage.sql.databaseSize) == 3 * 4096
