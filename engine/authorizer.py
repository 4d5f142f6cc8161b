"""What SQL of a program may do: lists of what is allowed (spec: storage-sql, authorizer). Everything else is denied.

What always holds: the decision depends on the action and its names alone; tables, indexes, triggers and views whose names
start with `_cf_`, in any case, are the runtime's own.
"""

from __future__ import annotations

import apsw

_HIDDEN = ("_cf_", "sqlite_autoindex__cf_")  # the second: what SQLite makes for their keys
_MODULES = frozenset({"fts5", "fts5vocab", "rtree", "rtree_i32"})
MODULES_KEPT = (*sorted(_MODULES), "json_each", "json_tree")
"""SQLite's other modules (dbstat, fts4, geopoly, …) are dropped from each connection: some can be read without being made."""
TRANSACTIONS = frozenset({apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT})
_DENIED = TRANSACTIONS | {
    apsw.SQLITE_ATTACH,
    apsw.SQLITE_DETACH,
    apsw.SQLITE_CREATE_TEMP_INDEX,
    apsw.SQLITE_CREATE_TEMP_TABLE,
    apsw.SQLITE_CREATE_TEMP_TRIGGER,
    apsw.SQLITE_CREATE_TEMP_VIEW,
    apsw.SQLITE_DROP_TEMP_INDEX,
    apsw.SQLITE_DROP_TEMP_TABLE,
    apsw.SQLITE_DROP_TEMP_TRIGGER,
    apsw.SQLITE_DROP_TEMP_VIEW,
}
_OF_A_COLUMN = frozenset({apsw.SQLITE_READ, apsw.SQLITE_UPDATE})
_PRAGMAS_READ = frozenset({"data_version", "page_size"})
_PRAGMAS_NAME = frozenset(
    {
        "table_info",
        "table_xinfo",
        "table_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "foreign_key_list",
        "foreign_key_check",
        "quick_check",
        "optimize",
    }
)
PRAGMAS_BOOLEAN = frozenset(
    {
        "case_sensitive_like",
        "foreign_keys",
        "defer_foreign_keys",
        "ignore_check_constraints",
        "legacy_alter_table",
        "recursive_triggers",
        "reverse_unordered_selects",
    }
)
_BOOLEANS = frozenset({"true", "false", "on", "off", "yes", "no", "1", "0"})
_FUNCTION_NAMES = """
abs changes char coalesce concat concat_ws format glob hex if ifnull iif instr last_insert_rowid length like likelihood
likely lower ltrim match max min nullif octet_length printf quote random randomblob replace round rtrim sign soundex
subtype substr substring total_changes trim typeof unhex unicode unistr unistr_quote unlikely upper zeroblob

date time datetime julianday unixepoch strftime timediff current_date current_time current_timestamp

avg count group_concat string_agg sum total
row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value

acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow power
radians sin sinh sqrt tan tanh trunc

json json_array json_array_insert json_array_length json_error_position json_extract -> ->> json_insert json_object
json_patch json_pretty json_remove json_replace json_set json_type json_valid json_quote json_group_array
json_group_object json_each json_tree
jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace
jsonb_set jsonb_group_array jsonb_group_object

bm25 highlight snippet fts5_get_locale fts5_insttoken fts5_locale
rtreecheck rtreedepth rtreenode
"""
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""Scalar, date, aggregate and window, mathematical, JSON as text and binary, full text search, R*Tree."""
_OF_ALTER = frozenset(
    {
        "sqlite_rename_table",
        "sqlite_rename_column",
        "sqlite_rename_test",
        "sqlite_rename_quotefix",
        "sqlite_drop_column",
        "sqlite_drop_constraint",
        "sqlite_add_constraint",
        "sqlite_find_constraint",
        "sqlite_fail",
    }
)
"""SQL of SQLite's own, for ALTER TABLE. A program cannot name these: SQLite keeps them internal."""


def is_hidden(name: str | None) -> bool:
    """Whether a name is one of the runtime's own."""
    return name is not None and name.lower().startswith(_HIDDEN)


def _pragma(name: str, argument: str | None) -> bool:
    if name in _PRAGMAS_READ:
        return argument is None
    if name in _PRAGMAS_NAME:
        return argument is None or not is_hidden(argument.strip("'\"`[]"))
    if name in PRAGMAS_BOOLEAN:
        return argument is None or argument.strip("'\"").lower() in _BOOLEANS
    return False


def is_allowed(action: int, first: str | None, second: str | None, database: str | None, altering: bool) -> bool:
    """Whether a statement that is being prepared may do `action`; the names are those of SQLite's authorizer callback.

    `altering`: an ALTER TABLE is being prepared, which looks into the schema of temporary tables too.
    """
    if action in _DENIED:
        return False
    if action == apsw.SQLITE_PRAGMA:
        return _pragma((first or "").lower(), second)
    if action == apsw.SQLITE_FUNCTION:
        name = (second or "").lower()
        return name in FUNCTIONS or (altering and name in _OF_ALTER)
    if database is not None and database.lower() == "temp" and not altering:
        return action == apsw.SQLITE_READ
    if action in (apsw.SQLITE_CREATE_VTABLE, apsw.SQLITE_DROP_VTABLE):
        return (second or "").lower() in _MODULES and not is_hidden(first)
    if action == apsw.SQLITE_ANALYZE:
        return True
    if action in _OF_A_COLUMN:
        return not is_hidden(first)
    if action == apsw.SQLITE_ALTER_TABLE:
        return not is_hidden(second)
    return not is_hidden(first) and not is_hidden(second)
