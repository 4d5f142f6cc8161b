"""The first run of a SQL text: what is learnt of it between its preparation and its first step (spec: storage-sql, statements).

What always holds: the text is prepared under the guard, never taken from the connection's cache; nothing is kept of a text that
may change the schema, so such a one is looked at each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import apsw

from .authorizer import TRANSACTIONS
from .connections import MARK
from .cursor import Cursor
from .database import Database
from .errors import StorageError
from .limited_changes import limited_change
from .open_cursors import OpenCursors, SqlHost
from .row_counts import row_counts
from .statements import SEVERAL, Statement, Statements
from .values import UNDEFINED, StandIn

SPACE: Final = " \t\n\r\v\f"
"""What may follow the last statement."""
WRONG_BINDINGS: Final = "Wrong number of parameter bindings for SQL query."
_NO_STATEMENT = "SQL code did not contain a statement."
_ONLY_THE_LAST = "When executing multiple SQL statements in a single call, only the last statement can have parameters."
_NO_TRANSACTIONS = (
    "To execute a transaction, please use the state.storage.transaction() or "
    "state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. "
    "The JavaScript API is safer because it will automatically roll back on exceptions, and because it "
    "interacts correctly with Durable Objects' automatic atomic write coalescing."
)
_HIDDEN_NAMES = "select name from sqlite_schema where lower(substr(name, 1, 4)) = '_cf_'"
_COLUMNS = "select name from pragma_table_xinfo(?)"
_KEYS = "select name from pragma_table_xinfo(?) where pk order by pk"
_WITHOUT_ROWID = "select wr from pragma_table_list where schema = 'main' and lower(name) = lower(?)"


def bind(value: object) -> object:
    """A value as SQLite takes it: buffers as bytes, bools as 0 and 1, stand-ins as what they stand for, others as their text."""
    kind = type(value)
    if kind is bool:
        return int(cast("bool", value))
    if value is None or value is UNDEFINED:
        return None
    if isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, StandIn):
        return bind(value.plain())
    try:
        return memoryview(value).tobytes()  # pyright: ignore[reportArgumentType] - whatever has a buffer
    except TypeError:
        return str(value)


def _quoted(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'


class _Run:
    """One first run."""

    __slots__ = ("before", "more", "names", "nothing", "statement")

    def __init__(self, text: str) -> None:
        self.statement = Statement(MARK + text)
        self.nothing = False
        """The text is space and comments."""
        self.more = ""
        """The text holds more than one statement: this is the first one's."""
        self.before: int | None = None
        """Rows changed on the connection before it, if it writes."""
        self.names: set[object] | None = None
        """The runtime's tables before an ALTER TABLE."""


class FirstRuns:
    """Runs texts of which nothing is known, or not any more, and keeps what it learns."""

    def __init__(
        self,
        host: SqlHost,
        cursors: OpenCursors,
        statements: Statements,
        run_known: Callable[[Statement, tuple[object, ...]], Cursor],
    ) -> None:
        self._host = host
        self._cursors = cursors
        self._statements = statements
        self._run_known = run_known
        self._pragmas: dict[str, str] = {}
        """What the program has set: a database that was closed to save memory opens with the same."""

    def checked(self, query: str) -> str:
        """The text. Raises StorageError when it is too long or cannot be SQL."""
        try:
            size = len(query.encode())
        except UnicodeEncodeError as error:
            raise StorageError(f"the SQL text is no valid text: {error.reason}", name="TypeError") from None
        if size > self._host.limits.sql_statement_bytes_max:
            raise StorageError("statement too long: SQLITE_TOOBIG")
        if "\0" in query:
            raise StorageError('unrecognized token: "\\0": SQLITE_ERROR')
        return query

    def run(self, text: str, bindings: tuple[object, ...], *, last: bool) -> Cursor | str:
        """Run a text that holds one statement. If it holds more nothing runs, and the first one's text is given.

        `last`: it may have parameters. Raises StorageError.
        """
        known = self._statements.get(text)
        if known is not None and known.kind is not SEVERAL:
            return self._run_known(known, bindings)
        database = self._host.opened()
        if self._must_begin(text):
            self._host.begin_exclusive()
        values = tuple([bind(value) for value in bindings])
        run = _Run(text)
        cursor = database.connection.cursor()

        def look(prepared: apsw.Cursor, sql: str, _values: object) -> bool:
            return self._prepared(run, prepared, sql, values)

        cursor.exec_trace = look
        guard = database.guard
        guard.watch()
        try:
            # Not out of the cache: the guard must see it prepared, and its columns must be those of today's schema.
            cursor.execute(run.statement.text, values, can_cache=False)  # pyright: ignore[reportArgumentType]
        except apsw.ExecTraceAbort:
            if run.nothing:
                raise StorageError(_NO_STATEMENT) from None
            return run.more
        except apsw.BindingsError as error:
            guard.began_s = None  # the text is looked at once more
            if not last or len(self._first_piece(database, text)) < len(text):
                raise StorageError(_ONLY_THE_LAST) from error
            raise StorageError(WRONG_BINDINGS, hint=str(error)) from error
        except Exception as error:
            guard.began_s = None
            if run.names is not None and database.connection.in_transaction:
                database.connection.execute("rollback to _cf_alter")
                database.connection.execute("release _cf_alter")
            if guard.refused in TRANSACTIONS:
                raise StorageError(_NO_TRANSACTIONS) from error
            if isinstance(error, apsw.SQLError) and "syntax error" in str(error) and "limit" in text.lower():
                ran = self._otherwise(text, bindings, last=last)
                if ran is not None:
                    return ran
            self._cursors.failed(error)
        finally:
            guard.began_s = None
        return self._learnt(database, run, cursor, text)

    def _must_begin(self, text: str) -> bool:
        # Preparing it sets it, unless a transaction is open: and with keys written in this turn one is, for the program.
        return "foreign_keys" in text.lower() and self._host.has_pending_keys()

    def _first_piece(self, database: Database, text: str) -> str:
        """The text of the first statement."""
        found: list[str] = []

        def look(_cursor: apsw.Cursor, sql: str, _values: object) -> bool:
            found.append(sql[len(MARK) :])
            return False

        cursor = database.connection.cursor()
        cursor.exec_trace = look
        nulls = (None,) * self._host.limits.sql_parameters_max
        try:  # the statement at the end takes no values but makes it legal that some are left
            cursor.execute(f"{MARK}{text}\n;select 1", nulls, can_cache=False)
        except apsw.ExecTraceAbort:
            return found[0]
        return text

    def _prepared(self, run: _Run, cursor: apsw.Cursor, sql: str, values: tuple[object, ...]) -> bool:
        """Called between preparing and running: look at it, and give a statement that writes the turn's transaction."""
        host, statement = self._host, run.statement
        database = host.opened()
        connection, guard = database.connection, database.guard
        if not cursor.has_vdbe and not guard.schema:
            run.nothing = True
            return False
        if len(sql) < len(statement.text):
            run.more = sql[len(MARK) :]
            return False
        guard.began_s = None  # what the runtime does now is its own
        statement.parameters = cursor.bindings_count
        statement.reads_only = cursor.is_readonly
        statement.columns = tuple([column[0] for column in cursor.get_description()])
        if not guard.schema and not cursor.is_explain:
            explained = connection.execute(statement.text, values, explain=1, can_cache=False)  # pyright: ignore[reportArgumentType]
            statement.counts = row_counts(cast("list[tuple[object, ...]]", explained.fetchall()))
        if not statement.reads_only:
            host.may_write()
            host.begin_exclusive()
            host.wrote_sql()
            run.before = connection.total_changes()
        if guard.altering:
            run.names = {row[0] for row in connection.execute(_HIDDEN_NAMES)}
            connection.execute("savepoint _cf_alter")
        if statement.counts.profiled:
            self._cursors.profile(connection)
        guard.began_s = 0.0
        return True

    def _learnt(self, database: Database, run: _Run, cursor: apsw.Cursor, text: str) -> Cursor:
        """Its first step is done: keep what was learnt."""
        guard, connection, statement = database.guard, database.connection, run.statement
        if run.names is not None:
            self._settle_alter(connection, run.names)
        if guard.schema:
            self._statements.forget()
            if guard.pragma is not None:
                self._remember(connection, *guard.pragma)
        else:
            statement.learn()
            self._statements.put(text, statement)
        return self._cursors.begun(Cursor(self._cursors, cursor, statement.columns, statement.counts), run.before)

    def _settle_alter(self, connection: apsw.Connection, names: set[object]) -> None:
        """SQLite does not tell the authorizer the new name of a table: look for it afterwards."""
        if {row[0] for row in connection.execute(_HIDDEN_NAMES)} != names:
            connection.execute("rollback to _cf_alter")
            connection.execute("release _cf_alter")
            self._statements.forget()
            raise StorageError("not authorized: SQLITE_AUTH")
        connection.execute("release _cf_alter")

    def _otherwise(self, text: str, bindings: tuple[object, ...], *, last: bool) -> Cursor | str | None:
        """SQLite refused a text with a limit: rewritten it may run. None: not that, it was wrong."""
        limited = limited_change(text, self._keys)
        if limited is None:
            return None
        if text[limited.length :].strip(SPACE):
            return text[: limited.length]
        ran = self.run(limited.statement, bindings, last=last)
        if (known := self._statements.get(limited.statement)) is not None:
            self._statements.put(text, known)
        return ran

    def _keys(self, table: str) -> list[str]:
        """The columns that tell the rows of a table apart, quoted."""
        connection = self._host.opened().connection
        found = connection.execute(_WITHOUT_ROWID, (table,)).fetchone()
        if found is None:
            return []
        if found[0]:
            return [_quoted(row[0]) for row in connection.execute(_KEYS, (table,))]
        columns = {str(row[0]).lower() for row in connection.execute(_COLUMNS, (table,))}
        return next(([name] for name in ("rowid", "_rowid_", "oid") if name not in columns), [])

    # ------------------------------------------------------------------ pragmas
    def _remember(self, connection: apsw.Connection, name: str, value: str) -> None:
        if name == "foreign_keys":  # inside a transaction it stays as it was
            value = str(connection.pragma(name))
        if name != "defer_foreign_keys":  # ends with each commit
            self._pragmas[name] = value

    def set_pragmas(self, connection: apsw.Connection) -> None:
        """Give a connection that was opened what the program has set before."""
        for name, value in self._pragmas.items():
            connection.execute(f"pragma {name}={value}")
