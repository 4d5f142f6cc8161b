"""The one alarm of an object as it is stored: hidden rows in its own database (spec: alarms, calls on ctx.storage).

`alarm`: the time that was set. `alarm_retry`: how often it failed, and when it runs again. `alarm_queued`: what was set while it
runs; it counts once it is there, also when the run is lost. `name`: the object's, so that its alarm can wake it by name.

What always holds: the rows are written in the turn's own transaction, so they are kept or undone with the turn's other writes;
a commit that may have changed them says in its record when the alarm is due afterwards.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping
from typing import NoReturn, Protocol, cast

import apsw

from .alarm_retries import Armed
from .database import Database
from .errors import InvalidArgument
from .values import milliseconds

DISARMED = 0
"""In a commit's record: there is no alarm any more."""
UNSURE_MS = 1
"""In place of a time: nobody knows but the object itself, which has to be asked."""
ROWS = "select key, value from _cf_METADATA where key in ('alarm', 'alarm_queued', 'alarm_retry', 'name')"
"""What `armed_by` reads, and the object's name."""
_UPSERT = "insert into _cf_METADATA(key, value) values(?, ?) on conflict(key) do update set value = excluded.value"
_DELETE = "delete from _cf_METADATA where key = ?"
_ALL = ("alarm", "alarm_queued", "alarm_retry")
_DATE_MS_MAX = 8_640_000_000_000_000
"""The last moment that JavaScript's Date can name."""


class AlarmHost(Protocol):
    """What the alarm asks of the storage around it."""

    def reading(self) -> Database | None: ...
    def begin_exclusive(self) -> Database: ...
    def wrote_kv(self, unconfirmed: bool = False) -> None: ...
    def fail(self, error: apsw.Error) -> NoReturn: ...


def armed_by(rows: Mapping[str, object]) -> Armed | None:
    """The alarm that the hidden rows (`ROWS`) say, None for none."""
    if "alarm_queued" in rows:
        return Armed.first(cast("int", rows["alarm_queued"]))
    if "alarm" not in rows:
        return None
    scheduled_ms = cast("int", rows["alarm"])
    if "alarm_retry" not in rows:
        return Armed.first(scheduled_ms)
    due_ms, counted, uncounted = str(rows["alarm_retry"]).split(".")
    return Armed(scheduled_ms, int(due_ms), int(counted), int(uncounted))


class StoredAlarm:
    """Reads and writes the alarm's rows, and remembers what the next commit's record must say of it."""

    __slots__ = ("_changed", "_host", "_record", "running")

    def __init__(self, host: AlarmHost) -> None:
        self._host = host
        self._changed = False
        """The open transaction has, or had before a savepoint was rolled back, another alarm."""
        self._record: int | None = None
        self.running: Armed | None = None
        """Whose handler runs: programs see it as gone."""

    def _rows(self) -> dict[str, object]:
        database = self._host.reading()
        if database is None:
            return {}
        try:
            return {str(key): value for key, value in database.connection.execute(ROWS)}
        except apsw.Error as error:
            self._host.fail(error)

    def armed(self) -> Armed | None:
        """The alarm that is set, the running one included unless another was set meanwhile."""
        return armed_by(self._rows())

    def queued(self) -> int | None:
        """What was set while it runs."""
        return cast("int | None", self._rows().get("alarm_queued"))

    def get(self) -> int | None:
        """What programs see: milliseconds since the epoch, None when there is none."""
        return self._seen(self._rows())

    def _seen(self, rows: Mapping[str, object]) -> int | None:
        if self.running is not None:
            return cast("int | None", rows.get("alarm_queued"))
        armed = armed_by(rows)
        return None if armed is None else armed.scheduled_ms

    def name(self) -> str | None:
        """The object's name, if it had one when an alarm was set."""
        name = self._rows().get("name")
        return None if name is None else str(name)

    def set(self, ms: int | None, name: str | None = None) -> bool:
        """Arm for `ms`, or disarm with None; whether that changed anything. `name`: of the object, kept with it."""
        rows = self._rows()
        if self._seen(rows) == ms:
            return False
        wanted: dict[str, object] = {}
        if ms is not None:
            wanted["alarm" if self.running is None else "alarm_queued"] = ms
            if name is not None and "name" not in rows:
                wanted["name"] = name
        self._write(rows, wanted, ("alarm_queued",) if self.running is not None else _ALL)
        return True

    def begin(self) -> Armed | None:
        """The handler begins to run: the alarm that it runs for."""
        rows = self._rows()
        armed = armed_by(rows)
        if armed is not None and "alarm_queued" in rows:  # of an earlier run, which was lost
            self.store(armed)
        self.running = armed
        return armed

    def store(self, armed: Armed | None) -> None:
        """Put this in the place of all that is there, as a write that replies wait for."""
        wanted: dict[str, object] = {}
        if armed is not None:
            wanted["alarm"] = armed.scheduled_ms
            if armed.retries:
                wanted["alarm_retry"] = f"{armed.due_ms}.{armed.counted}.{armed.uncounted}"
        self._write(self._rows(), wanted, _ALL)
        self._host.wrote_kv()

    def _write(self, there: Mapping[str, object], wanted: Mapping[str, object], keys: Iterable[str]) -> None:
        """Write the rows `wanted`, and remove those of `keys` that are `there` and not among them."""
        connection = self._host.begin_exclusive().connection
        try:
            for key, value in wanted.items():
                connection.execute(_UPSERT, (key, cast("int | str", value)))
            for key in keys:
                if key in there and key not in wanted:
                    connection.execute(_DELETE, (key,))
        except apsw.Error as error:
            self._host.fail(error)
        self._changed = True

    def committed(self) -> None:
        """The transaction was committed in SQLite."""
        if self._changed:
            self._changed = False
            armed = self.armed()
            self._record = DISARMED if armed is None else armed.due_ms

    def rolled_back(self) -> None:
        """The whole transaction was undone."""
        self._changed = False

    def take(self) -> int | None:
        """For a commit's record: when the alarm is due after it, DISARMED, or None where it is as it was."""
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
                "Failed to execute 'setAlarm' on 'DurableObjectStorage': parameter 1 is not of type 'date'.",
                hint=f"give milliseconds since the epoch or a datetime, not {type(when).__name__}",
            )
    if not math.isfinite(ms) or ms > _DATE_MS_MAX:
        raise InvalidArgument(
            "The value cannot be converted because it is not a valid Date.",
            hint=f"setAlarm() was called with {ms}, which is no time in milliseconds",
        )
    if ms <= 0:
        raise InvalidArgument("setAlarm() cannot be called with an alarm time <= 0")
    return max(int(ms), now_ms)
