"""A bill: what a month's use costs by a tariff. Pure and exact.

What always holds: an amount is what was used above the included amount, in whole or exact units as the tariff says, times the
price; the total is the sum of the lines and the base fee, rounded nowhere. Rounding is for `money`, when people read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from .tariff import STORED, Billing, Price, Tariff


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used in a month, or in a day. Counts, seconds and bytes, exact."""

    requests: Fraction = Fraction(0)
    """HTTP requests and remote calls."""
    messages: Fraction = Fraction(0)
    """Incoming socket messages."""
    connections: Fraction = Fraction(0)
    """Sockets opened."""
    alarms: Fraction = Fraction(0)
    active_s: Fraction = Fraction(0)
    """Seconds that objects were active, summed over the objects."""
    rows_read: Fraction = Fraction(0)
    rows_written: Fraction = Fraction(0)
    stored_bytes: Fraction = Fraction(0)
    """On average over the month."""
    kv_read_units: Fraction = Fraction(0)
    kv_write_units: Fraction = Fraction(0)
    kv_deletes: Fraction = Fraction(0)
    kv_stored_bytes: Fraction = Fraction(0)

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in USAGE_NAMES})

    def times(self, factor: Fraction) -> Usage:
        """Each count times `factor`."""
        return Usage(**{name: getattr(self, name) * factor for name in USAGE_NAMES})


USAGE_NAMES = tuple(field.name for field in fields(Usage))


@dataclass(frozen=True, slots=True)
class Line:
    """One meter of a bill. `over` is what is above the included amount, `billed` that in whole units if the tariff says so."""

    meter: str
    used: Fraction
    included: Fraction
    over: Fraction
    billed: Fraction
    price: Price
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Bill:
    """A month by one tariff. `over_free`: the meters that do not fit the plan without a fee; empty when all do."""

    tariff: Tariff
    usage: Usage
    lines: tuple[Line, ...]
    base_fee: Fraction
    total: Fraction
    over_free: tuple[str, ...]


def metered(usage: Usage, tariff: Tariff) -> dict[str, Fraction]:
    """What each meter of a tariff shows for that use (spec: pricing, counting rules)."""
    return {
        "requests": usage.requests + usage.connections + usage.alarms + usage.messages / tariff.messages_per_request,
        "gb_s": usage.active_s * tariff.gb_of_object,
        "rows_read": usage.rows_read,
        "rows_written": usage.rows_written,
        "stored_gb": usage.stored_bytes / tariff.gigabyte_bytes,
        "kv_read_units": usage.kv_read_units,
        "kv_write_units": usage.kv_write_units,
        "kv_deletes": usage.kv_deletes,
        "kv_stored_gb": usage.kv_stored_bytes / tariff.gigabyte_bytes,
    }


def bill(usage: Usage, tariff: Tariff, days: Sequence[Usage] | None = None) -> Bill:
    """The bill of a month's use. `days`: the use of its single days where they are known; else all days are alike."""
    shown = metered(usage, tariff)
    lines = tuple(_line(meter, shown[meter], price, tariff) for meter, price in tariff.meters.items())
    total = tariff.base_fee + sum((line.amount for line in lines), Fraction(0))
    each_day = [usage.times(Fraction(1, tariff.month_days))] if days is None else days
    return Bill(tariff, usage, lines, tariff.base_fee, total, _over_free(shown, each_day, tariff))


def _line(meter: str, used: Fraction, price: Price, tariff: Tariff) -> Line:
    over = max(used - price.included, Fraction(0))
    billed = over
    if tariff.billing is Billing.ROUNDED_UP and meter not in STORED:
        billed = -(-over // price.unit) * price.unit
    return Line(meter, used, price.included, over, Fraction(billed), price, billed / price.unit * price.price)


def _over_free(shown: dict[str, Fraction], days: Sequence[Usage], tariff: Tariff) -> tuple[str, ...]:
    by_day = [metered(day, tariff) for day in days]
    return tuple(
        meter
        for meter, price in tariff.meters.items()
        if (price.free is not None and shown[meter] > price.free)
        or (price.free_per_day is not None and any(day[meter] > price.free_per_day for day in by_day))
    )


def shares(found: Bill, parts: Mapping[str, Usage]) -> dict[str, Fraction]:
    """How much of a bill each part of its use has caused, without the base fee: of each line in proportion to its use."""
    by_part = {name: metered(use, found.tariff) for name, use in parts.items()}
    return {
        name: sum((line.amount * used[line.meter] / line.used for line in found.lines if line.used), Fraction(0))
        for name, used in by_part.items()
    }


def decimal(value: Fraction, digits: int) -> Decimal:
    """`value` with so many digits after the point, halves up."""
    scaled = Decimal(value.numerator * 10**digits * 2 // value.denominator)
    return (scaled / 2).quantize(Decimal(1), ROUND_HALF_UP).scaleb(-digits)


def money(value: Fraction) -> str:
    """For people: in cents; amounts below one unit of the currency with a third digit when it says something."""
    text = f"{decimal(value, 3 if value < 1 else 2):,f}"
    return text[:-1] if value < 1 and text.endswith("0") else text


def quantity(value: Fraction) -> str:
    """For people: whole numbers whole, others with up to three digits."""
    text = f"{decimal(value, 3):,f}"
    return text.rstrip("0").rstrip(".")
