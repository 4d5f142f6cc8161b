"""A copy of an object without what only perdure reads: keys and values in a table of their own, the hidden tables gone.

`kv(key text, value json text)`: so declared SQLite keeps numbers as they are written. The file cannot be imported again with
its keys: for that, export without --plain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import sqlite_utils

from ..engine.errors import ConfigError
from .readable import stored

_HIDDEN = "_cf_"


def make_plain(path: str) -> int:
    """Change the copy at `path` in place; the number of keys. Raises ConfigError when the object has a table `kv` itself."""
    database = sqlite_utils.Database(path)
    try:
        names = database.table_names()
        if any(name.lower() == "kv" for name in names):
            raise ConfigError(
                "the object has a table kv of its own, where its keys and values would go",
                hint="export without --plain",
            )
        database.conn.execute("pragma journal_mode=delete")
        database.conn.execute("create table kv(key text primary key, value json text)")
        if "_cf_KV" in names:
            database["kv"].insert_all(_decoded(database))  # pyright: ignore[reportAttributeAccessIssue]
        for name in names:
            if name.startswith(_HIDDEN):
                database.conn.execute(f"drop table [{name}]")
        database.conn.execute("pragma application_id=0")
        database.conn.commit()
        database.conn.execute("vacuum")
        return int(database.conn.execute("select count(*) from kv").fetchone()[0])
    finally:
        database.close()


def _decoded(database: sqlite_utils.Database) -> Iterator[dict[str, str]]:
    for key, data in database.conn.execute("select key, value from _cf_KV order by key"):
        yield {"key": key, "value": json.dumps(stored(data), ensure_ascii=False)}
