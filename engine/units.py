"""A unit of writes whose code is no function: begun, then kept or undone, as `transactionSync` does for a function.

What always holds: units end innermost first, in the turn that began them; what was written in one that is undone is gone, with
all that is nested in it. A turn that ends meanwhile keeps what was written: ending the unit raises then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw

from .errors import ProgramBug

if TYPE_CHECKING:
    from .storage import DurableObjectStorage

_CANCELED = "SQL cursor was canceled because its transaction was rolled back."


class Unit:
    """Begins when it is made. Raises StorageError when the object's storage has failed."""

    __slots__ = ("_name", "_storage")

    def __init__(self, storage: DurableObjectStorage) -> None:
        own = storage._storage
        own.enter()
        self._storage = own
        self._name = own.savepoints.begin()
        own.savepoints.nested += 1

    def keep(self) -> None:
        """What it wrote belongs to the unit or turn around it. Raises ProgramBug when its turn has ended."""
        self._end(f"release {self._name}")

    def undo(self) -> None:
        """What was written since it began is undone. Raises ProgramBug when its turn has ended."""
        self._storage.sql.cancel_cursors(_CANCELED)
        self._end(f"rollback to {self._name}; release {self._name}")
        self._storage.kv.forget()

    def _end(self, statements: str) -> None:
        storage = self._storage
        storage.enter()
        storage.savepoints.nested = max(storage.savepoints.nested - 1, 0)
        connection = storage.connection()
        if connection is None or not connection.in_transaction:
            raise _too_late()
        try:
            connection.execute(statements)
        except apsw.SQLError as error:  # there is no such savepoint: another turn's transaction is open
            raise _too_late() from error
        except apsw.Error as error:
            storage.fail(error)


def _too_late() -> ProgramBug:
    return ProgramBug(
        "the turn has ended inside a unit: what it wrote until then is kept",
        hint="begin and end it without an await or run_sync between",
    )
