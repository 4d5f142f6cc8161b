"""How a bill looks: tables in a terminal, plain columns when piped, and one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..shards.bill import Bill, Usage, decimal, metered, money, quantity, shares

Row = Sequence[str]


def print_bill(found: Bill, parts: Mapping[str, Usage], of: str) -> None:
    """The lines, the total, and what each part (a class, an object, a workload: `of`) has caused of it."""
    currency = found.tariff.currency
    columns = ("meter", "used", "included", "billed", "price", f"amount {currency}")
    rows = [
        (
            line.meter,
            quantity(line.used),
            quantity(line.included),
            quantity(line.billed),
            _price(line.price.price, line.price.unit),
            money(line.amount),
        )
        for line in found.lines
    ]
    rows.append(("base fee", "", "", "", "", money(found.base_fee)))
    _print_table(columns, rows, ("total", "", "", "", "", money(found.total)))
    if parts:
        click.echo()
        _print_table(*_parts(found, parts, of))
    click.echo()
    click.echo(_free(found))


def _price(price: Fraction, unit: Fraction) -> str:
    text = f"{decimal(price, 6).normalize():f}"
    shown = text if len(text.partition(".")[2]) >= 2 else f"{decimal(price, 2)}"
    return shown if unit == 1 else f"{shown} / {quantity(unit)}"


def _parts(found: Bill, parts: Mapping[str, Usage], of: str) -> tuple[Row, list[Row], Row]:
    caused = shares(found, parts)
    columns = (
        of,
        "requests",
        "active s",
        "rows read",
        "rows written",
        "stored bytes",
        f"amount {found.tariff.currency}",
    )
    rows = [
        (
            name,
            quantity(metered(use, found.tariff)["requests"]),
            quantity(use.active_s),
            quantity(use.rows_read),
            quantity(use.rows_written),
            quantity(use.stored_bytes + use.kv_stored_bytes),
            money(caused[name]),
        )
        for name, use in parts.items()
    ]
    return columns, list(rows), ("without base fee", "", "", "", "", "", money(found.total - found.base_fee))


def _free(found: Bill) -> str:
    if not found.over_free:
        return "This fits the plan without a fee."
    return f"This is more than the plan without a fee has of: {', '.join(found.over_free)}."


def _print_table(columns: Row, rows: Sequence[Row], last: Row) -> None:
    if sys.stdout.isatty():
        _print_rich(columns, rows, last)
        return
    everything = [columns, *rows, last]
    widths = [max(len(row[place]) for row in everything) for place in range(len(columns))]
    for row in everything:
        cells = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _print_rich(columns: Row, rows: Sequence[Row], last: Row) -> None:
    shown = Table(show_footer=True)
    for place, (column, footer) in enumerate(zip(columns, last, strict=True)):
        shown.add_column(column, justify="right" if place else "left", footer=footer)
    for row in rows:
        shown.add_row(*[Text(cell) for cell in row])
    Console(highlight=False).print(shown)


# ---------------------------------------------------------------------- for programs
def print_json(found: Bill, parts: Mapping[str, Usage], of: str, about: Mapping[str, object]) -> None:
    """One object. Amounts and counts are texts with exact decimals where those end, else twelve digits."""
    caused = shares(found, parts)
    value = {
        **about,
        "tariff": found.tariff.name,
        "currency": found.tariff.currency,
        "lines": [
            {
                "meter": line.meter,
                "used": exact(line.used),
                "included": exact(line.included),
                "over": exact(line.over),
                "billed": exact(line.billed),
                "price": exact(line.price.price),
                "unit": exact(line.price.unit),
                "amount": exact(line.amount),
            }
            for line in found.lines
        ],
        "base_fee": exact(found.base_fee),
        "total": exact(found.total),
        "over_free": list(found.over_free),
        "by": of,
        "parts": {
            name: {
                **{meter: exact(used) for meter, used in metered(use, found.tariff).items()},
                "amount": exact(caused[name]),
            }
            for name, use in parts.items()
        },
    }
    click.echo(json.dumps(value, indent=2))


def exact(value: Fraction) -> str:
    """A decimal number: all its digits when they end, else twelve after the point."""
    rest, digits = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        digits = max(digits, power)
    return f"{decimal(value, digits if rest == 1 else 12):f}"
