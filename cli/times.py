"""TIME as people type it: a bookmark, an ISO time, or `10m ago`. Pure: the clock is passed in."""

from __future__ import annotations

import datetime
import re

from ..engine.errors import InvalidArgument

Moment = str | int | None
"""A bookmark, milliseconds since the epoch, or None for now."""

_BOOKMARK = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{32}")
_AGO = re.compile(r"((?:\d+(?:\.\d+)?\s*[a-z]+\s*)+)ago")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS_MS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86_400_000),
}
_HINT = "a bookmark, 2026-03-01T12:00 (local time), 2026-03-01T12:00Z, or 10m ago (ms, s, m, h, d, w)"


def parse_time(text: str, now_ms: int) -> Moment:
    """The moment that `text` names; `now_ms`: milliseconds since the epoch. Raises InvalidArgument."""
    given = text.strip()
    low = given.lower()
    if low == "now":
        return None
    if _BOOKMARK.fullmatch(low):
        return low
    ago = _AGO.fullmatch(low)
    if ago is not None:
        return now_ms - _span_ms(text, ago.group(1))
    try:
        moment = datetime.datetime.fromisoformat(given)
        found = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(f"{text!r} is no time", hint=_HINT) from None
    if found > now_ms:
        raise InvalidArgument(f"{text!r} is in the future", hint="nothing is stored of it yet")
    return found


def _span_ms(text: str, spans: str) -> int:
    total = 0.0
    for amount, unit in _PART.findall(spans):
        if unit not in _UNITS_MS:
            raise InvalidArgument(f"{text!r} is no time: unknown unit {unit!r}", hint=_HINT)
        total += float(amount) * _UNITS_MS[unit]
    return round(total)


def show_time(moment_ms: int) -> str:
    """Local time with its offset, to the millisecond; empty for 0, which stands for an unknown time."""
    if not moment_ms:
        return ""
    return datetime.datetime.fromtimestamp(moment_ms / 1000).astimezone().isoformat(" ", "milliseconds")
