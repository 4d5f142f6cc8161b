"""The machine behind `ctx.storage`: one object's cache, database, implicit transaction and captures.

What always holds: nothing is opened before it is needed and no file exists before the first write; the turn's transaction
is committed at its end, never in its middle; a turn that used only get, put and delete shares its commit with others, one
that used SQL or deleteAll has its own, and each can be undone alone.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import NoReturn

import apsw

from .connections import is_critical, translate
from .database import Database, Files
from .errors import PerdureError, StorageError, StorageFull
from .kv import KeyValues
from .sql import Sql
from .storage import DurableObjectStorage
from .turnhost import TurnHost


@dataclass(slots=True)
class Record:
    """One object's part of a batch: implements commits.CommitRecord."""

    object_id: bytes
    class_key: str
    name: str | None
    generation: int
    change: int
    size_pages: int
    pages: dict[int, bytes]
    alarm_ms: int | None
    time_ms: int


class ObjectStorage:
    """Implements StorageBackend for the instance, KeyValueHost and SqlHost for the parts."""

    def __init__(self, host: TurnHost, files: Files, *, has_sql: bool = True) -> None:
        self.host = host
        self.has_sql = has_sql
        self.limits = host.limits
        self.meters = host.meters
        self.failure: PerdureError | None = None
        self.writing = False
        """The running turn has its own transaction and has written SQL: implies both of the instance's marks for that."""
        self.kv = KeyValues(self)
        self.sql = Sql(self)
        self.depth = 0
        """Open `transaction()`s: their writes are nobody's turn until the outermost commits."""
        self._savepoints = 0
        self._files = files
        self._database: Database | None = None
        self._absent: bool | None = None
        self._generation = 1
        self._exclusive = False
        self._unconfirmed = False
        self._durable_change = 0
        self.api = DurableObjectStorage(self)

    # ------------------------------------------------------------------ opening
    def opened(self) -> Database:
        """The database, opened or made. Raises PerdureError when it cannot be."""
        database = self._database
        if database is not None:
            return database
        host = self.host
        located = self._files.locate(host.key, host.object_id)
        try:
            database = Database(host.disk, located, self.limits, host.clock)
        except OSError as error:
            self._files.closed(host.object_id, located.change)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("the disk of the data folder is full", hint="free space there") from error
            raise StorageError(f"cannot open the database: {error.strerror}") from error
        except BaseException:
            self._files.closed(host.object_id, located.change)
            raise
        self._generation = located.generation
        self._absent = not located.exists
        self._durable_change = located.change
        self._database = database
        self.sql.reopened(database)
        return database

    def reading(self) -> Database | None:
        """The database if there is a file to read."""
        if self._database is not None:
            return self._database
        if self._absent:
            return None
        if self._absent is None and not self._files.exists(self.host.key, self.host.object_id):
            self._absent = True
            return None
        return self.opened()

    def enter(self) -> None:
        self.host.enter_storage()
        if self.failure is not None:
            raise self.failure

    # ------------------------------------------------------------------ turns
    def begin_exclusive(self) -> Database:
        """The turn gets a transaction of its own; commits of turns before it are made first."""
        database = self.opened()
        if self._exclusive or self.depth:
            return database
        try:
            self.kv.flush_ended(database)
            database.connection.execute("begin")
            self._exclusive = True
            self.kv.flush_turn(database)
        except apsw.Error as error:
            self._raise(error)
        return database

    def wrote_kv(self) -> None:
        if not self.depth:
            self.host.wrote(self._unconfirmed)

    def wrote_sql(self) -> None:
        if not self.depth:
            self.host.wrote()
            self.writing = self._exclusive

    def has_pending_keys(self) -> bool:
        return bool(self.kv.undo)

    def critical(self, error: PerdureError) -> None:
        self.failure = error
        self.host.break_object(error)

    def _raise(self, error: apsw.Error) -> NoReturn:
        typed = translate(error)
        if is_critical(error):
            self.critical(typed)
        raise typed from error

    def end_turn(self) -> None:
        """Commit the turn's own transaction, or leave its keys to be shared. Raises StorageError when that fails."""
        self.kv.turn_ended()
        if self._exclusive and not self.depth:
            self._commit()

    def _commit(self) -> None:
        database = self.opened()
        self.sql.detach_cursors()
        try:
            database.connection.execute("commit")
        except apsw.ConstraintError as error:
            self._rollback(database)
            raise StorageError(
                "Durable Object was reset and rolled back to its last known good state because the application left "
                f"the database in a state where constraints were violated: {translate(error).message}",
                reset=True,
            ) from error
        except apsw.Error as error:
            self._rollback(database)
            raise translate(error) from error
        self._exclusive = self.writing = False
        self.kv.through = None

    def _rollback(self, database: Database) -> None:
        if database.connection.in_transaction:
            self.sql.cancel_cursors("SQL cursor was canceled because its transaction was rolled back.")
            database.connection.execute("rollback")
        self._exclusive = self.writing = False
        self.depth = 0
        self.kv.through = None
        self.kv.undo = {}
        self.kv.forget()

    def abort_turn(self) -> None:
        if self._exclusive or self.depth:
            if self._database is not None:
                self._rollback(self._database)
        else:
            self.kv.undo_turn()

    # ------------------------------------------------------------------ commits
    def capture(self) -> Record | None:
        database = self._database
        if database is None or not (self._exclusive or self.depth):
            if self.kv.dirty:
                database = self.opened()
                try:
                    self.kv.flush_ended(database)
                except apsw.Error as error:
                    raise translate(error) from error
            elif database is None:
                return None
        database.make_place()
        capture = database.capture()
        if capture is None:
            return None
        self._absent = False
        host = self.host
        return Record(
            host.object_id,
            host.key.unique,
            host.name,
            self._generation,
            database.change,
            capture.size_pages,
            capture.pages,
            None,
            host.clock.now_ms(),
        )

    def committed(self, change: int) -> None:
        self._durable_change = max(self._durable_change, change)
        if self._database is not None:
            self._database.publish()

    def wal_bytes(self) -> int:
        return 0 if self._database is None else self._database.wal_bytes()

    def checkpoint(self) -> int:
        if self._database is None:
            return self._durable_change
        self.sql.detach_cursors()
        return self._database.checkpoint()

    def is_open(self) -> bool:
        return self._database is not None

    def release(self) -> None:
        database, self._database = self._database, None
        if database is None:
            return
        self.sql.detach_cursors()
        try:
            change = database.checkpoint()
        finally:
            self.sql.closed()
            database.close()
        self._absent = not database.linked
        self._files.closed(self.host.object_id, change)

    def discard(self) -> None:
        database, self._database = self._database, None
        self.sql.cancel_cursors("SQL cursor was canceled because the object was reset.", kept=True)
        if database is not None:
            self.sql.closed()
            database.close()
            self._files.closed(self.host.object_id, 0)
        self._files.rebuild(self.host.key, self.host.object_id)

    # ------------------------------------------------------------------ transactions
    def savepoint(self) -> str:
        """Begin a nested unit inside the turn's or the transaction's own transaction."""
        database = self.begin_exclusive()
        self._savepoints += 1
        name = f"_cf_s{self._savepoints}"
        database.connection.execute(f"savepoint {name}")
        return name

    def release_savepoint(self, name: str) -> None:
        if self._database is not None and self._database.connection.in_transaction:
            self._database.connection.execute(f"release {name}")

    def rollback_savepoint(self, name: str) -> None:
        """Undo what the unit wrote."""
        database = self._database
        if database is None or not database.connection.in_transaction:
            return
        self.sql.cancel_cursors("SQL cursor was canceled because its transaction was rolled back.")
        database.connection.execute(f"rollback to {name}")
        database.connection.execute(f"release {name}")
        self.kv.forget()

    def begin_transaction(self) -> str | None:
        """Open a `transaction()`: the outermost gets SQLite's transaction, an inner one a savepoint."""
        if self.depth == 0:
            self.host.commit_turn()
            if self._exclusive:  # reads of SQL had begun it
                self._commit()
            database = self.begin_exclusive()
            self._exclusive = self.writing = False
            self.kv.through = database
            self.depth = 1
            return None
        name = self.savepoint()
        self.depth += 1
        return name

    def end_transaction(self, name: str | None, commit: bool) -> None:
        """Close the innermost `transaction()`."""
        if self.failure is not None or self.depth == 0:
            return
        if name is not None:
            self.depth -= 1
            if commit:
                self.release_savepoint(name)
            else:
                self.rollback_savepoint(name)
            return
        self.depth = 0
        if commit:
            self._exclusive = True
            self.host.wrote()
        elif self._database is not None:
            self._rollback(self._database)

    def wipe(self, preserve_alarm: bool) -> None:
        """deleteAll: what the turn wrote is rolled back, every table dropped, every key removed, as one commit."""
        self.sql.cancel_cursors("SQL cursor was canceled because the database was deleted.", kept=True)
        self.abort_turn()
        if self.reading() is None and not self.kv.dirty:
            return
        database = self.begin_exclusive()
        connection = database.connection
        try:
            _drop_everything(connection)
            connection.execute("delete from _cf_KV")
            if not preserve_alarm:
                connection.execute("delete from _cf_METADATA")
        except apsw.Error as error:
            self._raise(error)
        self.kv.forget()
        self.wrote_sql()


def _drop_everything(connection: apsw.Connection) -> None:
    connection.execute("pragma defer_foreign_keys=on")
    query = (
        "select type, name from sqlite_schema where name not like 'sqlite\\_%' escape '\\' "
        "and name not like '\\_cf\\_%' escape '\\' and type in ('table', 'view') "
        "order by sql like 'create virtual%' desc"
    )
    while row := connection.execute(query).fetchone():
        name = str(row[1]).replace('"', '""')
        connection.execute(f'drop {row[0]} "{name}"')
