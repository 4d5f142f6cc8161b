"""An object's own database for code that speaks Python's database API (PEP 249): `perdure.dbapi`.

    connection = dbapi.connect(ctx.storage)
    with connection:                                  # kept whole, or undone if it raises
        connection.execute("insert into notes(text) values(?)", ["…"])

What always holds: statements run in the object's turn, through `ctx.storage.sql`, so what they write leaves with the turn, whole.
`commit` and `rollback` end the unit that `begin` has begun; without one there is nothing to end. A unit ends in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ..engine.errors import PerdureError
from ..engine.own_functions import OwnFunction, give
from ..engine.units import Unit
from ..engine.values import Buffer

if TYPE_CHECKING:
    from ..engine.storage import DurableObjectStorage

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"

Row = tuple[Any, ...]
Binary = bytes


class Warning(Exception):
    """Not raised."""


class Error(Exception):
    """Of whatever goes wrong; its cause is the error of perdure, with a hint."""


class InterfaceError(Error):
    """The connection or cursor is closed, or has nothing to give."""


class DatabaseError(Error):
    """Of the database."""


class DataError(DatabaseError):
    """A value is too large."""


class OperationalError(DatabaseError):
    """There is no such table, the disk is full, the statement is wrong, …"""


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class InternalError(DatabaseError):
    """The database is damaged."""


class ProgrammingError(DatabaseError):
    """Wrong parameters."""


class NotSupportedError(DatabaseError):
    """Transactions by statements: use `begin`, `commit` and `rollback`."""


_BY_TEXT: tuple[tuple[str, type[DatabaseError]], ...] = (
    ("SQLITE_CONSTRAINT", IntegrityError),
    ("SQLITE_MISMATCH", IntegrityError),
    ("SQLITE_TOOBIG", DataError),
    ("SQLITE_CORRUPT", InternalError),
    ("SQLITE_NOTADB", InternalError),
    ("Wrong number of parameter bindings", ProgrammingError),
    ("To execute a transaction", NotSupportedError),
    ("Cannot convert a BigInt", DataError),
)


def raise_as_database_error(error: PerdureError) -> NoReturn:
    """Raise what PEP 249 has for it."""
    kind = next((kind for text, kind in _BY_TEXT if text in error.message), OperationalError)
    raise kind(error.message) from error


class Cursor:
    """The rows of one statement after another."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.description: list[tuple[object, ...]] | None = None
        """A tuple of seven a column, of which the first, the name, is known."""
        self.rowcount = -1
        """Rows that the last statement changed; -1 for one that gives rows."""
        self.lastrowid: int | None = None
        """Of the last row that an `insert` or `replace` has made."""
        self._rows: Iterator[Sequence[object]] | None = None
        self._closed = False

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Cursor:
        """Run a statement. Parameters are `?`. Raises Error."""
        self._check()
        if isinstance(parameters, Mapping):
            raise ProgrammingError("parameters have no names here: write ? and pass a sequence")
        storage = self.connection.storage
        try:
            found = storage.sql.exec(sql, *parameters)
        except PerdureError as error:
            raise_as_database_error(error)
        self.rowcount = -1 if found.has_rows() else found.changes
        self._rows = iter(found.raw()) if found.has_rows() else iter(())
        self.description = [(name, *(None,) * 6) for name in found.columnNames] if found.has_rows() else None
        if sql.lstrip()[:7].lower() in ("insert ", "replace"):
            self.lastrowid = self.connection.last_row()
        return self

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> Cursor:
        """Run a statement for each of `rows`; `rowcount` is their sum. It gives no rows."""
        changed = 0
        for row in rows:
            self.execute(sql, row)
            if self.description is not None:
                raise ProgrammingError("executemany() is for statements that give no rows")
            changed += self.rowcount
        self.rowcount = changed
        return self

    def fetchone(self) -> Row | None:
        """The next row, None after the last."""
        self._check()
        if self._rows is None:
            raise InterfaceError("no statement was executed")
        try:
            row = next(self._rows, None)
        except PerdureError as error:
            raise_as_database_error(error)
        return None if row is None else tuple([bytes(value) if type(value) is Buffer else value for value in row])

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next `size` rows (`arraysize`), fewer at the end."""
        found: list[Row] = []
        for _ in range(self.arraysize if size is None else size):
            row = self.fetchone()
            if row is None:
                break
            found.append(row)
        return found

    def fetchall(self) -> list[Row]:
        """The rows that are left."""
        return list(self)

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def setinputsizes(self, sizes: object) -> None:
        """Accepted."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Accepted."""

    def close(self) -> None:
        """It gives nothing any more."""
        self._closed, self._rows = True, None

    def _check(self) -> None:
        if self._closed or self.connection.closed:
            raise InterfaceError("it is closed")


class Connection:
    """To the database of one object. `storage`: asked for at each use, so that one connection may serve whatever object runs."""

    Warning, Error, InterfaceError, DatabaseError = Warning, Error, InterfaceError, DatabaseError
    DataError, OperationalError, IntegrityError = DataError, OperationalError, IntegrityError
    InternalError, ProgrammingError, NotSupportedError = InternalError, ProgrammingError, NotSupportedError

    def __init__(self, storage: Callable[[], DurableObjectStorage]) -> None:
        self.closed = False
        self._storage = storage
        self._units: list[tuple[DurableObjectStorage, Unit]] = []
        self._functions: tuple[OwnFunction, ...] = ()

    @property
    def storage(self) -> DurableObjectStorage:
        """`ctx.storage` of the object, with the functions that the connection brings. Raises InterfaceError."""
        if self.closed:
            raise InterfaceError("the connection is closed")
        storage = self._storage()
        if self._functions:
            give(storage, self._functions)
        return storage

    def cursor(self) -> Cursor:
        return Cursor(self)

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """A cursor that has executed it."""
        return self.cursor().execute(sql, parameters)

    # ------------------------------------------------------------------ units
    def begin(self) -> None:
        """Begin a unit, perhaps inside another one: the next `commit` or `rollback` ends it."""
        storage = self.storage
        try:
            self._units.append((storage, Unit(storage)))
        except PerdureError as error:
            raise_as_database_error(error)

    def commit(self) -> None:
        """Keep the innermost unit: it is durable with the turn. Raises ProgramBug when its turn has ended."""
        unit = self._innermost()
        if unit is not None:
            unit.keep()

    def rollback(self) -> None:
        """Undo the innermost unit. Raises ProgramBug when its turn has ended."""
        unit = self._innermost()
        if unit is not None:
            unit.undo()

    def _innermost(self) -> Unit | None:
        """Of the object that runs, taken out."""
        storage = self._storage()
        for index in range(len(self._units) - 1, -1, -1):
            if self._units[index][0] is storage:
                return self._units.pop(index)[1]
        return None

    def __enter__(self) -> Connection:
        self.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()

    # ------------------------------------------------------------------ more
    def create_function(
        self, name: str, arguments: int, function: Callable[..., object], *, deterministic: bool = False
    ) -> None:
        """Let SQL call a function in Python, as `sqlite3` does; -1: any number of arguments."""
        self._functions += (OwnFunction(name, arguments, function, deterministic=deterministic),)

    def create_aggregate(self, name: str, arguments: int, cls: Callable[[], Any]) -> None:
        """Let SQL call an aggregate: a class with `step` and `finalize`, as for `sqlite3`."""
        self._functions += (OwnFunction(name, arguments, cls, aggregate=True),)

    def last_row(self) -> int:
        """The rowid of the last row that was inserted."""
        return cast("int", self._storage().sql.exec("select last_insert_rowid() as id").one()["id"])

    def close(self) -> None:
        """It and its cursors give nothing any more; units that are open are kept with the turn."""
        self.closed = True


def connect(storage: DurableObjectStorage) -> Connection:
    """A connection to the database of the object whose `ctx.storage` it is."""
    return Connection(lambda: storage)
