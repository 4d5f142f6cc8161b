"""What SQL of a program may do (spec: storage-sql, authorizer; edge cases 24, 26)."""

from __future__ import annotations

import pytest
from perdure.engine.authorizer import FUNCTIONS

from .sqlbox import failure, turn, turns

NOT = "not authorized: SQLITE_AUTH"
PROHIBITED = "is prohibited: SQLITE_AUTH"
SCHEMA = "create table t(id integer primary key, a); create index i on t(a); insert into t values(1, 'x')"
HIDDEN = [
    ("create", "create table _cf_x(a)", NOT),
    ("create_upper", "create table _CF_x(a)", NOT),
    ("create_mixed", "create table _Cf_x(a)", NOT),
    ("create_quoted", 'create table "_cf_x"(a)', NOT),
    ("create_as", "create table _cf_x as select 1", NOT),
    ("drop", "drop table _cf_KV", NOT),
    ("read", "select key from _cf_KV", "access to _cf_KV.key is prohibited: SQLITE_AUTH"),
    ("read_upper", "select KEY from _CF_KV", PROHIBITED),
    ("read_count", "select count(*) from _cf_KV", NOT),
    ("read_inside", "select (select value from _cf_KV) from t", PROHIBITED),
    ("update", "update _cf_KV set value = 1", NOT),
    ("insert", "insert into _cf_KV values('a', 1)", NOT),
    ("delete", "delete from _cf_KV", NOT),
    ("alter", "alter table _cf_KV rename to x", NOT),
    ("alter_column", "alter table _cf_KV add column x", NOT),
    ("rename_to", "alter table t rename to _cf_x", NOT),
    ("rename_to_upper", "alter table t rename to _CF_x", NOT),
    ("rename_to_quoted", "alter table t rename /* c */ to [_cf_x]", NOT),
    ("reindex", "reindex _cf_METADATA", NOT),
    ("index_on", "create index x on _cf_KV(value)", NOT),
    ("index_named", "create index _cf_i on t(a)", NOT),
    ("trigger_on", "create trigger x after insert on _cf_KV begin select 1; end", NOT),
    ("trigger_named", "create trigger _cf_t after insert on t begin select 1; end", NOT),
    ("view_named", "create view _cf_v as select 1", NOT),
    ("virtual_table", "create virtual table _cf_fts using fts5(a)", NOT),
    ("pragma_table_info", "pragma table_info(_cf_KV)", NOT),
    ("pragma_table_info_quoted", "pragma table_info('_CF_KV')", NOT),
    ("pragma_function", "select * from pragma_table_info('_cf_KV')", NOT),
]
FORBIDDEN = [
    ("attach", "attach 'x.db' as x", NOT),
    ("detach", "detach main", NOT),
    ("temp_table", "create temp table x(a)", NOT),
    ("temp_table_by_name", "create table temp.x(a)", NOT),
    ("temp_view", "create temp view x as select 1", NOT),
    ("temp_trigger", "create temp trigger x after insert on t begin select 1; end", NOT),
    ("vacuum_into", "vacuum into '/tmp/x.db'", "SQLITE_"),
    ("fts4", "create virtual table f using fts4(a)", NOT),
    ("geopoly", "create virtual table f using geopoly(a)", NOT),
    ("dbstat", "select * from dbstat", "no such table"),
    ("user_version", "pragma user_version", NOT),
    ("user_version_set", "pragma user_version = 3", NOT),
    ("user_version_function", "select * from pragma_user_version", NOT),
    ("data_version_set", "pragma data_version = 5", NOT),
    ("page_size_set", "pragma page_size = 8192", NOT),
    ("max_page_count", "pragma max_page_count = 65536", NOT),
    ("hard_heap_limit", "pragma hard_heap_limit = 1024", NOT),
    ("journal_mode", "pragma journal_mode = delete", NOT),
    ("writable_schema", "pragma writable_schema = on", NOT),
    ("boolean_other", "pragma defer_foreign_keys = abcd", NOT),
    ("boolean_unclosed", "pragma defer_foreign_keys = 'yes", "unrecognized token"),
    ("sqlite_master", "update sqlite_master set sql = ''", "may not be modified"),
]
ALLOWED = [
    ("analyze", "analyze"),
    ("analyze_table", "analyze t"),
    ("reindex", "reindex t"),
    ("fts5", "create virtual table f using fts5(a)"),
    ("fts5_mixed", "create virtual table f using FtS5(a)"),
    ("fts5vocab", "create virtual table f using fts5(a); create virtual table v using fts5vocab(f, 'row')"),
    ("rtree", "create virtual table f using rtree(id, a, b)"),
    ("rtree_i32", "create virtual table f using rtree_i32(id, a, b)"),
    ("rename", "alter table t rename to other"),
    ("rename_column", "alter table t rename column a to b"),
    ("add_column", "alter table t add column b not null default 3 check (b > 0)"),
    ("drop_column", "drop index i; alter table t drop column a"),
    ("column_named_so", "create table x(_cf_a); select _cf_a from x"),
    ("name_inside", "create table x_cf_(a)"),
    ("schema", "select name, sql from sqlite_master where name = '_cf_KV'"),
    ("data_version", "pragma data_version"),
    ("page_size", "pragma page_size"),
    ("defer_true", "pragma defer_foreign_keys = 'true'"),
    ("defer_yes", 'pragma defer_foreign_keys = "yes"'),
    ("defer_0", 'pragma defer_foreign_keys = "0"'),
    ("defer_mixed", "pragma defer_foreign_keys = tRuE"),
    ("table_info", "pragma table_info(t)"),
    ("table_xinfo", "pragma table_xinfo('t')"),
    ("index_info", "pragma index_info(i)"),
    ("index_list", "pragma index_list(t)"),
    ("index_xinfo", "pragma index_xinfo(i)"),
    ("foreign_key_list", "pragma foreign_key_list(t)"),
    ("foreign_key_check", "pragma foreign_key_check"),
    ("quick_check", "pragma quick_check"),
    ("optimize", "pragma optimize"),
    ("json_table", "select * from json_each('[1]')"),
    ("pragma_function", "select name from pragma_table_info('t')"),
    ("with_a_name_like_begin", "with begin_(x) as (select 1) select * from begin_"),
] + [
    (name, f"pragma {name}; pragma {name} = off; pragma {name} = 'ON'")
    for name in (
        [
            "case_sensitive_like",
            "foreign_keys",
            "defer_foreign_keys",
            "ignore_check_constraints",
            "legacy_alter_table",
            "recursive_triggers",
            "reverse_unordered_selects",
        ]
    )
]


@pytest.mark.parametrize(
    ("query", "message"), [row[1:] for row in HIDDEN + FORBIDDEN], ids=[row[0] for row in HIDDEN + FORBIDDEN]
)
def test_denied(tmp_path, query, message) -> None:
    def body(storage):
        storage.sql.exec(SCHEMA)
        storage.put("k", 1)
        return [failure(storage.sql, query), failure(storage.sql, query)]

    def after(storage):
        return storage.kv.get("k"), storage.sql.exec("select a from t").one().a

    found, left = turns(tmp_path, body, after)
    for text in found:
        assert message in text
    assert left == (1, "x")


@pytest.mark.parametrize("query", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_allowed(tmp_path, query) -> None:
    def body(storage):
        storage.sql.exec(SCHEMA)
        return failure(storage.sql, query)

    assert turn(tmp_path, body) == "ran"


def test_a_view_over_a_hidden_table_cannot_be_read_even_where_its_name_was_known(tmp_path) -> None:
    """The text was prepared and run before the view came: it is prepared again inside SQLite, which must ask again."""

    def body(storage):
        sql = storage.sql
        storage.put("secret", 1)
        sql.exec("create table v(key)")
        for _ in range(3):
            sql.exec("select key from v").toArray()
        sql.exec("drop table v; create view v as select key from _cf_KV")
        return [failure(sql, "select key from v") for _ in range(2)]

    for message in turn(tmp_path, body):
        assert "access to _cf_KV.key is prohibited: SQLITE_AUTH" in message


def test_the_runtimes_own_prepared_statements_are_not_given_to_a_program(tmp_path) -> None:
    from perdure.engine import kv

    def body(storage):
        storage.sql.exec(SCHEMA)
        storage.put("k", 1)
        storage.sql.exec("insert into t values(2, 2)")  # the key goes through to SQLite
        storage.put("k", 2)
        return failure(storage.sql, kv._UPSERT, "k", b"x"), failure(storage.sql, kv._DELETE, "k")

    for message in turn(tmp_path, body):
        assert message in (NOT, f"access to _cf_KV.key {PROHIBITED}", "access to _cf_KV.value " + PROHIBITED)


def test_a_rename_to_a_hidden_name_leaves_the_table(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec(SCHEMA)
        message = failure(sql, "alter table t rename to _cf_x")
        sql.exec("insert into t values(2, 'y')")
        return message, sql.exec("select count(*) c from t").one().c

    assert turns(tmp_path, body, lambda storage: storage.sql.exec("select count(*) c from t").one().c) == [(NOT, 2), 2]


# ---------------------------------------------------------------------- functions
UNKNOWN = [
    "sqlite_version",
    "sqlite_source_id",
    "sqlite_compileoption_get",
    "load_extension",
    "fts3_tokenizer",
    "geopoly_area",
    "matchinfo",
]


@pytest.mark.parametrize("name", UNKNOWN)
def test_functions_denied(tmp_path, name) -> None:
    arguments = {"sqlite_version": "", "sqlite_source_id": "", "sqlite_compileoption_get": "1"}.get(name, "'a'")
    message = turn(tmp_path, lambda storage: failure(storage.sql, f"select {name}({arguments})"))
    assert f"not authorized to use function: {name}" in message
    assert message.endswith(": SQLITE_ERROR")


def test_functions_are_an_allow_list(tmp_path) -> None:
    """Whatever SQLite brings is denied unless it is listed."""

    def body(storage):
        connection = storage._storage.opened().connection
        there = {str(row[0]) for row in connection.execute("select name from pragma_function_list")}
        found = {}
        for name in sorted(there - FUNCTIONS - {"fts5"}):
            for arguments in ("", "1", "1, 1", "1, 1, 1"):
                message = failure(storage.sql, f"select {name}({arguments})")
                if "wrong number" not in message:
                    found[name] = message
                    break
        return found

    for name, message in turn(tmp_path, body).items():
        assert f"not authorized to use function: {name}" in message or "no such function" in message


CALLS = [
    (
        "core",
        "abs(-1) = 1 and coalesce(null, 2) = 2 and upper('a') = 'A' and printf('%d', 3) = '3' and iif(1, 2, 3) = 2",
    ),
    (
        "date",
        "date('2024-01-02') = '2024-01-02' and unixepoch('1970-01-01') = 0 and strftime('%Y', '2024-01-02') = '2024'",
    ),
    ("current_time", "length(current_timestamp) = 19"),
    ("aggregate", "(select group_concat(x) || sum(x) || count(*) || total(x) || avg(x) from (select 1 x)) is not null"),
    ("window", "(select max(r) from (select row_number() over (order by x) r from (select 1 x union select 2))) = 2"),
    ("math", "sqrt(4.0) = 2 and floor(1.5) = 1 and round(pi()) = 3 and mod(5, 3) = 2"),
    ("json", "json_extract('{\"a\":1}', '$.a') = 1 and '{\"a\":1}' ->> 'a' = 1 and json_valid('[]')"),
    ("jsonb", "json(jsonb('[1]')) = '[1]' and json_array_length(jsonb_array(1, 2)) = 2"),
    ("like", "'abc' like 'A%' and 'abc' glob 'a*'"),
]


@pytest.mark.parametrize("call", [row[1] for row in CALLS], ids=[row[0] for row in CALLS])
def test_functions_allowed(tmp_path, call) -> None:
    assert turn(tmp_path, lambda storage: storage.sql.exec(f"select {call} v").one().v) == 1


def test_full_text_search_and_its_functions(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec("create virtual table f using fts5(a)")
        sql.exec("insert into f values('hello world'), ('bye')")
        query = (
            "select highlight(f, 0, '<', '>') h, snippet(f, 0, '', '', '', 3) s, bm25(f) b, rank from f where f match ?"
        )
        row = sql.exec(query, "hello").one()
        return row.h, row.s, row.b < 0

    assert turn(tmp_path, body) == ("<hello> world", "hello world", True)


def test_rtree(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        sql.exec("create virtual table r using rtree(id, x0, x1)")
        sql.exec("insert into r values(1, 0, 10), (2, 20, 30)")
        return sql.exec("select id from r where x0 > 15").one().id, sql.exec("select rtreecheck('r') v").one().v

    assert turn(tmp_path, body) == (2, "ok")


# ---------------------------------------------------------------------- pragmas
def test_foreign_keys_are_on_and_cannot_change_inside_a_transaction(tmp_path) -> None:
    def inside(storage):
        sql = storage.sql
        found = [sql.exec("pragma foreign_keys").one().foreign_keys]
        sql.exec("create table p(id integer primary key); create table c(p references p(id))")
        sql.exec("pragma foreign_keys = off")
        return [*found, sql.exec("pragma foreign_keys").one().foreign_keys, failure(sql, "insert into c values(1)")]

    def after_a_key(storage):
        storage.put("k", 1)
        storage.sql.exec("pragma foreign_keys = off")
        return storage.sql.exec("pragma foreign_keys").one().foreign_keys

    def fresh(storage):
        storage.sql.exec("pragma foreign_keys = off")
        storage.sql.exec("insert into c values(1)")
        return storage.sql.exec("pragma foreign_keys").one().foreign_keys

    first, second, third = turns(tmp_path, inside, after_a_key, fresh)
    assert first[:2] == [1, 1]
    assert "FOREIGN KEY constraint failed" in first[2]
    assert (second, third) == (1, 0)


def test_boolean_pragmas_have_their_effect(tmp_path) -> None:
    def body(storage):
        sql = storage.sql
        before = sql.exec("select 'a' like 'A' v").one().v
        sql.exec("pragma case_sensitive_like = yes")
        return before, sql.exec("select 'a' like 'A' v").one().v

    assert turn(tmp_path, body) == (1, 0)


def test_optimize_and_table_list_show_hidden_tables(tmp_path) -> None:
    def body(storage):
        storage.put("k", 1)
        storage.sql.exec(SCHEMA)
        optimize = [row[0] for row in storage.sql.exec("pragma optimize(-1)").raw()]
        return optimize, [row.name for row in storage.sql.exec("pragma table_list")]

    optimize, tables = turn(tmp_path, body)
    assert 'ANALYZE "main"."_cf_KV"' in optimize
    assert {"_cf_KV", "t"} <= set(tables)
