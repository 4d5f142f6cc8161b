"""Months and days of a bill, in UTC: a day is a number since the epoch, a month a text YYYY-MM. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime

from ..engine.errors import ConfigError


def month_of(now_ms: int) -> str:
    """The month that a time is in."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")


def days_of_month(year_month: str) -> tuple[int, int]:
    """First and last UTC day (days since the epoch) of "YYYY-MM". Raises ConfigError."""
    try:
        year, _, number_text = year_month.partition("-")
        if len(year) != 4 or len(number_text) != 2:
            raise ValueError(year_month)
        first = date(int(year), int(number_text), 1)
        after = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError:
        raise ConfigError(f"{year_month!r} is no month", hint="write it as YYYY-MM, for instance 2026-11") from None
    epoch = date(1970, 1, 1)
    return (first - epoch).days, (after - epoch).days - 1
