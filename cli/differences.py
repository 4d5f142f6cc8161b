"""What differs between two copies of an object: its schema, then row by row, as a stream.

What always holds: memory is bounded by one row, whatever the size of the copies. Rows are matched by primary key, or by rowid
where there is none: SQLite walks one side in the order of the key and looks up the other by the same key, so its own rules of
comparison (collations, types) decide what is the same key. Values are the same only when type and bytes are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import apsw

from ..engine.errors import StorageError
from .readable import readable, stored

KEYS = "_cf_KV"
"""The table whose rows are the object's keys; their values are decoded."""
_ROWIDS = ("rowid", "_rowid_", "oid")
_SILENT = frozenset({"_cf_METADATA", "_cf_ANSWERS"})
Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A table, index, view or trigger that was added, removed or altered (its SQL); or `note`: why its rows are left out."""

    what: str
    name: str
    change: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that was added (`before` None), removed (`after` None) or changed. `key`: what identifies it."""

    table: str
    change: str
    key: Values
    before: Values | None
    after: Values | None


Difference = SchemaChange | RowChange


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    primary: tuple[str, ...]
    """Columns of the primary key that can identify a row; empty: only the rowid can."""
    rowids: frozenset[str]
    """Names by which the rowid can be read."""


def differences(old: str, new: str) -> Iterator[Difference]:
    """From the copy at `old` to the one at `new`. Raises StorageError when one cannot be read."""
    try:
        with _opened(old, new) as connection:
            yield from _schema(connection)
            before, after = _tables(connection, "main"), _tables(connection, "new")
            for name in sorted(before.keys() | after.keys()):
                yield from _table(connection, before.get(name), after.get(name))
    except apsw.Error as error:
        raise StorageError(f"the copies cannot be compared: {error}") from error


@contextmanager
def _opened(old: str, new: str) -> Generator[apsw.Connection]:
    # immutable: nobody writes a copy, and no -shm need be made beside it
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{quote(old)}?immutable=1", flags=flags)
    try:
        connection.execute("attach ? as new", (f"file:{quote(new)}?immutable=1",)).fetchall()
        yield connection
    finally:
        connection.close(True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ---------------------------------------------------------------------- the schema
def _schema(connection: apsw.Connection) -> Iterator[SchemaChange]:
    before, after = _objects(connection, "main"), _objects(connection, "new")
    for key in sorted(before.keys() | after.keys()):
        what, name = key
        old, new = before.get(key), after.get(key)
        if old != new:
            change = "added" if old is None else "removed" if new is None else "altered"
            yield SchemaChange(what, name, change, old, new)


def _objects(connection: apsw.Connection, schema: str) -> dict[tuple[str, str], str]:
    """(type, name) → SQL. Without what SQLite makes by itself, and the tables behind virtual tables."""
    shadows = {
        row[0] for row in connection.execute(f"select name from {schema}.pragma_table_list where type = 'shadow'")
    }
    rows = connection.execute(f"select type, name, sql from {schema}.sqlite_schema where sql is not null")
    return {
        (str(what), str(name)): str(sql)
        for what, name, sql in rows
        if name not in shadows and not str(name).startswith(("sqlite_", "_cf_"))
    }


def _tables(connection: apsw.Connection, schema: str) -> dict[str, _Table]:
    rows = connection.execute(
        "select name, wr from pragma_table_list where schema = ? and type in ('table', 'virtual')", (schema,)
    ).fetchall()
    return {
        str(name): _describe(connection, schema, str(name), bool(without_rowid))
        for name, without_rowid in rows
        if not str(name).startswith("sqlite_") and name not in _SILENT
    }


def _describe(connection: apsw.Connection, schema: str, name: str, without_rowid: bool) -> _Table:
    """A table as it can be compared. Generated columns are left out: they follow from the others."""
    columns: list[str] = []
    primary: dict[int, str] = {}
    for column, position, hidden in connection.execute(
        "select name, pk, hidden from pragma_table_xinfo(?, ?)", (name, schema)
    ):
        if hidden == 0:
            columns.append(str(column))
            if position:
                primary[int(position)] = str(column)
    taken = {column.lower() for column in columns}
    rowids = frozenset() if without_rowid else frozenset(_ROWIDS) - taken
    keys = tuple(primary[position] for position in sorted(primary))
    if keys and not without_rowid and _has_nulls(connection, schema, name, keys):
        keys = ()  # SQLite lets a primary key hold NULLs, many of them: they identify nothing
    return _Table(name, tuple(columns), keys, rowids)


def _has_nulls(connection: apsw.Connection, schema: str, name: str, keys: tuple[str, ...]) -> bool:
    where = " or ".join(f"{_quoted(key)} is null" for key in keys)
    found = connection.execute(f"select 1 from {schema}.{_quoted(name)} where {where} limit 1").fetchone()
    return found is not None


# ---------------------------------------------------------------------- rows
def _table(connection: apsw.Connection, old: _Table | None, new: _Table | None) -> Iterator[Difference]:
    if old is not None and new is not None:
        keys = _common_key(old, new)
        if keys:
            yield from _changed(connection, old, new, keys)
            yield from _only(connection, "new", new, keys, unless="main")
            return
    for schema, table in (("main", old), ("new", new)):
        if table is not None:
            keys = _own_key(table)
            if keys:
                yield from _only(connection, schema, table, keys, unless=None)
            elif schema == "new" or new is None:
                yield SchemaChange("table", table.name, "not compared: its rows have no key", None, None)


def _own_key(table: _Table) -> tuple[str, ...]:
    return table.primary or tuple(sorted(table.rowids, reverse=True)[:1])


def _common_key(old: _Table, new: _Table) -> tuple[str, ...]:
    """What identifies a row on both sides; empty when nothing does."""
    if old.primary and old.primary == new.primary:
        return old.primary
    return tuple(sorted(old.rowids & new.rowids, reverse=True)[:1])


def _join(keys: tuple[str, ...], left: str, right: str) -> str:
    return " and ".join(f"{left}.{_quoted(key)} = {right}.{_quoted(key)}" for key in keys)


def _selected(alias: str, table: _Table, keys: tuple[str, ...]) -> list[str]:
    return [f"{alias}.{_quoted(name)}" for name in (*keys, *table.columns)]


def _changed(connection: apsw.Connection, old: _Table, new: _Table, keys: tuple[str, ...]) -> Iterator[RowChange]:
    """Rows of the old side that are gone or differ, in the order of the key."""
    differs = [f"n.{_quoted(keys[0])} is null"]
    for name in dict.fromkeys((*old.columns, *new.columns)):
        column = _quoted(name)
        if name not in old.columns:  # a column that one side lacks counts as NULL there
            differs.append(f"n.{column} is not null")
        elif name not in new.columns:
            differs.append(f"o.{column} is not null")
        else:
            differs.append(f"o.{column} is not n.{column} collate binary")
            differs.append(f"typeof(o.{column}) <> typeof(n.{column})")
    selected = _selected("o", old, keys) + _selected("n", new, keys)
    query = (
        f"select {', '.join(selected)} from main.{_quoted(old.name)} o left join new.{_quoted(new.name)} n "
        f"on {_join(keys, 'n', 'o')} where {' or '.join(differs)} order by {_order('o', keys)}"
    )
    split = len(keys) + len(old.columns)
    for row in connection.execute(query):
        key, before = _values(old, keys, row[:split])
        if row[split] is None:
            yield RowChange(old.name, "removed", key, before, None)
        else:
            yield RowChange(old.name, "changed", key, before, _values(new, keys, row[split:])[1])


def _only(
    connection: apsw.Connection, schema: str, table: _Table, keys: tuple[str, ...], *, unless: str | None
) -> Iterator[RowChange]:
    """Rows of one side; `unless`: those only whose key the other side has not."""
    query = f"select {', '.join(_selected('t', table, keys))} from {schema}.{_quoted(table.name)} t"
    if unless is not None:
        query += f" left join {unless}.{_quoted(table.name)} other on {_join(keys, 'other', 't')}"
        query += f" where other.{_quoted(keys[0])} is null"
    for row in connection.execute(f"{query} order by {_order('t', keys)}"):
        key, values = _values(table, keys, row)
        if schema == "new":
            yield RowChange(table.name, "added", key, None, values)
        else:
            yield RowChange(table.name, "removed", key, values, None)


def _order(alias: str, keys: tuple[str, ...]) -> str:
    return ", ".join(f"{alias}.{_quoted(key)}" for key in keys)


def _values(table: _Table, keys: tuple[str, ...], row: tuple[object, ...]) -> tuple[Values, Values]:
    """Key and columns of a row, readable."""
    key = {name: readable(value) for name, value in zip(keys, row, strict=False)}
    columns = zip(table.columns, row[len(keys) :], strict=True)
    if table.name == KEYS:
        return key, {name: stored(value) if name == "value" else readable(value) for name, value in columns}
    return key, {name: readable(value) for name, value in columns}
