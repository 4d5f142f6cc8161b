"""The seam between the turns of an object and its storage, as two protocols.

What always holds: storage is used by the running turn of its own object or by nobody; the implicit transaction of a turn
commits when the turn ends, never in its middle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from .alarms import StoredAlarm
from .answers import Answers
from .bookmarks import History, Position
from .clock import Clock
from .commits import CommitRecord
from .disk import Disk
from .errors import PerdureError
from .ids import ClassKey
from .limits import Limits
from .meters import Meters

if TYPE_CHECKING:
    from .turns import Turns

T = TypeVar("T")


class TurnHost(Protocol):
    """What storage asks of the resident object that it belongs to."""

    key: ClassKey
    object_id: bytes
    name: str | None
    clock: Clock
    disk: Disk
    limits: Limits
    meters: Meters
    turns: Turns

    def enter_storage(self) -> None:
        """Call first in every storage operation.

        Raises StorageUnavailable for an instance that was reset, ProgramBug from another object's turn or another
        thread. Where no turn runs (a loop callback) it begins one that ends with the callback.
        """
        ...

    def commit_turn(self) -> None:
        """Commit what the running turn wrote so far, as if it had ended; it goes on. Raises when that fails."""
        ...

    def may_write(self) -> None:
        """Call before anything that adds data. Raises QuotaExceeded while a quota refuses writes."""
        ...

    def wrote(self, unconfirmed: bool = False) -> None:
        """The running turn has written. `unconfirmed`: nothing waits for it."""
        ...

    @property
    def history(self) -> History:
        """The object's past. Raises StorageUnavailable when none is kept."""
        ...

    def durable(self) -> Awaitable[None]:
        """Done when all writes issued so far are durable; holds the input gate meanwhile (sync)."""
        ...

    def section(self, body: Callable[[], Awaitable[T]], what: str) -> Awaitable[T]:
        """Run `body` as a critical section (transaction); begins now, even when not awaited."""
        ...

    def inner_sections_ended(self) -> Awaitable[None]:
        """Done when the critical sections that the running one has begun, and perhaps not awaited, have ended."""
        ...

    def has_alarm_handler(self) -> bool:
        """Whether the class can be given an alarm. True as long as its constructor runs."""
        ...

    def break_object(self, error: BaseException) -> None:
        """A critical storage error: every caller gets it, the object is reset after the turn."""
        ...


class StorageBackend(Protocol):
    """What a resident object asks of its storage."""

    alarm: StoredAlarm
    failure: PerdureError | None
    """Why nothing can be done with it any more."""
    socket_note: object
    """What `pending_restore` has found of the object's sockets; None: it has never had one."""

    def end_turn(self) -> None:
        """The turn that wrote has ended: commit its own transaction, or leave KV writes to be shared.

        Raises StorageError when the commit fails (deferred constraint, full).
        """
        ...

    def abort_turn(self) -> None:
        """Undo everything that the running turn wrote (abort, reset)."""
        ...

    def capture(self) -> CommitRecord | None:
        """Flush shared KV writes, commit, read the new WAL frames; None when nothing changed since the last."""
        ...

    def committed(self, change: int) -> None:
        """The record `change` is durable."""
        ...

    def wal_bytes(self) -> int: ...

    def before_checkpoint(self) -> None:
        """On the loop: let go of what would hold a checkpoint back."""
        ...

    def checkpoint(self) -> int:
        """Fold the -wal into the main file and write the change number; returns it. Only when all is durable.

        May run on a thread while nothing else uses the storage. While somebody copies the main file nothing is folded, and
        the change number is the last complete one.
        """
        ...

    def may_close(self) -> bool:
        """Whether `release` may be called: nobody copies the main file."""
        ...

    def is_open(self) -> bool: ...

    def in_transaction(self) -> bool:
        """Whether anything is written that no commit holds."""
        ...

    def answers(self) -> Answers:
        """What it answered to calls with idempotency keys."""
        ...

    def pending_restore(self) -> Position | None:
        """The point that the next instance is to begin with, if the program asked for one."""
        ...

    def give_up_restore(self) -> None:
        """It could not be restored: forget that it was asked for."""
        ...

    def refuse(self, error: PerdureError) -> None:
        """Closed for good: whoever uses it from now on gets `error`."""
        ...

    def release(self) -> None:
        """Checkpoint and close the database (all commits durable); it opens again on use, pragmas re-applied."""
        ...

    def discard(self) -> None:
        """Close without a checkpoint and delete the scratch files: the state is rebuilt from the log on next use."""
        ...
