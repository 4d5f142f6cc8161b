"""Quotas: how much may be used in a day over all shards, and which events are refused when one is exceeded. Pure.

What always holds: a quota that is not set refuses nothing; what a quota refuses it refuses until 00:00 UTC, and no longer;
what a shard reported is replaced, never added twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import cast

from ..engine.errors import ConfigError, QuotaExceeded

OBJECT_GB = (128, 1000)
"""Gigabytes of memory of an active object, as a fraction: of the reference's tariff."""
MESSAGES_A_REQUEST = 20
DAY_MS = 86_400_000


def day_of(now_ms: int) -> int:
    """The UTC day of a time: days since the epoch."""
    return now_ms // DAY_MS


@dataclass(frozen=True, slots=True)
class Quotas:
    """Bounds of a UTC day, over all shards; None: no bound. `stored_bytes` is no count of a day but what there is."""

    requests_per_day: int | None = None
    gb_s_per_day: int | None = None
    rows_read_per_day: int | None = None
    rows_written_per_day: int | None = None
    stored_bytes: int | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], where: str = "perdure.toml") -> Quotas:
        """Quotas that an operator set, by name. Raises ConfigError: unknown, not a whole number of 0 or more."""
        known = [field.name for field in fields(cls)]
        given: dict[str, int] = {}
        for name, value in settings.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise ConfigError(f"{where}: unknown quota '{name}'", hint=hint)
            if type(value) is not int or value < 0:
                raise ConfigError(f"{where}: quota {name} must be a whole number of 0 or more, got {value!r}")
            given[name] = value
        return cls(**given)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))


@dataclass(frozen=True, slots=True)
class DayUse:
    """What was used in a UTC day, by one shard or by all; `stored_bytes` is what there is now."""

    day: int
    requests: int = 0
    """With alarm runs."""
    messages: int = 0
    active_us: int = 0
    rows_read: int = 0
    rows_written: int = 0
    stored_bytes: int = 0

    def to_wire(self) -> dict[str, object]:
        """Plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_wire(cls, values: Mapping[str, object]) -> DayUse:
        """What `to_wire` gave."""
        return cls(**{field.name: int(str(values[field.name])) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Names of the quotas that are exceeded on a day: those that refuse events, and those that refuse writes."""

    day: int
    events: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, object]:
        """Plain values."""
        return {"day": self.day, "events": self.events, "writes": self.writes}

    @classmethod
    def from_wire(cls, values: Mapping[str, object]) -> Exceeded:
        """What `to_wire` gave."""
        events, writes = (tuple(cast("list[str]", values[key])) for key in ("events", "writes"))
        return cls(int(str(values["day"])), events, writes)


def exceeded(quotas: Quotas, day: int, shards: Iterable[DayUse]) -> Exceeded:
    """Which quotas the sum over all shards has used up. What a shard reported of another day is no use of this one."""
    reports = list(shards)
    today = [report for report in reports if report.day == day]
    active_us = sum(report.active_us for report in today)
    events = {
        "requests_per_day": (
            sum(MESSAGES_A_REQUEST * report.requests + report.messages for report in today),
            MESSAGES_A_REQUEST,
        ),
        "gb_s_per_day": (active_us * OBJECT_GB[0], 1_000_000 * OBJECT_GB[1]),
        "rows_read_per_day": (sum(report.rows_read for report in today), 1),
    }
    writes = {
        "rows_written_per_day": (sum(report.rows_written for report in today), 1),
        "stored_bytes": (sum(report.stored_bytes for report in reports), 1),
    }
    return Exceeded(day, _over(quotas, events), _over(quotas, writes))


def _over(quotas: Quotas, used: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    over: list[str] = []
    for name, (amount, divisor) in used.items():
        bound: int | None = getattr(quotas, name)
        if bound is not None and amount >= bound * divisor:
            over.append(name)
    return tuple(over)


class QuotaWatch:
    """What the supervisor knows of the use of its shards: decides when they must be told. Pure."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._uses: dict[int, DayUse] = {}
        self.exceeded = Exceeded(0)

    def __bool__(self) -> bool:
        return bool(self._quotas)

    def on_use(self, shard: int, use: DayUse, now_ms: int) -> Exceeded | None:
        """A shard said what it has used today, all of it: what all shards must be told; None when that is no news."""
        self._uses[shard] = use
        found = exceeded(self._quotas, day_of(now_ms), self._uses.values())
        if found == self.exceeded:
            return None
        self.exceeded = found
        return found


def refusal(names: tuple[str, ...], day: int, now_ms: int) -> QuotaExceeded | None:
    """The error of the events, or writes, that these quotas refuse; None when they refuse nothing (any more)."""
    lasting = [name for name in names if name == "stored_bytes" or day_of(now_ms) == day]
    if not lasting:
        return None
    name = lasting[0]
    if name == "stored_bytes":
        hint = "quota stored_bytes: delete data (deleteAll is not refused), or raise the quota in perdure.toml"
    else:
        hint = f"quota {name}: it resets at 00:00 UTC; raise it in perdure.toml to go on before"
    return QuotaExceeded(f"The quota {name} is used up", hint=hint)
