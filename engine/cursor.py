"""What `sql.exec` gives: the rows of its last statement, one at a time or all at once (spec: storage-sql, cursor).

What always holds: a cursor and its raw rows share one position; the row after the last one taken has been fetched, so a cursor
holds its table no longer than it has rows; a cursor left open at the end of its turn is read into memory up to a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol, cast

import apsw

from .errors import StorageError
from .row_counts import RowCounts
from .values import Buffer, JsDict, JsList

Row = tuple[object, ...]
_AS_THEY_ARE = frozenset({int, str, type(None)}).issuperset
"""Types that SQLite gives and programs get unchanged."""
_EXACT_MAX = (1 << 53) - 1
_ROW_COST = 64


def row_value(value: object) -> object:
    """A value as programs get it: bytes as a buffer of its own, whole floats as int."""
    kind = type(value)
    if kind is bytes:
        return Buffer(cast("bytes", value))
    if kind is float:
        number = cast("float", value)
        if number.is_integer() and -_EXACT_MAX <= number <= _EXACT_MAX:
            return int(number)
    return value


def _converted(row: Row) -> Row:
    return row if _AS_THEY_ARE(map(type, row)) else tuple(map(row_value, row))


class CursorHost(Protocol):
    """What a cursor asks of the `Sql` that made it."""

    def check(self) -> None:
        """Raises when this object's storage may not be used now."""
        ...

    def step(self, rows: apsw.Cursor) -> Row | None:
        """The next row, under the bound on time. Raises StorageError."""
        ...

    def step_twice(self, rows: apsw.Cursor) -> tuple[Row | None, Row | None]:
        """The next two rows, likewise; checks that the storage may be used."""
        ...

    def step_all(self, rows: apsw.Cursor) -> list[Row]:
        """The rows that are left, likewise; checks that the storage may be used."""
        ...

    def read(self, cursor: Cursor, rows: int) -> None:
        """So many more were read."""
        ...

    def done(self, cursor: Cursor) -> int:
        """The statement is over, or given up: how many rows it has read by its counters."""
        ...


class Cursor:
    """The result of one `exec`. Rows are dicts whose columns are also attributes."""

    # Defaults of the class, not slots: a cursor is made for each statement, and most need none of these.
    _kept: Iterator[Row] | None = None
    """Rows that were read into memory."""
    _ahead: Row | None = None
    _canceled: str | None = None
    counted = 0
    """Rows that the statement has read so far."""
    given = 0
    """Rows that came out of the statement."""
    number: int | None = None
    """The only column of the first row, where that is a whole number."""
    changes = 0
    """Rows that the statement changed, its triggers too."""
    rowsWritten = 0

    def __init__(self, sql: CursorHost, rows: apsw.Cursor | None, names: tuple[str, ...], counts: RowCounts) -> None:
        self._sql = sql
        self._rows = rows
        """None when the statement is over."""
        self._names = names
        self.counts = counts

    @property
    def columnNames(self) -> JsList:
        """Names of the columns; none for a statement that gives no rows."""
        return JsList(self._names)

    @property
    def rowsRead(self) -> int:
        """Rows read so far, with those that are fetched ahead."""
        if self._ahead is None and self._rows is not None:
            self._sql.check()
            self._ahead = self._fetch()
        return self.counted

    def _fetch(self) -> Row | None:
        """The next row out of SQLite or memory."""
        rows = self._rows
        if rows is None:
            return None if self._kept is None else next(self._kept, None)
        try:
            row = self._sql.step(rows)
        except BaseException:
            self._over()
            raise
        if row is None:
            self._over()
            return None
        counts = self.counts
        if counts.streams:
            self.given += 1
            self.counted += counts.per_row
            self._sql.read(self, counts.per_row)
        else:
            self._count(row)
        return row

    def _count(self, row: Row) -> None:
        """Where rows given do not tell rows read: one each until the end, which tells."""
        self.given += 1
        if not self.counts.counts:
            self._add(1)
        elif len(row) == 1 and type(row[0]) is int:
            self.number = row[0]

    def _add(self, rows: int) -> None:
        self.counted += rows
        self._sql.read(self, rows)

    def _over(self) -> None:
        self._rows = None
        self._add(max(self._sql.done(self) - self.counted, 0))

    def has_rows(self) -> bool:
        """Whether it is of a statement that gives rows."""
        return bool(self._names)

    def finish(self) -> None:
        """The statement gave no rows and is over: count what it has read."""
        self._over()

    def _take(self) -> Row | None:
        if self._canceled is not None:
            raise StorageError(self._canceled)
        row = self._ahead
        if row is None and self._rows is None and self._kept is None:
            return None
        self._sql.check()
        if row is None:
            row = self._fetch()
            if row is None:
                return None
        self._ahead = self._fetch()
        return _converted(row)

    def next(self) -> JsDict:
        """`{"done": bool, "value": row}`; no value after the last row."""
        row = self._take()
        return (
            JsDict(done=True) if row is None else JsDict(done=False, value=JsDict(zip(self._names, row, strict=True)))
        )

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> JsDict:
        row = self._take()
        if row is None:
            raise StopIteration
        return JsDict(zip(self._names, row, strict=True))

    def _take_all(self) -> list[Row]:
        """The rows that are left, as programs get their values."""
        if self._canceled is not None:
            raise StorageError(self._canceled)
        found: list[Row] = [] if self._ahead is None else [self._ahead]
        self._ahead = None
        rows = self._rows
        if rows is not None:
            rest = self._rest(rows)
            found = found + rest if found else rest
        elif self._kept is not None:
            self._sql.check()
            found += self._kept
        if not _AS_THEY_ARE(map(type, chain.from_iterable(found))):
            found = [_converted(row) for row in found]
        return found

    def _rest(self, rows: apsw.Cursor) -> list[Row]:
        try:
            rest = self._sql.step_all(rows)
        except BaseException:
            self._over()
            raise
        if self.counts.streams:
            self._rows = None
            self.given += len(rest)
            self._add(len(rest) * self.counts.per_row)
            return rest
        if rest:
            self._count(rest[0])
            self.given += len(rest) - 1
        self._over()
        return rest

    def toArray(self) -> JsList:
        """The rows that are left."""
        names = self._names
        return JsList([JsDict(zip(names, row)) for row in self._take_all()])  # noqa: B905 - as many names as columns; 10 % faster

    def one(self) -> JsDict:
        """The only row. Raises StorageError when there are none or several."""
        if self._rows is not None and self._ahead is None and self.counts.streams:
            row, self._ahead = self._two(self._rows)
        else:
            row = self._take()
        if row is None:
            raise StorageError("Expected exactly one result from SQL query, but got no results.")
        if self._ahead is not None:
            raise StorageError("Expected exactly one result from SQL query, but got multiple results.")
        return JsDict(zip(self._names, row))  # noqa: B905 - as in toArray

    def _two(self, rows: apsw.Cursor) -> tuple[Row | None, Row | None]:
        """The next row and the one after it, of an unfiltered loop."""
        try:
            first, second = self._sql.step_twice(rows)
        except BaseException:
            self._over()
            raise
        if first is None:
            self._rows = None
            return None, None
        if second is None:
            self._rows = None
            self.given += 1
            read = self.counts.per_row
        else:
            self.given += 2
            read = 2 * self.counts.per_row
        self.counted += read
        self._sql.read(self, read)
        return (first if _AS_THEY_ARE(map(type, first)) else _converted(first)), second

    def raw(self) -> RawRows:
        """The rows as lists, sharing the position with this cursor."""
        return RawRows(self)

    def is_open(self) -> bool:
        """Whether it may still give rows, from SQLite or from memory."""
        return self._rows is not None or self._kept is not None or self._ahead is not None

    def detach(self, bytes_max: int) -> None:
        """Read what is left into memory, so that no read transaction stays open; fail later readers if it is too much."""
        rows = self._rows
        if rows is None:
            return
        kept: list[Row] = []
        used = 0
        while (row := self._fetch()) is not None:
            used += sum(len(value) if isinstance(value, bytes | str) else 8 for value in row) + _ROW_COST
            if used > bytes_max:
                rows.close(True)
                self._over()
                self._canceled = (
                    f"SQL cursor was closed at the end of its turn: its rows are over {bytes_max} bytes. "
                    f"Consume it in the turn that made it."
                )
                return
            kept.append(row)
        if kept:
            self._kept = iter(kept)

    def cancel(self, reason: str, *, kept: bool) -> None:
        """Later use fails with `reason`. `kept`: also where the rows were read into memory."""
        rows = self._rows
        if rows is not None:
            rows.close(True)
            self._over()
        elif not kept or not self.is_open():
            return
        self._canceled = reason
        self._kept = self._ahead = None


class Finished(Cursor):
    """Of a statement that gives no rows: nothing about it changes any more."""

    _rows = None
    _names = ()

    def __init__(self, changes: int, written: int, read: int) -> None:
        self.changes = changes
        self.rowsWritten = written
        self.counted = read


NOT_RUN = Finished(-1, 0, 0)


class RawRows:
    """Rows as lists."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    @property
    def columnNames(self) -> JsList:
        return self._cursor.columnNames

    @property
    def rowsRead(self) -> int:
        return self._cursor.rowsRead

    @property
    def rowsWritten(self) -> int:
        return self._cursor.rowsWritten

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
        return JsList([JsList(row) for row in self._cursor._take_all()])
