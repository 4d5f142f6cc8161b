"""`ctx.storage.sql`: running a program's statements (spec: storage-sql).

What always holds: a statement that writes runs inside the turn's transaction; a program's SQL is prepared and stepped under the
guard only; a text whose first run is known (`statements`) needs no look at SQLite but the run itself.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast
from weakref import ref

import apsw

from .authorizer import TRANSACTIONS
from .connections import MARK, Guard, is_critical, translate
from .cursor import Cursor, Row
from .database import PAGE, Database
from .errors import PerdureError, StorageError
from .limited_changes import limited_change
from .limits import Limits
from .meters import Meters
from .row_counts import NOTHING, row_counts
from .statements import CHANGE, COUNTED, QUERY, Statement, Statements

if TYPE_CHECKING:
    from .turnhost import TurnHost

_SPACE: Final = " \t\n\r\v\f"
_REFS_KEPT_MIN = 64
_NO_STATEMENT = "SQL code did not contain a statement."
_ONLY_THE_LAST = "When executing multiple SQL statements in a single call, only the last statement can have parameters."
_NO_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or "
    "state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. "
    "The JavaScript API is safer because it will automatically roll back on exceptions, and because it "
    "interacts correctly with Durable Objects' automatic atomic write coalescing."
)
_HIDDEN_NAMES = "select name from sqlite_schema where lower(substr(name, 1, 4)) = '_cf_'"
_KEYS = "select name from pragma_table_xinfo(?) where pk order by pk"
_WITHOUT_ROWID = "select wr from pragma_table_list where schema = 'main' and lower(name) = lower(?)"


class SqlHost(Protocol):
    """What SQL asks of the storage around it."""

    host: TurnHost
    limits: Limits
    meters: Meters
    failure: PerdureError | None
    writing: bool
    """The turn has its transaction and is known to write: neither needs telling again."""

    def enter(self) -> None: ...
    def opened(self) -> Database:
        """The open database, made if there was none."""
        ...

    def begin_exclusive(self) -> Database: ...
    def wrote_sql(self) -> None: ...
    def has_pending_keys(self) -> bool:
        """Whether the running turn has written keys that are not in a transaction yet."""
        ...

    def critical(self, error: PerdureError) -> None:
        """SQLite rolled back by itself: the object is broken."""
        ...


class _FirstRun:
    """What is learnt of a text that runs for the first time, between its preparation and its first step."""

    __slots__ = ("before", "more", "names", "nothing", "statement")

    def __init__(self) -> None:
        self.nothing = False
        self.more = ""
        """The text holds more than one statement: this is the first one's."""
        self.before = 0
        self.names: set[object] | None = None
        """Of the runtime's tables, before an ALTER TABLE."""
        self.statement = Statement("", 0)


def bind(value: object) -> object:
    """A value as SQLite takes it: buffers as bytes, bools as 0 and 1, other objects as their text. Raises StorageError."""
    kind = type(value)
    if kind is bool:
        return int(cast("bool", value))
    if value is None or kind in (int, float, str, bytes):
        return value
    if isinstance(value, int | float | str):
        return value
    try:
        return memoryview(value).tobytes()  # pyright: ignore[reportArgumentType] - whatever has a buffer
    except TypeError:
        return str(value)


def _closed(*_: object) -> NoReturn:
    raise AssertionError("SQL ran without a database")


def _quoted(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'


class Sql:
    """`exec` and `databaseSize` on one object. Implements CursorHost."""

    def __init__(self, host: SqlHost) -> None:
        self._host = host
        self._statements = Statements(host.limits.sql_statement_cache_bytes)
        self._known: Callable[[str], Statement | None] = self._statements.get
        self._turn_host = host.host
        self._turns = host.host.turns
        self._meters = host.meters
        self._database: Database | None = None
        """The one that open cursors belong to; of it, at hand for each statement:"""
        self._guard: Guard | None = None
        self._execute: Callable[[str, tuple[object, ...]], apsw.Cursor] = _closed
        self._changes: Callable[[], int] = _closed
        self._epoch = 0
        """Grows when the schema, and with it what is known of statements, may have changed."""
        self._open: list[ref[Cursor]] = []
        self._open_max = _REFS_KEPT_MIN
        self._pragmas: dict[str, str] = {}
        """What the program has set: a database that was closed to save memory opens with the same."""
        self._profiling: set[int] = set()
        self._status: dict[str, int] | None = None

    def check(self) -> None:
        """Raises when this object's storage may not be used now."""
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()

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
        if statement is None or statement.epoch != self._epoch:
            return self._run_text(query, bindings)
        kind = statement.kind
        if kind is COUNTED:
            return self._run_counted(statement, bindings)
        # What follows is the path of nearly every statement; `_run_counted` does the same and more.
        statement.used = True
        guard = self._guard
        if guard is None:
            guard = storage.opened().guard
        if kind is not QUERY and not storage.writing:
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
            if finished.rowsRead:
                self._meters.rows_read += finished.rowsRead
            return finished
        cursor = Cursor(self, rows, statement.columns, statement.counts)
        refs = self._open
        refs.append(ref(cursor))
        if len(refs) > self._open_max:
            self._forget_closed()
        return cursor

    # ------------------------------------------------------------------ a text that is known
    def _run_counted(self, statement: Statement, bindings: tuple[object, ...]) -> Cursor:
        """Run a statement of any kind, with SQLite's counters where they are needed."""
        statement.used = True
        database = self._host.opened()
        connection, guard = database.connection, database.guard
        if not statement.reads_only:
            self._host.begin_exclusive()
            self._host.wrote_sql()
        before = connection.total_changes()
        if statement.counts.profiled:
            self._profile(connection)
        guard.began_s = 0.0
        try:
            rows = self._execute(statement.text, bindings)
        except Exception as error:
            rows = self._tried_again(statement, bindings, error)
        finally:
            guard.began_s = None
        cursor = Cursor(self, rows, statement.columns, statement.counts)
        if not statement.reads_only:
            self._count_changes(cursor, connection, before)
        return self._begun(cursor)

    def _tried_again(self, statement: Statement, bindings: tuple[object, ...], error: Exception) -> apsw.Cursor:
        """It failed. With a value that apsw does not take as it is nothing has run yet; else raises."""
        if isinstance(error, apsw.BindingsError):
            self._wrong_bindings(f"it has {statement.parameters}, {len(bindings)} were given")
        if not isinstance(error, TypeError):
            self._failed(error)
        try:
            return self._execute(statement.text, tuple([bind(value) for value in bindings]))
        except Exception as second:
            self._failed(second)

    def _count_changes(self, cursor: Cursor, connection: apsw.Connection, before: int) -> None:
        changes = connection.total_changes() - before
        if changes:
            cursor.changes = changes
            cursor.rowsWritten = written = cursor.counts.written(changes, connection.changes())
            self._host.meters.rows_written += written

    def _begun(self, cursor: Cursor) -> Cursor:
        """Its first step is done: keep track of it while it may give rows."""
        if cursor.counts.profiled:
            self._profiling.add(id(cursor))
        if not cursor.has_rows():
            cursor.finish()
            return cursor
        self._track(cursor)
        return cursor

    # ------------------------------------------------------------------ a text that is not
    def _run_text(self, query: str, bindings: tuple[object, ...]) -> Cursor:
        """Run the statements of a text one after the other: a later one may need what an earlier one makes."""
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise StorageError(
                "Failed to execute 'exec' on 'SqlStorage': parameter 1 is not of type 'string'.", name="TypeError"
            )
        known = self._known(query)
        if known is not None and known.pieces:
            known.used = True
            for piece in known.pieces[:-1]:
                self._run_piece(piece, (), last=False)
            return cast("Cursor", self._run_piece(known.pieces[-1], bindings, last=True))
        rest = self._checked(query).rstrip(_SPACE)
        pieces: list[str] = []
        while True:
            ran = self._run_piece(rest, bindings, last=True)
            if isinstance(ran, Cursor):
                break
            self._run_piece(ran, (), last=False)
            pieces.append(ran)
            rest = rest[len(ran) :]
        if pieces:
            self._statements.put(query, Statement(query, -1, pieces=(*pieces, rest)))
        elif rest != query and (found := self._known(rest)) is not None:
            self._statements.put(query, found)
        return ran

    def _checked(self, query: str) -> str:
        try:
            size = len(query.encode())
        except UnicodeEncodeError as error:
            raise StorageError(f"the SQL text is no valid text: {error.reason}", name="TypeError") from None
        if size > self._host.limits.sql_statement_bytes_max:
            raise StorageError("statement too long: SQLITE_TOOBIG")
        if "\0" in query:
            raise StorageError('unrecognized token: "\\0": SQLITE_ERROR')
        return query

    def _run_piece(self, text: str, bindings: tuple[object, ...], *, last: bool) -> Cursor | str:
        """Run a text that holds one statement. If it holds more nothing runs, and the first one's text is given."""
        known = self._known(text)
        if known is not None and known.epoch == self._epoch:
            return self._run_counted(known, bindings)
        host = self._host
        database = host.opened()
        if self._must_begin(text):
            host.begin_exclusive()
        values = tuple([bind(value) for value in bindings])
        run = _FirstRun()
        cursor = database.connection.cursor()
        cursor.exec_trace = lambda prepared, sql, _values: self._prepared(run, MARK + text, prepared, sql, values)
        guard = database.guard
        guard.watch()
        try:
            # Not out of the cache: the guard must see it prepared, and its columns must be those of today's schema.
            cursor.execute(MARK + text, values, can_cache=False)
        except apsw.ExecTraceAbort:
            if run.nothing:
                raise StorageError(_NO_STATEMENT) from None
            return run.more
        except apsw.BindingsError as error:
            guard.began_s = None  # the text is looked at once more
            if not last or len(self._first_piece(text)) < len(text):
                raise StorageError(_ONLY_THE_LAST) from error
            self._wrong_bindings(str(error))
        except Exception as error:
            guard.began_s = None
            return self._run_otherwise(database, run, error, text, bindings, last=last)
        finally:
            guard.began_s = None
        return self._first_run_over(database, run, cursor, text)

    def _must_begin(self, text: str) -> bool:
        # Preparing it sets it, unless a transaction is open: and with keys written in this turn one is, for the program.
        return "foreign_keys" in text.lower() and self._host.has_pending_keys()

    def _first_piece(self, text: str) -> str:
        """The text of the first statement."""
        found: list[str] = []

        def look(_cursor: apsw.Cursor, sql: str, _values: object) -> bool:
            found.append(sql[len(MARK) :])
            return False

        connection = self._host.opened().connection
        cursor = connection.cursor()
        cursor.exec_trace = look
        nulls = (None,) * self._host.limits.sql_parameters_max
        try:  # the statement at the end takes no values but makes it legal that some are left
            cursor.execute(f"{MARK}{text}\n;select 1", nulls)
        except apsw.ExecTraceAbort:
            return found[0]
        return text

    def _prepared(
        self, run: _FirstRun, text: str, cursor: apsw.Cursor, sql: str, values: tuple[object, ...]
    ) -> bool:
        """Called between preparing and running: look at it, and give a statement that writes the turn's transaction."""
        host = self._host
        database = host.opened()
        connection, guard = database.connection, database.guard
        if not cursor.has_vdbe and not guard.schema:
            run.nothing = True
            return False
        if len(sql) < len(text):
            run.more = sql[len(MARK) :]
            return False
        guard.began_s = None  # what the runtime does now is its own
        statement = run.statement
        statement.text = text
        statement.parameters = cursor.bindings_count
        statement.reads_only = cursor.is_readonly
        statement.columns = tuple([column[0] for column in cursor.get_description()])
        if not guard.schema and not cursor.is_explain:
            explained = connection.execute(text, values, explain=1, can_cache=False)  # pyright: ignore[reportArgumentType]
            statement.counts = row_counts(cast("list[tuple[object, ...]]", explained.fetchall()))
        if not statement.reads_only:
            host.begin_exclusive()
            host.wrote_sql()
            run.before = connection.total_changes()
        if guard.altering:
            run.names = {row[0] for row in connection.execute(_HIDDEN_NAMES)}
            connection.execute("savepoint _cf_alter")
        if statement.counts.profiled:
            self._profile(connection)
        guard.began_s = 0.0
        return True

    def _first_run_over(self, database: Database, run: _FirstRun, cursor: apsw.Cursor, text: str) -> Cursor:
        """Its first step is done: keep what was learnt."""
        guard, connection, statement = database.guard, database.connection, run.statement
        if run.names is not None:
            self._settle_alter(connection, run.names)
        if guard.schema:
            self._epoch += 1
            if guard.pragma is not None:
                self._remember(connection, *guard.pragma)
        else:
            statement.learn(self._epoch)
            self._statements.put(text, statement)
        result = Cursor(self, cursor, statement.columns, statement.counts)
        if not statement.reads_only:
            self._count_changes(result, connection, run.before)
        return self._begun(result)

    def _settle_alter(self, connection: apsw.Connection, names: set[object]) -> None:
        """SQLite does not tell the authorizer the new name of a table: look for it afterwards."""
        if {row[0] for row in connection.execute(_HIDDEN_NAMES)} != names:
            connection.execute("rollback to _cf_alter")
            connection.execute("release _cf_alter")
            self._epoch += 1
            raise StorageError("not authorized: SQLITE_AUTH")
        connection.execute("release _cf_alter")

    def _remember(self, connection: apsw.Connection, name: str, value: str) -> None:
        if name == "foreign_keys":  # inside a transaction it stays as it was
            value = str(connection.pragma(name))
        if name != "defer_foreign_keys":  # ends with each commit
            self._pragmas[name] = value

    def _run_otherwise(
        self,
        database: Database,
        run: _FirstRun,
        error: Exception,
        text: str,
        bindings: tuple[object, ...],
        *,
        last: bool,
    ) -> Cursor | str:
        """SQLite refused it, or it failed. Rewritten it may run; else raises."""
        if run.names is not None and database.connection.in_transaction:
            database.connection.execute("rollback to _cf_alter")
            database.connection.execute("release _cf_alter")
        if database.guard.refused in TRANSACTIONS:
            raise StorageError(_NO_TRANSACTIONS) from error
        if isinstance(error, apsw.SQLError) and "syntax error" in str(error) and "limit" in text.lower():
            limited = limited_change(text, self._keys)
            if limited is not None:
                if text[limited.length :].strip(_SPACE):
                    return text[: limited.length]
                ran = self._run_piece(limited.statement, bindings, last=last)
                if (known := self._known(limited.statement)) is not None:
                    self._statements.put(text, known)
                return ran
        self._failed(error)

    def _keys(self, table: str) -> list[str]:
        """The columns that tell the rows of a table apart, quoted."""
        connection = self._host.opened().connection
        found = connection.execute(_WITHOUT_ROWID, (table,)).fetchone()
        if found is None:
            return []
        if found[0]:
            return [_quoted(row[0]) for row in connection.execute(_KEYS, (table,))]
        columns = {str(row[0]).lower() for row in connection.execute("select name from pragma_table_xinfo(?)", (table,))}
        return next(([name] for name in ("rowid", "_rowid_", "oid") if name not in columns), [])

    # ------------------------------------------------------------------ failures
    def _wrong_bindings(self, found: str) -> NoReturn:
        raise StorageError(f"Wrong number of parameter bindings for SQL query. {found}")

    def _failed(self, error: Exception) -> NoReturn:
        """Raise the typed error; a critical one breaks the object too."""
        if self._profiling:
            self._profile_over(0)
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

    # ------------------------------------------------------------------ steps and counters, for cursors
    def step(self, rows: apsw.Cursor) -> Row | None:
        guard = self._own().guard
        guard.began_s = 0.0
        try:
            return next(rows, None)
        except Exception as error:
            self._failed(error)
        finally:
            guard.began_s = None

    def step_twice(self, rows: apsw.Cursor) -> tuple[Row | None, Row | None]:
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()
        guard = self._guard or self._own().guard
        guard.began_s = 0.0
        try:
            first: Row | None = next(rows, None)
            return first, None if first is None else next(rows, None)
        except Exception as error:
            self._failed(error)
        finally:
            guard.began_s = None

    def step_all(self, rows: apsw.Cursor) -> list[Row]:
        turns = self._turns
        if turns.running is not self._turn_host or self._host.failure is not None or get_ident() != turns.thread:
            self._host.enter()
        guard = self._guard or self._own().guard
        guard.began_s = 0.0
        try:
            return rows.fetchall()
        except Exception as error:
            self._failed(error)
        finally:
            guard.began_s = None

    def _own(self) -> Database:
        """The database that is open, or is being closed: asking the host would open another."""
        assert self._database is not None, "a cursor without a database"
        return self._database

    def read(self, cursor: Cursor, rows: int) -> None:
        self._host.meters.rows_read += rows

    def done(self, cursor: Cursor) -> int:
        counts = cursor.counts
        status = None
        if counts.profiled:
            status, self._status = self._status, None
            self._profile_over(id(cursor))
        return counts.read(cursor.given, cursor.changes, status, cursor.number)

    def _profile(self, connection: apsw.Connection) -> None:
        """Ask for SQLite's counters. They cost a microsecond a statement, so only while one that needs them is open."""
        self._status = None
        if not self._profiling:
            self._profiling.add(0)
            connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._profiled)

    def _profiled(self, event: dict[str, object]) -> None:
        self._status = cast("dict[str, int]", event["stmt_status"])

    def _profile_over(self, number: int) -> None:
        self._profiling.discard(number)
        self._profiling.discard(0)
        if not self._profiling:
            self._own().connection.trace_v2(0, None)

    # ------------------------------------------------------------------ cursors that are open
    def _track(self, cursor: Cursor) -> None:
        if cursor.counts.profiled:
            number = id(cursor)
            self._open.append(ref(cursor, lambda _ref: self._forgotten(number)))
        else:
            self._open.append(ref(cursor))
        if len(self._open) > self._open_max:
            self._forget_closed()

    def _forget_closed(self) -> None:
        self._open = [each for each in self._open if (found := each()) is not None and found.is_open()]
        self._open_max = max(_REFS_KEPT_MIN, 2 * len(self._open))

    def _forgotten(self, number: int) -> None:
        """A cursor was dropped before its end."""
        if number in self._profiling:
            self._profile_over(number)

    def reopened(self, database: Database) -> None:
        """The object's database was opened: it gets the pragmas that the program has set."""
        self._database = database
        self._guard = database.guard
        self._execute = cast("Callable[[str, tuple[object, ...]], apsw.Cursor]", database.connection.execute)
        self._changes = database.connection.changes
        for name, value in self._pragmas.items():
            database.connection.execute(f"pragma {name}={value}")

    def closed(self) -> None:
        """The database was closed; its cursors were detached or canceled before."""
        self._database = self._guard = None
        self._execute = self._changes = _closed

    def detach_cursors(self) -> None:
        """The turn is over: no cursor may hold the file."""
        if not self._open:
            return
        for each in self._open:
            cursor = each()
            if cursor is not None:
                cursor.detach(self._host.limits.cursor_buffer_bytes_max)
        self._forget_closed()

    def cancel_cursors(self, reason: str, *, kept: bool = False) -> None:
        """What they read is gone. `kept`: so is what they had read into memory."""
        self._epoch += 1
        for each in self._open:
            cursor = each()
            if cursor is not None:
                cursor.cancel(reason, kept=kept)
        self._forget_closed()
