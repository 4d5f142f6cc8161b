"""The cursors of one object that may still give rows: their steps, under the guard, and what their statements have counted.

What always holds: none is forgotten while its statement holds the file; SQLite's own counters are on only while a statement that
needs them is open; rows that a cursor has counted are in the object's meters.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, NoReturn, Protocol, cast
from weakref import ref

import apsw

from .connections import Guard, is_critical, translate
from .cursor import Cursor, Row
from .database import Database
from .errors import PerdureError, StorageError
from .limits import Limits
from .meters import Meters

if TYPE_CHECKING:
    from .turnhost import TurnHost

_REFS_KEPT_MIN = 64


class SqlHost(Protocol):
    """What SQL asks of the storage around it."""

    host: TurnHost
    limits: Limits
    meters: Meters
    failure: PerdureError | None
    writing: bool
    """The turn has its transaction and is known to write: neither needs telling again."""

    def enter(self) -> None:
        """Raises when this object's storage may not be used now."""
        ...

    def opened(self) -> Database:
        """The open database, made if there was none."""
        ...

    def may_write(self) -> None:
        """Raises QuotaExceeded while a quota refuses writes."""
        ...

    def begin_exclusive(self) -> Database: ...
    def wrote_sql(self) -> None: ...
    def has_pending_keys(self) -> bool:
        """Whether the running turn has written keys that are not in a transaction yet."""
        ...

    def critical(self, error: PerdureError) -> None:
        """SQLite rolled back by itself: the object is broken."""
        ...


class OpenCursors:
    """Implements CursorHost."""

    def __init__(self, host: SqlHost) -> None:
        self._host = host
        self._turn_host = host.host
        self._turns = host.host.turns
        self._database: Database | None = None
        """Where they belong to: asking the host for it while it is being closed would open another."""
        self._guard: Guard | None = None
        self.refs: list[ref[Cursor]] = []
        self.refs_max = _REFS_KEPT_MIN
        self._counting: dict[int, int] = {}
        """Cursors of statements that write and give rows: SQLite counts their changes at their end. Changes before them."""
        self.profiling: set[int] = set()
        """Cursors of statements that need SQLite's counters; 0 stands for one that is about to run."""
        self._status: dict[str, int] | None = None

    # ------------------------------------------------------------------ steps
    def check(self) -> None:
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()

    def step(self, rows: apsw.Cursor) -> Row | None:
        guard = self._guard
        assert guard is not None, "a cursor without a database"
        guard.began_s = 0.0
        try:
            return next(rows, None)
        except Exception as error:
            self.failed(error)
        finally:
            guard.began_s = None

    def step_twice(self, rows: apsw.Cursor) -> tuple[Row | None, Row | None]:
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()
        guard = self._guard
        assert guard is not None, "a cursor without a database"
        guard.began_s = 0.0
        try:
            first: Row | None = next(rows, None)
            return first, None if first is None else next(rows, None)
        except Exception as error:
            self.failed(error)
        finally:
            guard.began_s = None

    def step_all(self, rows: apsw.Cursor) -> list[Row]:
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()
        guard = self._guard
        assert guard is not None, "a cursor without a database"
        guard.began_s = 0.0
        try:
            return rows.fetchall()  # pyright: ignore[reportReturnType] - a new list of our own
        except Exception as error:
            self.failed(error)
        finally:
            guard.began_s = None

    def failed(self, error: Exception) -> NoReturn:
        """Raise the typed error for what apsw raised; a critical one breaks the object too."""
        if 0 in self.profiling:
            self.profile_over(0)
        if isinstance(error, OverflowError):
            raise StorageError(f"Cannot convert a BigInt value to a number: {error}", name="TypeError") from error
        if isinstance(error, UnicodeEncodeError):
            raise StorageError(f"a bound text is no valid text: {error.reason}", name="TypeError") from error
        if not isinstance(error, apsw.Error):
            raise error
        typed = translate(error, self._host.limits)
        if is_critical(error):
            self._host.critical(typed)
        raise typed from error

    # ------------------------------------------------------------------ counters
    def read(self, cursor: Cursor, rows: int) -> None:
        self._host.meters.rows_read += rows

    def done(self, cursor: Cursor) -> int:
        number, counts = id(cursor), cursor.counts
        status = None
        if counts.profiled:
            status, self._status = self._status, None
            self.profile_over(number)
        if number in self._counting:
            self._count_changes(cursor, self._counting.pop(number))
        return counts.read(cursor.given, cursor.changes, status, cursor.number)

    def _count_changes(self, cursor: Cursor, before: int) -> None:
        assert self._database is not None, "a cursor without a database"
        connection = self._database.connection
        changes = connection.total_changes() - before
        if changes:
            cursor.changes = changes
            cursor.rowsWritten = written = cursor.counts.written(changes, connection.changes())
            self._host.meters.rows_written += written

    def profile(self, connection: apsw.Connection) -> None:
        """Ask for SQLite's counters, for the statement that runs next. They cost a microsecond a statement."""
        self._status = None
        if not self.profiling:
            self.profiling.add(0)
            connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profiled)

    def _profiled(self, event: dict[str, object]) -> None:
        self._status = cast("dict[str, int]", event["stmt_status"])

    def profile_over(self, number: int) -> None:
        """The statement of that cursor is over: without others SQLite's counters are turned off."""
        self.profiling.discard(number)
        self.profiling.discard(0)
        if not self.profiling and self._database is not None:
            self._database.connection.trace_v2(0, None)

    # ------------------------------------------------------------------ which are open
    def begun(self, cursor: Cursor, before: int | None) -> Cursor:
        """Its first step is done: keep track of it while it may give rows. `before`: changes before it, if it writes."""
        number = id(cursor)
        if cursor.counts.profiled:
            self.profiling.add(number)
        if before is not None:
            self._counting[number] = before
        if not cursor.has_rows():
            cursor.finish()
            return cursor
        if cursor.counts.profiled or before is not None:
            self.refs.append(ref(cursor, lambda _ref: self._dropped(number)))
        else:
            self.refs.append(ref(cursor))
        if len(self.refs) > self.refs_max:
            self.forget_closed()
        return cursor

    def forget_closed(self) -> None:
        """Drop what is known of cursors that give nothing more."""
        self.refs = [each for each in self.refs if (found := each()) is not None and found.is_open()]
        self.refs_max = max(_REFS_KEPT_MIN, 2 * len(self.refs))

    def _dropped(self, number: int) -> None:
        """The program let go of a cursor before its end."""
        if number in self.profiling:
            self.profile_over(number)
        before = self._counting.pop(number, None)
        if before is not None and self._database is not None:
            self._host.meters.rows_written += self._database.connection.total_changes() - before

    def reopened(self, database: Database) -> None:
        """Cursors made from now on belong to it."""
        self._database = database
        self._guard = database.guard

    def closed(self) -> None:
        """The database was closed; its cursors were detached or canceled before."""
        self._database = self._guard = None

    def detach(self) -> None:
        """The turn is over: no cursor may hold the file."""
        if not self.refs:
            return
        for each in self.refs:
            cursor = each()
            if cursor is not None:
                cursor.detach(self._host.limits.cursor_buffer_bytes_max)
        self.forget_closed()

    def cancel(self, reason: str, *, kept: bool) -> None:
        """What they read is gone. `kept`: so is what they had read into memory."""
        for each in self.refs:
            cursor = each()
            if cursor is not None:
                cursor.cancel(reason, kept=kept)
        self.forget_closed()
