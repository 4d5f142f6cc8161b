"""How a connection to an object's database is opened, what it lets a program do, and SQLite's errors in our words.

What always holds: a program's statement is prepared under the authorizer and runs against a bound on time, the runtime's own
statements under neither; SQLite's limits are those of `Limits`.
"""

from __future__ import annotations

import re
from typing import cast

import apsw

from .authorizer import MODULES_KEPT, PRAGMAS_BOOLEAN, is_allowed
from .clock import Clock
from .errors import PerdureError, StatementTooLong, StorageError, StorageFull
from .limits import Limits

MARK = "/**/"
"""Begins a program's text when it is given to SQLite: so the cache of prepared statements, which goes by text, never gives one
that was prepared for the runtime, without the authorizer, to a program."""
_CACHE_KIB = 32
_STATEMENTS_KEPT = 64  # prepared ones, about 5 KiB each: only a program with as many different texts has as many
_OPERATIONS_BETWEEN_LOOKS = 100_000  # about a millisecond
_PAGE = 4096
_CRITICAL = (apsw.FullError, apsw.IOError, apsw.NoMemError, apsw.CorruptError, apsw.NotADBError, apsw.InterruptError)
_SCHEMA = frozenset(
    {
        value
        for name, value in vars(apsw).items()
        if re.match("SQLITE_(CREATE|DROP)_[A-Z_]+$|SQLITE_(ALTER_TABLE|REINDEX|ANALYZE|PRAGMA)$", name)
    }
)
"""Actions after which what is known of other statements may be wrong."""


class Guard:
    """Watches over a program's statement while it is prepared and runs: what it may do, and for how long.

    `began_s`: None while the runtime's own SQL runs; 0.0 when a program's is let loose; then the time of the first look.
    """

    __slots__ = ("_clock", "altering", "began_s", "bound_s", "functions", "pragma", "refused", "schema")

    def __init__(self, bound_ms: int, clock: Clock) -> None:
        self._clock = clock
        self.bound_s = bound_ms / 1000
        self.began_s: float | None = None
        self.schema = False
        """The statement may change the schema or what statements mean."""
        self.altering = False
        """It is an ALTER TABLE."""
        self.pragma: tuple[str, str] | None = None
        """It sets a boolean pragma: name and value."""
        self.refused: int | None = None
        """The action that it may not do."""
        self.functions: frozenset[str] = frozenset()
        """Names, in lower case, of functions in Python that were given to the connection for the program."""

    def watch(self) -> None:
        """A program's statement that nothing is known of is prepared next."""
        self.schema = self.altering = False
        self.pragma = self.refused = None
        self.began_s = 0.0

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, _trigger: str | None
    ) -> int:
        """SQLite's authorizer callback."""
        if self.began_s is None:
            return apsw.SQLITE_OK
        if action in _SCHEMA:
            self.schema = True
            self.altering = self.altering or action == apsw.SQLITE_ALTER_TABLE
        if not is_allowed(action, first, second, database, self.altering) and not (
            action == apsw.SQLITE_FUNCTION and (second or "").lower() in self.functions
        ):
            self.refused = action
            return apsw.SQLITE_DENY
        if action == apsw.SQLITE_PRAGMA and second is not None and (first or "").lower() in PRAGMAS_BOOLEAN:
            self.pragma = ((first or "").lower(), second.strip("'\""))
        return apsw.SQLITE_OK

    def overtime(self) -> bool:
        """SQLite's progress handler: whether to interrupt."""
        began_s = self.began_s
        if began_s is None:
            return False
        now_s = self._clock.monotonic_s()
        if not began_s:
            self.began_s = now_s
            return False
        return now_s - began_s > self.bound_s


def _bounds(limits: Limits) -> tuple[tuple[int, int], ...]:
    return (
        (apsw.SQLITE_LIMIT_LENGTH, limits.sql_row_bytes_max),
        (apsw.SQLITE_LIMIT_SQL_LENGTH, limits.sql_statement_bytes_max + len(MARK)),
        (apsw.SQLITE_LIMIT_COLUMN, limits.sql_columns_max),
        (apsw.SQLITE_LIMIT_EXPR_DEPTH, limits.sql_expression_depth_max),
        (apsw.SQLITE_LIMIT_COMPOUND_SELECT, limits.sql_compound_terms_max),
        (apsw.SQLITE_LIMIT_VDBE_OP, limits.sql_operations_max),
        (apsw.SQLITE_LIMIT_FUNCTION_ARG, limits.sql_function_arguments_max),
        (apsw.SQLITE_LIMIT_ATTACHED, 0),
        (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.sql_pattern_bytes_max),
        (apsw.SQLITE_LIMIT_VARIABLE_NUMBER, limits.sql_parameters_max),
        (apsw.SQLITE_LIMIT_TRIGGER_DEPTH, limits.sql_trigger_depth_max),
    )


def open_connection(path: str, vfs: str, guard: Guard, limits: Limits) -> apsw.Connection:
    """A connection to the file at `path` (which exists), bounded and guarded. Raises apsw.Error."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX
    connection = apsw.Connection(path, flags=flags, vfs=vfs or None, statementcachesize=_STATEMENTS_KEPT)
    # The order matters: EXCLUSIVE before any read, or a -shm appears.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute(
        "pragma locking_mode=exclusive;pragma synchronous=off;pragma wal_autocheckpoint=0;"
        f"pragma cache_size=-{_CACHE_KIB};pragma foreign_keys=on;pragma temp_store=memory;"
        f"pragma max_page_count={max(limits.object_bytes_max // _PAGE, 1)}"
    ).fetchall()
    connection.release_memory()  # SQLite has allocated 20 pages at once, before it knew how small the cache is
    for what, bound in _bounds(limits):
        connection.limit(what, bound)
    connection.drop_modules(MODULES_KEPT)
    connection.set_progress_handler(guard.overtime, _OPERATIONS_BETWEEN_LOOKS)
    connection.authorizer = guard.authorize
    return connection


def describe(error: apsw.Error) -> str:
    """SQLite's words, the offset if it knows one, and the code's name (spec: storage-sql, failures)."""
    code = cast("int", getattr(error, "result", 1)) & 0xFF
    name = apsw.mapping_result_codes.get(code, "SQLITE_ERROR")
    offset = getattr(error, "error_offset", -1)
    where = f" at offset {max(offset - len(MARK), 0)}" if isinstance(offset, int) and offset >= 0 else ""
    found = cast("int", getattr(error, "extendedresult", code))
    extended = apsw.mapping_extended_result_codes.get(found, "")
    more = f" (extended: {extended})" if extended and found != code else ""
    text = str(error).removeprefix("SQL logic error: ")
    return f"{text}{where}: {name}{more}"


def translate(error: apsw.Error, limits: Limits | None = None) -> PerdureError:
    """The typed error for what SQLite raised."""
    if isinstance(error, apsw.FullError):
        return StorageFull(
            "database or disk is full: SQLITE_FULL",
            hint="free space on the disk of the data folder, or raise object_bytes_max if the object has outgrown it",
        )
    if isinstance(error, apsw.TooBigError):
        text = str(error) if "too" in str(error) else "string or blob too big"
        return StorageError(f"{text}: SQLITE_TOOBIG")
    if isinstance(error, apsw.InterruptError) and limits is not None:
        return StatementTooLong(
            f"SQL statement ran for more than {limits.statement_cpu_ms_max} ms (statement_cpu_ms_max): "
            "interrupted: SQLITE_INTERRUPT",
            hint="add an index, work in smaller pieces, or raise statement_cpu_ms_max",
        )
    return StorageError(describe(error))


def is_critical(error: apsw.Error) -> bool:
    """Whether it breaks the object: the automatic rollback leaves nothing to go on with."""
    return isinstance(error, _CRITICAL)
