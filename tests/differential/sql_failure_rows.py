"""SQL: what is refused, and with which words."""

from __future__ import annotations

from .operation import Operation, inside
from .sql_rows import quoted

_TABLE = 'sql.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, c CHECK (c > 0), n NOT NULL DEFAULT 1)")'


def _fails(name: str, statement: str, *bindings: str, before: str = "") -> Operation:
    arguments = ", ".join([quoted(statement), *bindings])
    first = f"{before}; " if before else ""
    return inside(f"sql fails: {name}", f"{first}return sql.exec({arguments}).toArray()")


def _pragma(text: str) -> Operation:
    return inside(f"pragma: {text}", f"{_TABLE}; return sql.exec({quoted('PRAGMA ' + text)}).toArray()")


_FAILURES = [
    _fails("syntax", "SELECT * FROM t bunk junk", before=_TABLE),
    _fails("syntax at the start", "SELEC 1"),
    _fails("incomplete", "SELECT (1"),
    _fails("unclosed text", "SELECT 'abc"),
    _fails("no such table", "SELECT * FROM missing"),
    _fails("no such column", "SELECT missing FROM t", before=_TABLE),
    _fails("no such function", "SELECT missing(1)"),
    _fails("wrong number of arguments of a function", "SELECT abs(1, 2)"),
    _fails("table exists", "CREATE TABLE t (a)", before=_TABLE),
    _fails(
        "UNIQUE",
        "INSERT INTO t (id, u) VALUES (2, 'x')",
        before=f"{_TABLE}; sql.exec(\"INSERT INTO t (id, u) VALUES (1, 'x')\")",
    ),
    _fails(
        "primary key", "INSERT INTO t (id) VALUES (1)", before=f'{_TABLE}; sql.exec("INSERT INTO t (id) VALUES (1)")'
    ),
    _fails("CHECK", "INSERT INTO t (c) VALUES (0)", before=_TABLE),
    _fails("NOT NULL", "INSERT INTO t (n) VALUES (NULL)", before=_TABLE),
    _fails(
        "foreign key", "INSERT INTO r VALUES (5)", before=f'{_TABLE}; sql.exec("CREATE TABLE r (a REFERENCES t (id))")'
    ),
    _fails("mismatch of a rowid", "INSERT INTO t (id) VALUES ('x')", before=_TABLE),
    _fails("too few bindings", "SELECT ?, ?", "1"),
    _fails("too many bindings", "SELECT ?", "1", "2"),
    _fails("bindings without parameters", "SELECT 1", "1"),
    _fails("BEGIN", "BEGIN TRANSACTION"),
    _fails("COMMIT", "COMMIT"),
    _fails("ROLLBACK", "ROLLBACK"),
    _fails("SAVEPOINT", "SAVEPOINT s"),
    _fails("RELEASE", "RELEASE s"),
    _fails("ATTACH", "ATTACH ':memory:' AS x"),
    _fails("DETACH", "DETACH main"),
    _fails("TEMP table", "CREATE TEMP TABLE x (a)"),
    _fails("TEMP view", "CREATE TEMP VIEW x AS SELECT 1"),
    _fails("VACUUM", "VACUUM"),
    _fails("hidden table read", "SELECT * FROM _cf_KV", before='kv.put("k", 1)'),
    _fails("hidden table written", "INSERT INTO _cf_KV VALUES ('a', 1)", before='kv.put("k", 1)'),
    _fails("hidden table dropped", "DROP TABLE _cf_KV", before='kv.put("k", 1)'),
    _fails("hidden name created", "CREATE TABLE _CF_x (a)"),
    _fails("hidden name in other case", "CREATE TABLE _Cf_x (a)"),
    _fails("renamed to a hidden name", "ALTER TABLE t RENAME TO _cf_x", before=_TABLE),
    _fails("hidden index", "CREATE INDEX _cf_i ON t (u)", before=_TABLE),
    _fails("hidden virtual table", "CREATE VIRTUAL TABLE _cf_f USING fts5(a)"),
    _fails("another virtual table", "CREATE VIRTUAL TABLE f USING fts4(a)"),
    _fails("sqlite_version", "SELECT sqlite_version()"),
    _fails("load_extension", "SELECT load_extension('x')"),
    _fails("randomblob is allowed", "SELECT length(randomblob(4)) AS n"),
    _fails(
        "sqlite_master is readable", "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 't'", before=_TABLE
    ),
    _fails("writing sqlite_master", "DELETE FROM sqlite_master"),
    _fails("5 compound terms", "SELECT 1 AS n" + " UNION ALL SELECT 1" * 4),
    _fails("6 compound terms", "SELECT 1 AS n" + " UNION ALL SELECT 1" * 5),
    _fails("100 columns", "CREATE TABLE w (" + ", ".join(f"c{n}" for n in range(100)) + ")"),
    _fails("101 columns", "CREATE TABLE w (" + ", ".join(f"c{n}" for n in range(101)) + ")"),
    _fails("100 parameters", "SELECT " + " || ".join(["?"] * 50) + " AS v", *['"a"'] * 50),
    _fails("a parameter numbered 101", "SELECT ?101"),
    _fails("depth of an expression", "SELECT " + "(" * 101 + "1" + ")" * 101),
    _fails("a pattern of 51 bytes", "SELECT 'a' LIKE '" + "x" * 51 + "' AS v"),
    _fails("a pattern of 50 bytes", "SELECT 'a' LIKE '" + "x" * 50 + "' AS v"),
    _fails("a statement of 100,001 bytes", "SELECT '" + "x" * 100_000 + "' AS v"),
    _fails("a blob of 5 MB", "SELECT length(zeroblob(5000000)) AS n"),
    inside(
        "sql fails: a value of 3 MB",
        'return sql.exec("SELECT length(?) AS n", "x".repeat(3000000)).one()',
        'return sql.exec("SELECT length(?) AS n", "x" * 3000000).one()',
    ),
    inside(
        "sql fails: a value of 5 MB",
        'return sql.exec("SELECT length(?) AS n", "x".repeat(5000000)).one()',
        'return sql.exec("SELECT length(?) AS n", "x" * 5000000).one()',
    ),
    _fails(
        "RAISE in a trigger",
        "INSERT INTO t (id) VALUES (1)",
        before=f"{_TABLE}; sql.exec(\"CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'not today'); END\")",
    ),
    _fails("division of integers by zero is null", "SELECT 1 / 0 AS v"),
    _fails("ambiguous column", "SELECT id FROM t AS a, t AS b", before=_TABLE),
    _fails("aggregate misused", "SELECT id FROM t WHERE count(*) > 1", before=_TABLE),
    _fails("JSON that is none", "SELECT json('{') AS v"),
    _fails("INSERT of too many values", "INSERT INTO t VALUES (1, 2)", before=_TABLE),
    _fails("EXPLAIN", "EXPLAIN QUERY PLAN SELECT 1"),
    _fails("ANALYZE", "ANALYZE", before=_TABLE),
    _fails("REINDEX", "REINDEX t", before=_TABLE),
]
_PRAGMAS = [
    _pragma(text)
    for text in (
        "table_info(t)",
        "table_xinfo(t)",
        "index_list(t)",
        "index_info(sqlite_autoindex_t_1)",
        "foreign_key_list(t)",
        "foreign_key_check",
        "quick_check",
        "table_info(_cf_KV)",
        "page_size",
        "page_size = 8192",
        "data_version = 5",
        "user_version",
        "user_version = 5",
        "max_page_count = 65536",
        "hard_heap_limit = 1024",
        "journal_mode",
        "synchronous = OFF",
        "foreign_keys",
        "defer_foreign_keys",
        "defer_foreign_keys = 'true'",
        'defer_foreign_keys = "yes"',
        "defer_foreign_keys = tRuE",
        'defer_foreign_keys = "0"',
        "defer_foreign_keys = 1",
        "defer_foreign_keys = abcd",
        "defer_foreign_keys = 'yes",
        "case_sensitive_like = on",
        "ignore_check_constraints = on",
        "recursive_triggers = off",
        "reverse_unordered_selects = 1",
        "legacy_alter_table = 0",
        "writable_schema = 1",
        "integrity_check",
        "compile_options",
        "function_list",
        "optimize",
        "no_such_pragma",
    )
]

ROWS = [*_FAILURES, *_PRAGMAS]
