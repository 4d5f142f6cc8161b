"""`Date`: a moment in milliseconds since 1970 in UTC. It travels, and is stored, as a datetime.

What always holds: the clock is the process's (`time.time_ns`), which a world of perdure.testing replaces; local time is the
machine's.
"""

from __future__ import annotations

import datetime
import email.utils
import math
import re
import time
from typing import Any, cast

from ...engine.errors import OutOfRange
from ...engine.values import StandIn, milliseconds
from .proxies import JsProxy, missing, to_number, to_text, whole

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS_MAX = 8.64e15
_DAY = re.compile(r"[+-]?\d{4,6}-\d\d(-\d\d)?$|\d{4}$")
_SHAPES = (
    "%B %d, %Y %H:%M:%S",
    "%B %d, %Y",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%m/%d/%Y",
)


def _parse(text: str) -> float:
    """Milliseconds of a text; NaN when it is no date. A day alone is in UTC, a day with a time in local time."""
    text = text.strip()
    try:
        if _DAY.match(text):
            padded = text if text.count("-") == 2 else f"{text}{'-01' * (2 - text.count('-'))}"
            return milliseconds(datetime.datetime.fromisoformat(padded).replace(tzinfo=datetime.UTC))
        return milliseconds(datetime.datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return milliseconds(email.utils.parsedate_to_datetime(text))
    except (ValueError, TypeError):
        pass
    for shape in _SHAPES:
        try:
            return milliseconds(datetime.datetime.strptime(text, shape))
        except ValueError:
            continue
    return math.nan


def _of_parts(parts: tuple[object, ...], zone: datetime.tzinfo | None) -> float:
    """Milliseconds of year, month (from 0), day, hours, minutes, seconds, milliseconds; each may overflow into the next."""
    numbers = [to_number(part) for part in parts]
    if any(not math.isfinite(number) for number in numbers):
        return math.nan
    year, month, day, hours, minutes, seconds, ms = [int(number) for number in numbers] + [0, 0, 1, 0, 0, 0, 0][
        len(numbers) :
    ]
    year, month = year + (1900 if 0 <= year <= 99 else 0) + month // 12, month % 12
    try:
        start = datetime.datetime(year, month + 1, 1, tzinfo=zone)
        moment = start + datetime.timedelta(
            days=day - 1, hours=hours, minutes=minutes, seconds=seconds, milliseconds=ms
        )
        return milliseconds(moment)
    except (ValueError, OverflowError):
        return math.nan


class Date(StandIn, JsProxy):
    """`Date.new()`: now; `new(ms)`, `new(text)`, `new(year, month, day, …)` (local, months from 0), `new(date)`."""

    __slots__ = ("ms",)

    def __init__(self, *parts: object) -> None:
        self.ms: float = _clipped(self._of(parts))

    @staticmethod
    def _of(parts: tuple[object, ...]) -> float:
        if not parts:
            return Date.now()
        if len(parts) > 1:
            return _of_parts(parts, None)
        only = parts[0]  # pyright: ignore[reportGeneralTypeIssues] - there is one
        if isinstance(only, Date):
            return only.ms
        if isinstance(only, datetime.datetime):
            return milliseconds(only)
        return _parse(only) if isinstance(only, str) else to_number(only)

    @classmethod
    def new(cls, *parts: object) -> Date:
        return cls(*parts)

    @staticmethod
    def now() -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    @staticmethod
    def parse(text: object) -> float:
        return _parse(to_text(text))

    @staticmethod
    def UTC(*parts: object) -> float:
        return _clipped(_of_parts(parts, datetime.UTC))

    def plain(self) -> datetime.datetime:
        """Naive local time, which is how a date arrives."""
        return self.moment().astimezone().replace(tzinfo=None)

    def moment(self) -> datetime.datetime:
        """As an aware datetime in UTC. Raises OutOfRange (RangeError) for an invalid date."""
        try:
            return _EPOCH + datetime.timedelta(milliseconds=self.ms)
        except (ValueError, OverflowError):
            raise OutOfRange("Invalid time value") from None

    def _local(self) -> datetime.datetime:
        return self.moment().astimezone()

    def getTime(self) -> float:
        return self.ms

    valueOf = getTime

    def setTime(self, ms: object) -> float:
        self.ms = _clipped(to_number(ms))
        return self.ms

    def getTimezoneOffset(self) -> float:
        """Minutes from local time to UTC."""
        offset = self._local().utcoffset() or datetime.timedelta()
        return whole(-offset.total_seconds() / 60)

    def toISOString(self) -> str:
        found = self.moment()
        return f"{found:%Y-%m-%dT%H:%M:%S}.{found.microsecond // 1000:03d}Z"

    def toJSON(self, _key: object = None) -> str | None:
        return self.toISOString() if self.ms == self.ms else None

    def toUTCString(self) -> str:
        return f"{self.moment():%a, %d %b %Y %H:%M:%S} GMT"

    toGMTString = toUTCString

    def toDateString(self) -> str:
        return f"{self._local():%a %b %d %Y}"

    def toTimeString(self) -> str:
        found = self._local()
        return f"{found:%H:%M:%S} GMT{found:%z} ({found.tzname()})"

    def toString(self) -> str:
        return f"{self.toDateString()} {self.toTimeString()}" if self.ms == self.ms else "Invalid Date"

    def toLocaleDateString(self, *_where: object) -> str:
        """As in the United States: no other locale is known."""
        found = self._local()
        return f"{found.month}/{found.day}/{found.year}"

    def toLocaleTimeString(self, *_where: object) -> str:
        return f"{self._local():%I:%M:%S %p}".lstrip("0")

    def toLocaleString(self, *_where: object) -> str:
        return f"{self.toLocaleDateString()}, {self.toLocaleTimeString()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Date) and other.ms == self.ms

    def __hash__(self) -> int:
        return hash(self.ms)

    def __lt__(self, other: Date) -> bool:
        return self.ms < other.ms

    def __le__(self, other: Date) -> bool:
        return self.ms <= other.ms

    def __gt__(self, other: Date) -> bool:
        return self.ms > other.ms

    def __ge__(self, other: Date) -> bool:
        return self.ms >= other.ms

    def __str__(self) -> str:
        return self.toString()

    def __repr__(self) -> str:
        return f"Date({self.toISOString() if self.ms == self.ms else 'invalid'})"


def _clipped(ms: float) -> float:
    if not math.isfinite(ms) or abs(ms) > _MS_MAX:
        return math.nan
    return int(ms)


_NAMES = ("FullYear", "Month", "Date", "Hours", "Minutes", "Seconds", "Milliseconds")


def _parts(moment: datetime.datetime) -> list[int]:
    return [
        moment.year,
        moment.month - 1,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond // 1000,
    ]


def _field(index: int, utc: bool) -> tuple[Any, Any]:
    def get(self: Date) -> float:
        if self.ms != self.ms:
            return math.nan
        return _parts(self.moment() if utc else self._local())[index]  # pyright: ignore[reportPrivateUsage]

    def put(self: Date, *values: object) -> float:
        parts = cast("list[object]", _parts(self.moment() if utc else self._local()))  # pyright: ignore[reportPrivateUsage]
        parts[index : index + len(values)] = values
        self.ms = _clipped(_of_parts(tuple(parts[:7]), datetime.UTC if utc else None))
        return self.ms

    return get, put


def _day(utc: bool) -> Any:
    def get(self: Date) -> float:
        if missing(self.ms) or self.ms != self.ms:
            return math.nan
        return (self.moment() if utc else self._local()).isoweekday() % 7  # pyright: ignore[reportPrivateUsage]

    return get


for _index, _name in enumerate(_NAMES):
    for _prefix, _utc in (("", False), ("UTC", True)):
        _get, _put = _field(_index, _utc)
        setattr(Date, f"get{_prefix}{_name}", _get)
        setattr(Date, f"set{_prefix}{_name}", _put)
Date.getDay, Date.getUTCDay = _day(False), _day(True)  # type: ignore[attr-defined]
