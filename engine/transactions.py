"""`transaction()` and `transactionSync()`: savepoints inside the one transaction that SQLite has (spec: transactions and gates).

What always holds: the open transactions form a stack and only the innermost can be ended or rolled back; what a unit wrote is
kept whole or not at all; a transaction that fails leaves the object alive, a critical error of SQLite does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

import apsw

from .blocking import Unbroken
from .errors import StorageError
from .interruption import entry

if TYPE_CHECKING:
    from types import FunctionType

    from .object_storage import ObjectStorage
    from .storage import Done, DurableObjectStorage
    from .values import JsDict

T = TypeVar("T")
_UNBROKEN = Unbroken()
_AFTER_CRITICAL = "Cannot start or end a transaction due to an earlier SQL critical error"
_ROLLED_BACK = "SQL cursor was canceled because its transaction was rolled back."


class Savepoints:
    """The nested units of one object's open transaction."""

    __slots__ = ("_made", "_storage", "nested", "open")

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._made = 0
        self.open: list[Transaction] = []
        """The `transaction()`s that run, the innermost last."""
        self.nested = 0
        """The `transactionSync()`s that run."""

    def begin(self) -> str:
        """Begin a unit inside the turn's or the transaction's own transaction; its name."""
        storage = self._storage
        database = storage.begin_exclusive()
        self._made += 1
        name = f"_cf_s{self._made}"
        try:
            database.connection.execute(f"savepoint {name}")
        except apsw.Error as error:
            storage.fail(error)
        return name

    def keep(self, name: str) -> None:
        """The unit has ended; what it wrote belongs to the one around it."""
        self._execute(f"release {name}")

    def undo(self, name: str) -> None:
        """Undo what was written since the unit began. It goes on."""
        storage = self._storage
        storage.sql.cancel_cursors(_ROLLED_BACK)
        self._execute(f"rollback to {name}")
        storage.kv.forget()

    def _execute(self, statement: str) -> None:
        connection = self._storage.connection()
        if connection is None or not connection.in_transaction:  # SQLite rolled back by itself: the object is broken
            return
        try:
            connection.execute(statement)
        except apsw.Error as error:
            self._storage.fail(error)

    def clear(self) -> None:
        """The whole transaction was rolled back, and every unit with it."""
        self.open.clear()
        self.nested = 0


def run_sync(storage: ObjectStorage, body: Callable[[], T]) -> T:
    """`transactionSync`: the body's value; what it wrote is undone if it raises."""
    if storage.failure is not None:
        raise StorageError(_AFTER_CRITICAL)
    savepoints = storage.savepoints
    name = savepoints.begin()
    savepoints.nested += 1
    try:
        with _UNBROKEN:
            value = body()
    except BaseException:
        savepoints.nested = max(savepoints.nested - 1, 0)
        if storage.failure is None:
            savepoints.undo(name)
            savepoints.keep(name)
        raise
    savepoints.nested = max(savepoints.nested - 1, 0)
    if storage.failure is not None:
        raise StorageError(f"{_AFTER_CRITICAL}: {storage.failure.message}")
    savepoints.keep(name)
    return value


async def run_transaction(storage: ObjectStorage, body: Callable[[Transaction], Awaitable[T]]) -> T:
    """`transaction`, to be run as a critical section: the body's value; what it wrote is undone if it raises."""
    transaction = Transaction(storage)
    try:
        result = body(transaction)
        value = cast("T", await result if hasattr(result, "__await__") else result)
    except GeneratorExit:  # the object is gone, and the transaction with it
        raise
    except BaseException:
        await storage.host.inner_sections_ended()
        transaction.end(commit=False)
        raise
    await storage.host.inner_sections_ended()
    transaction.end(commit=True)
    return value


entry(cast("FunctionType", run_sync))
entry(cast("FunctionType", run_transaction))


class Transaction:
    """`txn` inside `transaction()`: the same operations, and `rollback`."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._rolled_back = False
        self._ended = False
        if not storage.savepoints.open:
            storage.open_transaction()
        else:
            storage.depth += 1
        storage.savepoints.open.append(self)
        self._name = storage.savepoints.begin()

    def end(self, *, commit: bool) -> None:
        """Close it. Raises StorageError when the outermost one's commit fails; then all of it is undone."""
        self._ended = True
        storage = self._storage
        savepoints = storage.savepoints
        if storage.failure is not None or self not in savepoints.open:
            return
        savepoints.open.pop()
        if not commit:
            self._undo()
        savepoints.keep(self._name)
        if savepoints.open:
            storage.depth -= 1
        else:
            storage.close_transaction()

    def _check(self, operation: str) -> DurableObjectStorage:
        if self._rolled_back:
            raise StorageError(f"Cannot {operation}() on rolled back transaction")
        if self._ended:
            raise StorageError(
                f"Cannot call {operation}() on transaction that has already committed: did you move `txn` outside of "
                f"the closure?"
            )
        return self._storage.api

    def get(self, key: str | list[str], options: object = None, **more: object) -> Done[object]:
        return self._check("get").get(key, options, **more)

    def put(self, key: str | dict[str, object], *args: object, **more: object) -> Done[None]:
        return self._check("put").put(key, *args, **more)

    def delete(self, key: str | list[str], options: object = None, **more: object) -> Done[bool | int]:
        return self._check("delete").delete(key, options, **more)

    def list(self, options: object = None, **more: object) -> Done[JsDict]:
        return self._check("list").list(options, **more)

    def getAlarm(self, options: object = None, **more: object) -> Done[int | None]:
        return self._check("getAlarm").getAlarm(options, **more)

    def setAlarm(self, when: object, options: object = None, **more: object) -> Done[None]:
        return self._check("setAlarm").setAlarm(when, options, **more)

    def deleteAlarm(self, options: object = None, **more: object) -> Done[None]:
        return self._check("deleteAlarm").deleteAlarm(options, **more)

    def deleteAll(self, options: object = None, **more: object) -> Done[None]:
        raise StorageError("Cannot call deleteAll() within a transaction")

    def rollback(self) -> None:
        """Undo what the transaction wrote, now. May be called again; its operations fail afterwards."""
        if self._rolled_back:
            return
        self._check("rollback")
        storage = self._storage
        storage.enter()
        savepoints = storage.savepoints
        if savepoints.open[-1:] != [self] or savepoints.nested:
            raise StorageError("Cannot roll back an outer transaction while a nested transaction is still running.")
        self._undo()
        self._rolled_back = True

    def _undo(self) -> None:
        storage = self._storage
        storage.savepoints.undo(self._name)
        if storage.depth == 1:
            storage.wrote_nothing()

    get_alarm = getAlarm
    set_alarm = setAlarm
    delete_alarm = deleteAlarm
    delete_all = deleteAll
