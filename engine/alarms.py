"""The one alarm of an object as it is stored: a hidden row of milliseconds (spec: alarms, calls on ctx.storage).

What always holds: the row is written in the turn's own transaction, so it is kept or undone with the turn's other writes;
a commit that may have changed it says in its record what it is afterwards.
"""

from __future__ import annotations

import datetime
import math
from typing import NoReturn, Protocol, cast

import apsw

from .database import Database
from .errors import InvalidArgument
from .values import milliseconds

DISARMED = 0
"""In a commit's record: there is no alarm any more."""
_SELECT = "select value from _cf_METADATA where key = 'alarm'"
_UPSERT = (
    "insert into _cf_METADATA(key, value) values('alarm', ?) on conflict(key) do update set value = excluded.value"
)
_DELETE = "delete from _cf_METADATA where key = 'alarm'"
_DATE_MS_MAX = 8_640_000_000_000_000
"""The last moment that JavaScript's Date can name."""


class AlarmHost(Protocol):
    """What the alarm asks of the storage around it."""

    def reading(self) -> Database | None: ...
    def begin_exclusive(self) -> Database: ...
    def fail(self, error: apsw.Error) -> NoReturn: ...


class StoredAlarm:
    """Reads and writes the alarm's row, and remembers what the next commit's record must say of it."""

    __slots__ = ("_changed", "_host", "_record")

    def __init__(self, host: AlarmHost) -> None:
        self._host = host
        self._changed = False
        """The open transaction has, or had before a savepoint was rolled back, another alarm."""
        self._record: int | None = None

    def get(self) -> int | None:
        """Milliseconds since the epoch, None when there is none."""
        database = self._host.reading()
        if database is None:
            return None
        try:
            row = database.connection.execute(_SELECT).fetchone()
        except apsw.Error as error:
            self._host.fail(error)
        return None if row is None else cast("int", row[0])

    def set(self, ms: int | None) -> bool:
        """Arm for `ms`, or disarm with None; whether that changed anything."""
        if self.get() == ms:
            return False
        database = self._host.begin_exclusive()
        try:
            if ms is None:
                database.connection.execute(_DELETE)
            else:
                database.connection.execute(_UPSERT, (ms,))
        except apsw.Error as error:
            self._host.fail(error)
        self._changed = True
        return True

    def committed(self) -> None:
        """The transaction was committed in SQLite."""
        if self._changed:
            self._changed = False
            self._record = self.get() or DISARMED

    def rolled_back(self) -> None:
        """The whole transaction was undone."""
        self._changed = False

    def take(self) -> int | None:
        """For a commit's record: the alarm after it, DISARMED, or None where it is as it was."""
        record, self._record = self._record, None
        return record


def alarm_time(when: object, now_ms: int) -> int:
    """Milliseconds since the epoch for what `setAlarm` takes: a number, a datetime (naive: local), a JavaScript-style date.

    A time in the past becomes now. Raises InvalidArgument.
    """
    if isinstance(when, datetime.datetime):
        ms = float(milliseconds(when))
    elif isinstance(when, int | float):
        ms = when
    else:
        read = getattr(when, "getTime", None)
        ms = read() if callable(read) else None
        if not isinstance(ms, int | float):
            raise InvalidArgument(
                "Failed to execute 'setAlarm' on 'DurableObjectStorage': parameter 1 is neither a number of milliseconds "
                f"nor a date, got {type(when).__name__}"
            )
    if not math.isfinite(ms) or ms > _DATE_MS_MAX:
        raise InvalidArgument(f"setAlarm() was called with {ms}, which is no time in milliseconds")
    if ms <= 0:
        raise InvalidArgument("setAlarm() cannot be called with an alarm time <= 0")
    return max(int(ms), now_ms)
