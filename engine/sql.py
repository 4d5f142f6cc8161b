"""`ctx.storage.sql`: running a program's statements (spec: storage-sql).

What always holds: a statement that writes runs inside the turn's transaction; a program's SQL is prepared and stepped under the
guard only; a text that is known (`statements`) needs nothing but its run, another is learnt in its first one (`first_runs`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, NoReturn, cast
from weakref import ref

import apsw

from .cursor import Cursor
from .database import PAGE, Database
from .errors import StorageError
from .first_runs import SPACE, WRONG_BINDINGS, FirstRuns, bind
from .open_cursors import OpenCursors, SqlHost
from .statements import CHANGE, COUNTED, ONE_ROW, QUERY, SEVERAL, Statement, Statements

if TYPE_CHECKING:
    from .connections import Guard


def _closed(*_: object) -> NoReturn:
    raise AssertionError("SQL ran without a database")


class Sql:
    """`exec` and `databaseSize` on one object."""

    def __init__(self, host: SqlHost) -> None:
        self._host = host
        self._turn_host = host.host
        self._turns = host.host.turns
        self._meters = host.meters
        self._cursors = OpenCursors(host)
        self._statements = Statements(host.limits.sql_statement_cache_bytes)
        self._known: Callable[[str], Statement | None] = self._statements.get
        self._first_runs = FirstRuns(host, self._cursors, self._statements, self._run_counted)
        # Of the open database, at hand for each statement:
        self._guard: Guard | None = None
        self._execute: Callable[[str, tuple[object, ...]], apsw.Cursor] = _closed
        self._changes: Callable[[], int] = _closed

    @property
    def databaseSize(self) -> int:
        """Bytes in use: pages less free ones."""
        self._host.enter()
        connection = self._host.opened().connection
        pages = cast("int", connection.pragma("page_count"))
        free = cast("int", connection.pragma("freelist_count"))
        return (pages - free) * PAGE

    def exec(self, query: str, *bindings: object) -> Cursor:
        """Run the statements of `query`; parameters belong to the last. The cursor has the last one's rows.

        Raises StorageError with SQLite's words, its code name at the end; at once, also for the first row's errors.
        """
        turns, storage = self._turns, self._host
        if turns.running is not self._turn_host or storage.failure is not None or get_ident() != turns.thread:
            storage.enter()
        try:
            statement = self._known(query)
        except TypeError:  # not even hashable
            statement = None
        if statement is None:
            return self._run_text(query, bindings)
        kind = statement.kind
        if kind > ONE_ROW:
            return self._run_counted(statement, bindings) if kind is COUNTED else self._run_text(query, bindings)
        # What follows is the path of nearly every statement; `_run_counted` does the same and more.
        statement.used = True
        guard = self._guard
        if guard is None:
            guard = storage.opened().guard
        if kind is not QUERY and not storage.writing:
            storage.may_write()
            storage.begin_exclusive()
            storage.wrote_sql()
        guard.began_s = 0.0
        try:
            rows = self._execute(statement.text, bindings)
        except Exception as error:
            rows = self._tried_again(statement, bindings, error)
        finally:
            guard.began_s = None
        if kind is not QUERY:
            finished = statement.finished
            if kind is CHANGE and finished.changes != (changes := self._changes()):
                finished = statement.finished = statement.finish(changes)
            self._meters.rows_written += finished.rowsWritten
            if finished.counted:
                self._meters.rows_read += finished.counted
            return finished
        cursors = self._cursors
        cursor = Cursor(cursors, rows, statement.columns, statement.counts)
        cursors.refs.append(ref(cursor))
        if len(cursors.refs) > cursors.refs_max:
            cursors.forget_closed()
        return cursor

    def _run_counted(self, statement: Statement, bindings: tuple[object, ...]) -> Cursor:
        """Run a known statement of any kind, with SQLite's counters where they are needed."""
        statement.used = True
        database = self._host.opened()
        connection, guard = database.connection, database.guard
        if not statement.reads_only:
            self._host.may_write()
            self._host.begin_exclusive()
            self._host.wrote_sql()
        before = None if statement.reads_only else connection.total_changes()
        if statement.counts.profiled:
            self._cursors.profile(connection)
        guard.began_s = 0.0
        try:
            rows = self._execute(statement.text, bindings)
        except Exception as error:
            rows = self._tried_again(statement, bindings, error)
        finally:
            guard.began_s = None
        return self._cursors.begun(Cursor(self._cursors, rows, statement.columns, statement.counts), before)

    def _tried_again(self, statement: Statement, bindings: tuple[object, ...], error: Exception) -> apsw.Cursor:
        """It failed. With a value that apsw does not take as it is nothing has run yet; else raises."""
        if isinstance(error, apsw.BindingsError):
            raise StorageError(
                WRONG_BINDINGS, hint=f"it has {statement.parameters} parameters, {len(bindings)} were given"
            ) from error
        if not isinstance(error, TypeError):
            self._cursors.failed(error)
        try:
            return self._execute(statement.text, tuple([bind(value) for value in bindings]))
        except Exception as second:
            self._cursors.failed(second)

    def _run_text(self, query: str, bindings: tuple[object, ...]) -> Cursor:
        """Run the statements of a text one after the other: a later one may need what an earlier one makes."""
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise StorageError(
                "Failed to execute 'exec' on 'SqlStorage': parameter 1 is not of type 'string'.", name="TypeError"
            )
        run = self._first_runs.run
        known = self._known(query)
        if known is not None:
            known.used = True
            for piece in known.pieces[:-1]:
                run(piece, (), last=False)
            return cast("Cursor", run(known.pieces[-1], bindings, last=True))
        rest = self._first_runs.checked(query).rstrip(SPACE)
        pieces: list[str] = []
        while True:
            ran = run(rest, bindings, last=True)
            if isinstance(ran, Cursor):
                break
            run(ran, (), last=False)
            pieces.append(ran)
            rest = rest[len(ran) :]
        if pieces:
            self._statements.put(query, Statement(query, kind=SEVERAL, pieces=(*pieces, rest)))
        elif rest != query and (found := self._known(rest)) is not None:
            self._statements.put(query, found)
        return ran

    # ------------------------------------------------------------------ what the object's storage tells
    def reopened(self, database: Database) -> None:
        """The object's database was opened: it gets the pragmas that the program has set."""
        self._guard = database.guard
        self._execute = cast("Callable[[str, tuple[object, ...]], apsw.Cursor]", database.connection.execute)
        self._changes = database.connection.changes
        self._cursors.reopened(database)
        self._first_runs.set_pragmas(database.connection)

    def closed(self) -> None:
        """The database is being closed; its cursors were detached or canceled before."""
        self._guard = None
        self._execute = self._changes = _closed
        self._cursors.closed()

    def detach_cursors(self) -> None:
        """The turn is over: no cursor may hold the file."""
        self._cursors.detach()

    def cancel_cursors(self, reason: str, *, kept: bool = False) -> None:
        """What they read is gone. `kept`: so is what they had read into memory."""
        self._statements.forget()  # the schema may have been rolled back too
        self._cursors.cancel(reason, kept=kept)
