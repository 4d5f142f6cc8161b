"""A tariff: what each meter costs. Read from TOML, checked as a whole, exact numbers from end to end.

What always holds: amounts are Decimal or Fraction, never float; a tariff that was read names each meter at most once, and a meter
without a price is free.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import cast

from ..engine.errors import ConfigError
from .quotas import Quotas

REFERENCE = """\
# The published prices of the reference, as of this version.
name = "reference"
currency = "USD"
base_fee = 5.00             # a month, whatever was used
billing = "rounded_up"      # what is over the included amount: up to whole units; "pro_rata": exactly
gigabyte = 1000             # megabytes in a gigabyte: 1000 or 1024
object_megabytes = 128      # memory that an active object is billed with
messages_per_request = 20   # incoming socket messages that count as one request
month_days = 30

# free_per_day (or free, for what is stored): the allowance of the plan without a fee
[meters.requests]
price = 0.15
unit = 1_000_000
included = 1_000_000
free_per_day = 100_000

[meters.gb_s]
price = 12.50
unit = 1_000_000
included = 400_000
free_per_day = 13_000

[meters.rows_read]
price = 0.001
unit = 1_000_000
included = 25_000_000_000
free_per_day = 5_000_000

[meters.rows_written]
price = 1.00
unit = 1_000_000
included = 50_000_000
free_per_day = 100_000

[meters.stored_gb]
price = 0.20
unit = 1
included = 5
free = 5

[meters.kv_read_units]
price = 0.20
unit = 1_000_000
included = 1_000_000

[meters.kv_write_units]
price = 1.00
unit = 1_000_000
included = 1_000_000

[meters.kv_deletes]
price = 1.00
unit = 1_000_000
included = 1_000_000

[meters.kv_stored_gb]
price = 0.20
unit = 1
included = 1
"""

METERS = (
    "requests",
    "gb_s",
    "rows_read",
    "rows_written",
    "stored_gb",
    "kv_read_units",
    "kv_write_units",
    "kv_deletes",
    "kv_stored_gb",
)
"""What a tariff can price, in the order of a bill. Stored gigabytes are those of a month, and never rounded up."""
STORED = ("stored_gb", "kv_stored_gb")


class Billing(Enum):
    """How what is over the included amount becomes money."""

    ROUNDED_UP = "rounded_up"
    PRO_RATA = "pro_rata"


@dataclass(frozen=True, slots=True)
class Price:
    """`price` for each `unit` above `included` a month. `free_per_day`, `free`: the allowance of the plan without a fee."""

    price: Fraction
    unit: Fraction
    included: Fraction = Fraction(0)
    free_per_day: Fraction | None = None
    free: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of a month, in `currency`."""

    name: str
    currency: str
    base_fee: Fraction
    billing: Billing
    gigabyte: int
    object_megabytes: Fraction
    messages_per_request: Fraction
    month_days: int
    meters: Mapping[str, Price]
    quotas: Quotas

    @property
    def gigabyte_bytes(self) -> int:
        """Bytes in a stored gigabyte."""
        return self.gigabyte**3

    @property
    def gb_of_object(self) -> Fraction:
        """Gigabytes of memory that an active object is billed with."""
        return self.object_megabytes / self.gigabyte


def number(where: str, value: object, *, above_zero: bool = False) -> Fraction:
    """An exact number, 0 or more. Raises ConfigError: another type, negative, no number."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise ConfigError(f"{where} must be a number, got {value!r}")
    try:
        found = Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ConfigError(f"{where} must be a number, got {value!r}") from None
    if found < 0 or (above_zero and found == 0):
        raise ConfigError(f"{where} must be {'above 0' if above_zero else '0 or more'}, got {value}")
    return found


def unknown(where: str, key: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that is not known, with the nearest one as its hint."""
    names = list(known)
    near = difflib.get_close_matches(key, names, 1)
    return ConfigError(
        f"{where}: unknown key '{key}'", hint=f"did you mean {near[0]}?" if near else f"known keys: {', '.join(names)}"
    )


def table(where: str, value: object) -> Mapping[str, object]:
    """Raises ConfigError when `value` is no table."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table, got {value!r}")
    return cast("Mapping[str, object]", value)


def read_tariff(text: str, where: str) -> Tariff:
    """The tariff that a TOML text describes; `where` names it in errors. Raises ConfigError with a hint.

    What the text leaves out of the general part is as in the reference; meters that it leaves out are free.
    """
    try:
        found: Mapping[str, object] = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{where} is not TOML: {error}", hint="`perdure costs tariff` prints one to begin with"
        ) from error
    known = [field.name for field in fields(Tariff)]
    for key in found:
        if key not in known:
            raise unknown(where, key, known)
    meters = table(f"{where}: meters", found.get("meters", {}))
    for name in meters:
        if name not in METERS:
            raise unknown(f"{where}: meters", name, METERS)
    return Tariff(
        name=_text(where, found, "name", where),
        currency=_text(where, found, "currency", "USD"),
        base_fee=number(f"{where}: base_fee", found.get("base_fee", 0)),
        billing=_billing(where, found.get("billing", Billing.ROUNDED_UP.value)),
        gigabyte=_one_of(where, "gigabyte", found.get("gigabyte", 1000), (1000, 1024)),
        object_megabytes=number(f"{where}: object_megabytes", found.get("object_megabytes", 128)),
        messages_per_request=number(
            f"{where}: messages_per_request", found.get("messages_per_request", 20), above_zero=True
        ),
        month_days=_one_of(where, "month_days", found.get("month_days", 30), (28, 29, 30, 31)),
        meters={name: _price(f"{where}: meters.{name}", meters[name]) for name in METERS if name in meters},
        quotas=Quotas.from_settings(table(f"{where}: quotas", found.get("quotas", {})), where),
    )


def _text(where: str, found: Mapping[str, object], key: str, default: str) -> str:
    value = found.get(key, default)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key} must be a text, got {value!r}")
    return value


def _billing(where: str, value: object) -> Billing:
    try:
        return Billing(value)
    except ValueError:
        choices = " or ".join(f'"{choice.value}"' for choice in Billing)
        raise ConfigError(f"{where}: billing is {value!r}", hint=f"it can be {choices}") from None


def _one_of(where: str, key: str, value: object, choices: tuple[int, ...]) -> int:
    if type(value) is not int or value not in choices:
        raise ConfigError(f"{where}: {key} is {value!r}", hint=f"it can be {' or '.join(map(str, choices))}")
    return value


def _price(where: str, value: object) -> Price:
    found = table(where, value)
    known = [field.name for field in fields(Price)]
    for key in found:
        if key not in known:
            raise unknown(where, key, known)
    if "price" not in found:
        raise ConfigError(f"{where} has no price", hint="a meter that costs nothing is left out")
    return Price(
        number(f"{where}.price", found["price"]),
        number(f"{where}.unit", found.get("unit", 1), above_zero=True),
        number(f"{where}.included", found.get("included", 0)),
        _optional(f"{where}.free_per_day", found.get("free_per_day")),
        _optional(f"{where}.free", found.get("free")),
    )


def _optional(where: str, value: object) -> Fraction | None:
    return None if value is None else number(where, value)


def load_tariff(path: str | None) -> Tariff:
    """The tariff of a file; the reference when there is no path. Raises ConfigError."""
    if path is None:
        return read_tariff(REFERENCE, "reference")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text: {error}") from error
    return read_tariff(text, path)
