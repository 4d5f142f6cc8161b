"""The machine behind `ctx.storage`: one object's cache, database, implicit transaction and captures.

What always holds: nothing is opened before it is needed and no file exists before the first write; the turn's transaction
is committed at its end, never in its middle; a turn that used only get, put and delete shares its commit with others, one
that used SQL or deleteAll has its own, and each can be undone alone.
"""

from __future__ import annotations

import errno
from typing import NoReturn

import apsw

from .alarms import StoredAlarm
from .answers import Answers
from .bookmarks import Position
from .connections import is_critical, translate
from .database import PAGE, Database, Files
from .errors import PerdureError, StorageError, StorageFull
from .kv import KeyValues
from .record import Record
from .sql import Sql
from .storage import DurableObjectStorage
from .tally import Tally
from .transactions import Savepoints
from .turnhost import TurnHost
from .wiping import drop_everything, is_empty, overwrite_free_pages


class ObjectStorage:
    """Implements StorageBackend for the instance, KeyValueHost and SqlHost for the parts."""

    def __init__(
        self, host: TurnHost, files: Files, *, has_sql: bool = True, delete_all_deletes_alarm: bool = True
    ) -> None:
        self.host = host
        self.has_sql = has_sql
        self.delete_all_deletes_alarm = delete_all_deletes_alarm
        self.limits = host.limits
        self.may_write = host.may_write
        self.meters = host.meters
        self.tally = Tally(host.meters, rows=has_sql)
        self.failure: PerdureError | None = None
        self.writing = False
        """The running turn has its own transaction and has written SQL: implies both of the instance's marks for that."""
        self.kv = KeyValues(self)
        self.sql = Sql(self)
        self.alarm = StoredAlarm(self)
        self.savepoints = Savepoints(self)
        self.depth = 0
        """Open `transaction()`s: their writes are nobody's turn until the outermost commits."""
        self.socket_note: object = None
        self._files = files
        self._database: Database | None = None
        self._absent: bool | None = None
        self._generation = 1
        self._answers: Answers | None = None
        self._wiped = False
        """A deleteAll() has left a hidden row that says so: when the database is closed it may be empty."""
        self._empty_at: int | None = None
        """The change at which the closed database was found empty."""
        self._exclusive = False
        self._wrote: bool | None = None
        """Inside `transaction()`: whether it has written, True when somebody waits for it to be durable."""
        self._durable_change = 0
        self.api = DurableObjectStorage(self)

    def answers(self) -> Answers:
        """What the object answered to calls with idempotency keys."""
        if self._answers is None:
            self._answers = Answers(self, self.limits, self.host.clock)
        return self._answers

    # ------------------------------------------------------------------ opening
    def opened(self) -> Database:
        """The database, opened or made. Raises PerdureError when it cannot be."""
        database = self._database
        if database is not None:
            return database
        if self.failure is not None:  # it may be another process's by now
            raise self.failure
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
        self._empty_at = None
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

    @property
    def generation(self) -> int:
        """Of the open database's file."""
        return self._generation

    def connection(self) -> apsw.Connection | None:
        """The connection, if the database is open."""
        return None if self._database is None else self._database.connection

    def enter(self) -> None:
        self.host.enter_storage()
        if self.failure is not None:
            raise self.failure

    # ------------------------------------------------------------------ turns
    def begin_exclusive(self) -> Database:
        """The turn gets a transaction of its own; commits of turns before it are made first."""
        database = self.opened()
        if not self._exclusive and not self.depth:
            self._begin(database)
            self.host.wrote(unconfirmed=True)  # whatever it does, its end must end the transaction
        return database

    def _begin(self, database: Database) -> None:
        try:
            self.kv.flush_ended(database)
            database.connection.execute("begin")
            self._exclusive = True
            self.kv.flush_turn(database)
        except apsw.Error as error:
            self.critical(translate(error))
            raise translate(error) from error

    def wrote_kv(self, unconfirmed: bool = False) -> None:
        if self.depth:
            self._wrote = self._wrote or not unconfirmed
        else:
            self.host.wrote(unconfirmed)

    def wrote_sql(self) -> None:
        self.wrote_kv()
        if not self.depth:
            self.writing = self._exclusive

    def wrote_nothing(self) -> None:
        """All that the outermost `transaction()` wrote so far was undone."""
        self._wrote = None

    def has_pending_keys(self) -> bool:
        return bool(self.kv.undo)

    def critical(self, error: PerdureError) -> None:
        """SQLite cannot go on: every later operation fails with `error`, and so do all callers of the object."""
        if self.failure is None:
            self.failure = error
        self.host.break_object(error)

    def fail(self, error: apsw.Error) -> NoReturn:
        """Raise the typed error; a critical one breaks the object too."""
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
        try:
            self._commit_in_sqlite()
        except apsw.ConstraintError as error:
            raise StorageError(
                "Durable Object was reset and rolled back to its last known good state because the application left "
                f"the database in a state where constraints were violated: {translate(error).message}",
                reset=True,
            ) from error
        except apsw.Error as error:
            raise translate(error) from error

    def _commit_in_sqlite(self) -> None:
        """Raises apsw.Error; then the transaction is rolled back."""
        database = self.opened()
        self.sql.detach_cursors()
        try:
            database.connection.execute("commit")
        except apsw.Error:
            self._rollback(database)
            raise
        self._exclusive = self.writing = False
        self.kv.through = None
        self.alarm.committed()

    def _rollback(self, database: Database) -> None:
        if database.connection.in_transaction:
            self.sql.cancel_cursors("SQL cursor was canceled because its transaction was rolled back.")
            database.connection.execute("rollback")
        self._exclusive = self.writing = False
        self.depth = 0
        self._wrote = None
        self.savepoints.clear()
        self.alarm.rolled_back()
        self.kv.through = None
        self.kv.undo = {}
        self.kv.forget()

    def abort_turn(self) -> None:
        if self._exclusive or self.depth:
            if self._database is not None:
                self._rollback(self._database)
        else:
            self.kv.undo_turn()

    def open_transaction(self) -> None:
        """Begin the outermost `transaction()`: what the turn wrote is committed first, SQLite's transaction is then its."""
        self.host.commit_turn()
        self._begin(self.opened())
        self._exclusive = self.writing = False
        self._wrote = None
        self.depth = 1

    def close_transaction(self) -> None:
        """Commit the outermost `transaction()`. Raises StorageError when that fails; the object lives on."""
        wrote, self._wrote = self._wrote, None
        self.depth = 0
        self._exclusive = True
        if wrote is None:  # a commit would write pages that nobody waits for
            self.sql.detach_cursors()
            self._rollback(self.opened())
            return
        try:
            self._commit_in_sqlite()
        except apsw.Error as error:
            self.fail(error)
        self.host.wrote(unconfirmed=not wrote)
        self.host.commit_turn()

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
            database.change if capture.part >= 0 else database.change + 1,
            capture.size_pages,
            capture.part,
            capture.pages,
            self.alarm.take() if capture.part >= 0 else None,
            host.clock.now_ms(),
            database.uncaptured(),
        )

    def committed(self, change: int) -> None:
        self._durable_change = max(self._durable_change, change)
        if self._database is not None:
            self._database.publish()

    def wal_bytes(self) -> int:
        return 0 if self._database is None else self._database.wal_bytes()

    def before_checkpoint(self) -> None:
        self.sql.detach_cursors()

    def checkpoint(self) -> int:
        if self._database is None:
            return self._durable_change
        if not self._files.may_fold(self.host.object_id):
            return self._database.complete
        return self._database.checkpoint()

    def may_close(self) -> bool:
        return self._database is None or self._files.may_fold(self.host.object_id)

    def is_open(self) -> bool:
        return self._database is not None

    def in_transaction(self) -> bool:
        return self._exclusive or self.depth > 0

    # ------------------------------------------------------------------ the past
    def position(self) -> Position:
        """Of the newest commit. Only when everything is durable."""
        database = self.reading()
        if database is None:
            return Position(self._files.generation(self.host.key, self.host.object_id), 0)
        return Position(self._generation, database.change)

    def request_restore(self, position: Position) -> Position | None:
        """Commit the wish, apart from the turn: `abort()` after it must not undo it. What was wished for before."""
        before = self._wished_for()
        self._wish_for(position)
        return before

    def take_restore_back(self, position: Position, before: Position | None) -> None:
        """Unless something else is wished for meanwhile, wish again for what was before."""
        if self._wished_for() == position:
            self._wish_for(before)

    def _wished_for(self) -> Position | None:
        return _position(self._notes())

    def _notes(self) -> dict[str, object]:
        """What the runtime has noted in the object's own database for its next instance."""
        database = self.reading()
        if database is None:
            return {}
        try:
            found = database.connection.execute(_NOTES).fetchall()
        except apsw.Error as error:
            self.fail(error)
        return {str(key): value for key, value in found}

    def _wish_for(self, position: Position | None) -> None:
        self.host.commit_turn()
        database = self.begin_exclusive()
        try:
            if position is None:
                database.connection.execute("delete from _cf_METADATA where key = 'restore'")
            else:
                text = f"{position.generation}.{position.change}"
                database.connection.execute("insert or replace into _cf_METADATA values('restore', ?)", (text,))
        except apsw.Error as error:
            self.fail(error)
        self.host.wrote()
        self.host.commit_turn()

    def pending_restore(self) -> Position | None:
        notes = self._notes()
        self._wiped = "wiped" in notes
        self.socket_note = notes.get("sockets")
        return _position(notes)

    def give_up_restore(self) -> None:
        self._wish_for(None)

    def refuse(self, error: PerdureError) -> None:
        self.failure = error

    def release(self) -> None:
        database, self._database = self._database, None
        host = self.host
        if database is None:
            if self._empty_at is not None:
                self._files.emptied(host.key, host.object_id, self._empty_at)
            return
        self.sql.detach_cursors()
        change, failure, empty = 0, None, False
        try:
            empty = self._wiped and database.linked and is_empty(database.connection)
            if folds := self._files.may_fold(host.object_id):
                change = database.checkpoint()
        except apsw.Error as error:
            folds, failure = False, translate(error)
        except PerdureError as error:
            folds, failure = False, error
        finally:
            self.sql.closed()
            database.close()
        self._absent = not database.linked
        self._files.closed(host.object_id, change)
        if not folds:  # somebody copies the main file, or it has no room: what it lacks is in the log alone
            self._files.rebuild(host.key, host.object_id)
        if failure is not None and not isinstance(failure, StorageFull):
            raise failure
        if empty and folds:
            self._empty_at = change
            self._files.emptied(host.key, host.object_id, change)

    def discard(self) -> None:
        database, self._database = self._database, None
        self.sql.cancel_cursors("SQL cursor was canceled because the object was reset.", kept=True)
        if database is not None:
            self.sql.closed()
            database.close()
            self._files.closed(self.host.object_id, 0)
        self._files.rebuild(self.host.key, self.host.object_id)

    # ------------------------------------------------------------------ deleteAll
    def wipe(self) -> None:
        """deleteAll: what the turn wrote is rolled back, every table dropped, every key removed, as one commit.

        What they held is overwritten, also in pages that were free before, unless that is too much for one commit.
        """
        self.sql.cancel_cursors("SQLite query was canceled because the database was deleted.", kept=True)
        self.abort_turn()
        if self.reading() is None and not self.kv.dirty:
            self.tally.wiped(0)
            return
        database = self.begin_exclusive()
        connection = database.connection
        try:
            if database.size_pages() * PAGE <= self.limits.delete_all_overwrite_bytes_max:
                connection.execute("pragma secure_delete=on").fetchall()
                overwrite_free_pages(connection)
            drop_everything(connection)
            connection.execute("delete from _cf_KV")
            connection.execute("drop table if exists _cf_ANSWERS")
            self.tally.wiped(connection.changes())
            connection.execute("insert or replace into _cf_METADATA values('wiped', 1)")
            connection.execute("pragma secure_delete=off").fetchall()
        except apsw.Error as error:
            self.fail(error)
        self._wiped = True
        if self._answers is not None:
            self._answers.wiped()
        if self.delete_all_deletes_alarm:
            self.alarm.set(None)
        self.kv.forget()
        self.wrote_sql()


_NOTES = "select key, value from _cf_METADATA where key in ('restore', 'wiped', 'sockets')"


def _position(notes: dict[str, object]) -> Position | None:
    """The point that a note asks for."""
    if "restore" not in notes:
        return None
    generation, change = str(notes["restore"]).split(".")
    return Position(int(generation), int(change))
