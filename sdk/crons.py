"""Cron expressions of five fields, in UTC: minute, hour, day of the month, month, day of the week (spec: config, triggers.crons).

Written here because no kept library reads the reference's dialect: days of the week are 1 (Sunday) to 7, `15W` is the weekday
nearest the 15th. What always holds: an expression that was read matches some minute; whether it matches one depends on that
minute alone.
"""

from __future__ import annotations

import calendar
import datetime
from collections.abc import Callable
from dataclasses import dataclass

from ..engine.errors import ConfigError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
Rule = Callable[[datetime.date], bool]
"""A condition on a day that needs its month's calendar."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field's name and bounds; `names` stand for its first values."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of the month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of the week", 1, 7, _DAYS)


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression. `text` is what the configuration says, as the program gets it."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: tuple[Rule, ...] | None
    """None: `*`. A day counts when one of the rules holds."""
    weekdays: tuple[Rule, ...] | None
    program: str = ""
    """The name of the one whose `scheduled` it runs; empty: there is only one."""

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ConfigError that names the field."""
        parts = text.upper().split()
        if len(parts) != 5:
            raise ConfigError(
                f"the cron expression {text!r} has {len(parts)} fields, it must have 5",
                hint="minute, hour, day of the month, month, day of the week; in UTC",
            )
        try:
            months = _numbers(_MONTH, parts[3])
            days = None if parts[2] == "*" else _rules(_DAY, parts[2], _day_rule)
            weekdays = None if parts[4] == "*" else _rules(_WEEKDAY, parts[4], _weekday_rule)
            made = cls(text, _numbers(_MINUTE, parts[0]), _numbers(_HOUR, parts[1]), months, days, weekdays)
        except ValueError as error:
            raise ConfigError(
                f"the cron expression {text!r} is wrong: {error}", hint="see the table in docs/crons.md"
            ) from error
        if not made._ever():
            raise ConfigError(f"the cron expression {text!r} names a day that no month of it has")
        return made

    def matches(self, moment: datetime.datetime) -> bool:
        """Whether it is due in that minute (UTC)."""
        return moment.minute in self.minutes and moment.hour in self.hours and self._on(moment.date())

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """The first minute after that one in which it is due."""
        day = moment.date()
        of_day = [(hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)]
        behind = (moment.hour, moment.minute)
        while True:
            if self._on(day):
                for hour, minute in of_day:
                    if (hour, minute) > behind:
                        return datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=datetime.UTC)
            day, behind = day + datetime.timedelta(1), (-1, -1)

    def _on(self, day: datetime.date) -> bool:
        """Of both kinds of days one is enough when both are given."""
        if day.month not in self.months:
            return False
        if self.days is None and self.weekdays is None:
            return True
        return any(rule(day) for rule in (*(self.days or ()), *(self.weekdays or ())))

    def _ever(self) -> bool:
        """Twenty-eight years hold every day of every month, on each day of the week."""
        first = datetime.date(2024, 1, 1)
        return any(self._on(first + datetime.timedelta(days)) for days in range(28 * 366))


def _number(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{field.name}: {text!r} is no value of it")
    number = int(text)
    if not field.first <= number <= field.last:
        raise ValueError(f"{field.name}: {number} is not between {field.first} and {field.last}")
    return number


def _span(field: _Field, text: str) -> frozenset[int]:
    """`*`, `5`, `1-5`, each with `/step` or without."""
    span, slash, step_text = text.partition("/")
    first_text, dash, last_text = span.partition("-")
    if span == "*":
        first, last = field.first, field.last
    else:
        first = _number(field, first_text)
        last = _number(field, last_text) if dash else (field.last if slash else first)
    if last < first:
        raise ValueError(f"{field.name}: {span} ends before it begins")
    step = 1
    if slash:
        if not (step_text.isascii() and step_text.isdigit()) or int(step_text) < 1:
            raise ValueError(f"{field.name}: the step {step_text!r} is no whole number above 0")
        step = int(step_text)
    return frozenset(range(first, last + 1, step))


def _numbers(field: _Field, text: str) -> frozenset[int]:
    return frozenset[int]().union(*(_span(field, part) for part in text.split(",")))


def _rules(field: _Field, text: str, special: Callable[[str], Rule | None]) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    numbers: set[int] = set()
    for part in text.split(","):
        rule = special(part)
        if rule is None:
            numbers |= _span(field, part)
        else:
            rules.append(rule)
    if numbers:
        rules.append(_day_in(numbers) if field is _DAY else _weekday_in(numbers))
    return tuple(rules)


def _day_in(numbers: set[int]) -> Rule:
    return lambda day: day.day in numbers


def _weekday_in(numbers: set[int]) -> Rule:
    return lambda day: _weekday(day) in numbers


def _weekday(day: datetime.date) -> int:
    """1 (Sunday) to 7 (Saturday)."""
    return day.isoweekday() % 7 + 1


def _last_day(day: datetime.date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _day_rule(text: str) -> Rule | None:
    """`L`, `L-3`, `LW`, `15W`."""
    if text == "L":
        return lambda day: day.day == _last_day(day)
    if text == "LW":
        return lambda day: day.day == _nearest_weekday(day, _last_day(day))
    if text.startswith("L-"):
        before = _number(_Field(_DAY.name, 1, 30), text[2:])
        return lambda day: day.day == _last_day(day) - before
    if text.endswith("W"):
        wanted = _number(_DAY, text[:-1])
        return lambda day: wanted <= _last_day(day) and day.day == _nearest_weekday(day, wanted)
    return None


def _nearest_weekday(day: datetime.date, number: int) -> int:
    """The day of `day`'s month, Monday to Friday, that is nearest to its `number`th; never one of another month."""
    of_week = datetime.date(day.year, day.month, number).isoweekday()
    if of_week == 6:
        return number - 1 if number > 1 else number + 2
    if of_week == 7:
        return number + 1 if number < _last_day(day) else number - 2
    return number


def _weekday_rule(text: str) -> Rule | None:
    """`L` (Saturday), `6L` (the month's last Friday), `2#1` (its first Monday)."""
    if text == "L":
        return lambda day: _weekday(day) == 7
    if text.endswith("L"):
        wanted = _number(_WEEKDAY, text[:-1])
        return lambda day: _weekday(day) == wanted and day.day + 7 > _last_day(day)
    if "#" in text:
        weekday_text, _, which_text = text.partition("#")
        weekday = _number(_WEEKDAY, weekday_text)
        which = _number(_Field("which one of a month", 1, 5), which_text)
        return lambda day: _weekday(day) == weekday and (day.day + 6) // 7 == which
    return None
