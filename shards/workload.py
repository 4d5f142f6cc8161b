"""A planned workload: what a month is expected to use, from a file that people write. Pure.

What always holds: what the file does not name is 0; a name that is not known is an error, never ignored.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from ..engine.errors import ConfigError
from .bill import USAGE_NAMES, Usage
from .tariff import number, table, unknown

_OF_A_WORKLOAD = ("name", "objects", *USAGE_NAMES)


def read_workloads(text: str, where: str) -> dict[str, Usage]:
    """Name → what it uses in a month, all its objects together. TOML, or JSON when `where` ends so. Raises ConfigError.

    Counts on the top level are a month's totals. Each `[[workloads]]` has counts of ONE object, `objects` (1 by default) of
    them, and a `name`.
    """
    found = _parse(text, where)
    known = ("workloads", *USAGE_NAMES)
    for key in found:
        if key not in known:
            raise unknown(where, key, known)
    uses: dict[str, Usage] = {}
    total = {name: value for name, value in found.items() if name in USAGE_NAMES}
    if total:
        uses["total"] = _usage(where, total)
    workloads = found.get("workloads", [])
    if not isinstance(workloads, list):
        raise ConfigError(f"{where}: workloads must be a list of tables", hint="write each as [[workloads]]")
    for count, value in enumerate(cast("list[object]", workloads), 1):
        name, use = _workload(f"{where}: workload {count}", table(f"{where}: workload {count}", value), count)
        if name in uses:
            raise ConfigError(f"{where}: two workloads are called {name!r}", hint="give each a name of its own")
        uses[name] = use
    if not uses:
        raise ConfigError(f"{where} names nothing that is used", hint=f"known: {', '.join(known)}")
    return uses


def _parse(text: str, where: str) -> Mapping[str, object]:
    try:
        if where.endswith(".json"):
            found: object = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
            return table(where, found)
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        kind = "JSON" if where.endswith(".json") else "TOML"
        raise ConfigError(
            f"{where} is not {kind}: {error}", hint="JSON files end with .json, others are TOML"
        ) from error


def _workload(where: str, found: Mapping[str, object], count: int) -> tuple[str, Usage]:
    for key in found:
        if key not in _OF_A_WORKLOAD:
            raise unknown(where, key, _OF_A_WORKLOAD)
    name = found.get("name", f"workload {count}")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: name must be a text, got {name!r}")
    objects = number(f"{where}: objects", found.get("objects", 1))
    counts = {key: value for key, value in found.items() if key in USAGE_NAMES}
    return name, _usage(where, counts).times(objects)


def _usage(where: str, counts: Mapping[str, object]) -> Usage:
    return Usage(**{name: number(f"{where}: {name}", value) for name, value in counts.items()})


def together(uses: Mapping[str, Usage]) -> Usage:
    """All workloads as one month."""
    total = Usage()
    for use in uses.values():
        total = total + use
    return total
