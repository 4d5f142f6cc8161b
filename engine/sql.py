"""`ctx.storage.sql`: what programs may ask of SQLite, and the cursor they get (spec: storage-sql).

What always holds: a statement that writes runs inside the turn's transaction; names that start with `_cf_` are not
reachable; a cursor left open at the end of its turn is read into memory up to a bound, so that none holds the file back.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from typing import NoReturn, Protocol, cast

import apsw

from .database import Database, is_critical, translate
from .errors import PerdureError, StorageError
from .limits import Limits
from .values import Buffer, JsDict, JsList

_STOPWORDS = ("begin", "commit", "end", "rollback", "savepoint", "release")
_RENAME_TO_HIDDEN = re.compile(r"\brename\s+to\s+[\"'`\[]?_cf_", re.IGNORECASE)
_UNSET = object()


class SqlHost(Protocol):
    """What SQL asks of the storage around it."""

    limits: Limits

    def enter(self) -> None: ...
    def opened(self) -> Database:
        """The open database, made if there was none."""
        ...

    def begin_exclusive(self) -> Database: ...
    def may_write(self) -> None:
        """Raises QuotaExceeded while a quota refuses writes."""
        ...

    def wrote_sql(self) -> None: ...
    def critical(self, error: PerdureError) -> None:
        """SQLite rolled back by itself: the object is broken."""
        ...


def _bind(value: object) -> object:
    if value is None or type(value) in (int, float, str, bytes):
        if type(value) is int and not -(1 << 63) <= value < (1 << 63):
            raise StorageError(f"Cannot convert a BigInt value to a number: {value}", name="TypeError")
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, int | float | str):
        return value
    return str(value)


def _row_value(value: object) -> object:
    return Buffer(value) if type(value) is bytes else value


class Cursor:
    """The result of one `exec`. Rows are dicts whose columns are also attributes."""

    def __init__(self, sql: Sql, cursor: apsw.Cursor) -> None:
        self._sql = sql
        self._cursor: apsw.Cursor | None = cursor
        self._rest: Iterator[tuple[object, ...]] | None = None
        self._ahead: object = _UNSET
        self._canceled: str | None = None
        self.columnNames: JsList = JsList()
        self.rowsRead = 0
        self.rowsWritten = 0
        self._fetch_ahead()

    def _describe(self, cursor: apsw.Cursor) -> None:
        if not self.columnNames:
            try:
                self.columnNames = JsList(column[0] for column in cursor.get_description())
            except apsw.ExecutionCompleteError:
                return

    def _fetch_ahead(self) -> None:
        if self._rest is not None:
            self._ahead = next(self._rest, _UNSET)
            return
        cursor = self._cursor
        if cursor is None:
            self._ahead = _UNSET
            return
        try:
            row = next(cursor, None)
        except apsw.Error as error:
            self._cursor = None
            self._sql.failed(error)
        if row is None:
            self._ahead = _UNSET
            self._cursor = None
            return
        self._describe(cursor)
        self.rowsRead += 1
        self._ahead = row

    def _take(self) -> tuple[object, ...] | None:
        if self._canceled is not None:
            raise StorageError(self._canceled)
        row = self._ahead
        if row is _UNSET:
            return None
        self._sql.check()
        self._fetch_ahead()
        return tuple(_row_value(value) for value in cast("tuple[object, ...]", row))

    def _dict(self, row: tuple[object, ...]) -> JsDict:
        return JsDict(zip(cast("list[str]", self.columnNames), row, strict=False))

    def next(self) -> JsDict:
        """`{"done": bool, "value": row}`; no value after the last row."""
        row = self._take()
        return JsDict(done=True) if row is None else JsDict(done=False, value=self._dict(row))

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> JsDict:
        row = self._take()
        if row is None:
            raise StopIteration
        return self._dict(row)

    def toArray(self) -> JsList:
        """The rows that are left."""
        return JsList(self)

    def one(self) -> JsDict:
        """The only row. Raises StorageError when there are none or several."""
        rows: list[JsDict] = []
        for row in self:
            rows.append(row)
            if len(rows) > 1:
                break
        if len(rows) != 1:
            what = "no results" if not rows else "multiple results"
            raise StorageError(f"Expected exactly one result from SQL query, but got {what}")
        return rows[0]

    def raw(self) -> RawRows:
        """The rows as lists, sharing the position with this cursor."""
        return RawRows(self)

    def detach(self, bytes_max: int) -> None:
        """Read what is left into memory, so that no read transaction stays open; fail later readers if it is too much."""
        cursor = self._cursor
        if cursor is None:
            return
        self._cursor = None
        rows: list[tuple[object, ...]] = []
        used = 0
        for row in cursor:
            used += sum(len(value) if isinstance(value, bytes | str) else 8 for value in row) + 64
            if used > bytes_max:
                cursor.close(True)
                self._canceled = (
                    f"SQL cursor was closed at the end of its turn: its rows are over {bytes_max} bytes. "
                    f"Consume it in the turn that made it."
                )
                return
            rows.append(row)
            self.rowsRead += 1
        self._rest = iter(rows)

    def cancel(self, reason: str) -> None:
        """Later use fails with `reason`."""
        if self._cursor is not None:
            self._cursor.close(True)
            self._cursor = None
        if self._ahead is not _UNSET:
            self._canceled = reason


class RawRows:
    """Rows as lists."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    @property
    def columnNames(self) -> JsList:
        return self._cursor.columnNames

    def __iter__(self) -> RawRows:
        return self

    def __next__(self) -> JsList:
        row = self._cursor._take()
        if row is None:
            raise StopIteration
        return JsList(row)

    def next(self) -> JsDict:
        row = self._cursor._take()
        return JsDict(done=True) if row is None else JsDict(done=False, value=JsList(row))

    def toArray(self) -> JsList:
        return JsList(self)


class Sql:
    """`exec` and `databaseSize` on one object."""

    def __init__(self, host: SqlHost) -> None:
        self._host = host
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()
        self._watched: apsw.Connection | None = None

    def check(self) -> None:
        """Raises when this object's storage may not be used now."""
        self._host.enter()

    @property
    def databaseSize(self) -> int:
        """Bytes in use: pages less free ones."""
        self._host.enter()
        connection = self._host.opened().connection
        pages = cast("int", connection.pragma("page_count"))
        free = cast("int", connection.pragma("freelist_count"))
        return (pages - free) * 4096

    def exec(self, query: str, *bindings: object) -> Cursor:
        """Run the statements of `query`; parameters belong to the last. The cursor has the last one's rows.

        Raises StorageError with SQLite's words, its code name at the end; at once, also for the first row's errors.
        """
        host = self._host
        host.enter()
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise StorageError("Failed to execute 'exec' on 'SqlStorage': parameter 1 is not of type 'string'.")
        if len(query) > host.limits.sql_statement_bytes_max:
            raise StorageError("statement too long: SQLITE_TOOBIG")
        statements = self._split(host.opened(), query)
        if len(bindings) > host.limits.sql_parameters_max:
            raise StorageError(f"too many SQL variables, at most {host.limits.sql_parameters_max}: SQLITE_ERROR")
        values = tuple(_bind(value) for value in bindings)
        for statement in statements[:-1]:
            self._run(statement, (), last=False)
        return self._run(statements[-1], values, last=True)

    def _split(self, database: Database, query: str) -> list[str]:
        parts: list[str] = []
        rest = query
        while rest.strip(" \t\n\r\v\f;"):
            end = _statement_end(rest)
            parts.append(rest[:end])
            rest = rest[end:]
        if not parts or not _has_statement(parts[-1]):
            raise StorageError("SQL code did not contain a statement.")
        return parts

    def _run(self, statement: str, values: tuple[object, ...], *, last: bool) -> Cursor:
        host = self._host
        words = _without_comments(statement).split(None, 1)
        if words and words[0].lower().rstrip(";") in _STOPWORDS:
            raise StorageError(
                "To execute a transaction, please use the state.storage.transaction() or "
                "state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. "
                "The JavaScript API is safer because it will automatically roll back on exceptions, and because it "
                "interacts correctly with Durable Objects' automatic atomic write coalescing."
            )
        database = host.opened()
        connection = database.connection
        cursor = connection.cursor()
        cursor.exec_trace = self._before
        before = connection.total_changes()
        if _RENAME_TO_HIDDEN.search(statement):  # the authorizer is not told the new name
            raise StorageError("not authorized: SQLITE_AUTH")
        database.guarded = True
        try:
            # The flag keeps programs' statements apart from the runtime's own in the statement cache.
            cursor.execute(statement, values, prepare_flags=apsw.SQLITE_PREPARE_PERSISTENT)  # pyright: ignore[reportArgumentType]
            result = Cursor(self, cursor)
        except apsw.BindingsError as error:
            if not last:
                raise StorageError(
                    "When executing multiple SQL statements in a single call, only the last statement can have parameters."
                ) from error
            raise StorageError(f"Wrong number of parameter bindings for SQL query. {error}") from error
        except apsw.Error as error:
            self.failed(error)
        finally:
            database.guarded = False
        result.rowsWritten = connection.total_changes() - before
        self._cursors.add(result)
        return result

    def _before(self, cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
        """Called by SQLite's wrapper before a statement runs: one that writes gets the turn's transaction."""
        self._host.opened().guarded = False  # prepared: what the runtime does now is its own
        if not cursor.is_readonly:
            self._host.may_write()
            self._host.begin_exclusive()
            self._host.wrote_sql()
        return True

    def failed(self, error: apsw.Error) -> NoReturn:
        """Raise the typed error; a critical one breaks the object too."""
        typed = translate(error)
        if is_critical(error):
            self._host.critical(typed)
        raise typed from error

    def detach_cursors(self) -> None:
        """The turn is over: no cursor may hold the file."""
        for cursor in list(self._cursors):
            cursor.detach(self._host.limits.cursor_buffer_bytes_max)
        self._cursors.clear()

    def cancel_cursors(self, reason: str) -> None:
        """What they read is gone."""
        for cursor in list(self._cursors):
            cursor.cancel(reason)
        self._cursors.clear()


def _statement_end(text: str) -> int:
    """Where the first statement of `text` ends, its semicolon included."""
    position = text.find(";")
    while position >= 0:
        if apsw.complete(text[: position + 1]) and _has_statement(text[:position]):
            return position + 1
        position = text.find(";", position + 1)
    return len(text)


def _without_comments(text: str) -> str:
    rest = text.lstrip(" \t\n\r\v\f;")
    while rest.startswith(("--", "/*")):
        stop = rest.find("\n") if rest.startswith("--") else rest.find("*/")
        if stop < 0:
            return ""
        rest = rest[stop + (1 if rest.startswith("--") else 2) :].lstrip(" \t\n\r\v\f;")
    return rest


def _has_statement(text: str) -> bool:
    return bool(_without_comments(text))
