"""What SQL of a program may do: an allow-list (spec: storage-sql, authorizer)."""

from __future__ import annotations

import apsw

_HIDDEN = "_cf_"
_MODULES = frozenset({"fts5", "fts5vocab", "rtree", "rtree_i32"})
_DENIED = frozenset(
    {
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
        apsw.SQLITE_TRANSACTION,
        apsw.SQLITE_SAVEPOINT,
    }
)
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
_PRAGMAS_BOOLEAN = frozenset(
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
_FUNCTIONS_DENIED = ("sqlite_", "load_extension", "readfile", "writefile", "fts3_tokenizer", "edit")


def _pragma(name: str, argument: str | None) -> bool:
    name = name.lower()
    if name in _PRAGMAS_READ:
        return argument is None
    if name in _PRAGMAS_NAME:
        return argument is None or not argument.strip("'\"").lower().startswith(_HIDDEN)
    if name in _PRAGMAS_BOOLEAN:
        return argument is None or argument.strip("'\"").lower() in _BOOLEANS
    return False


def authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite's authorizer callback."""
    allowed = True
    if action in _DENIED or (database is not None and database.lower() == "temp"):
        allowed = False
    elif action == apsw.SQLITE_PRAGMA:
        allowed = _pragma(first or "", second)
    elif action == apsw.SQLITE_FUNCTION:
        name = (second or "").lower()
        allowed = name.startswith("sqlite_rename_") or not name.startswith(_FUNCTIONS_DENIED)  # ALTER TABLE uses those
    elif action in (apsw.SQLITE_CREATE_VTABLE, apsw.SQLITE_DROP_VTABLE):
        allowed = (second or "").lower() in _MODULES and not (first or "").lower().startswith(_HIDDEN)
    elif action == apsw.SQLITE_ANALYZE:
        allowed = True
    else:
        allowed = not any(name is not None and name.lower().startswith(_HIDDEN) for name in (first, second))
    return apsw.SQLITE_OK if allowed else apsw.SQLITE_DENY
