"""One line of the report, whatever was measured, and how the lines are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """A figure beside the bare one of the same run. `ratio`: how much of the bare speed it has, whatever the unit."""

    name: str
    goal: float | None
    """The least ratio; None: shown, not checked."""
    baseline: float
    measured: float
    ratio: float
    unit: str = "/s"
    details: dict[str, float] = field(default_factory=dict)
    """What else was found, by name with its unit."""

    @property
    def met(self) -> bool:
        """Whether the goal is reached, if there is one."""
        return self.goal is None or self.ratio >= self.goal

    def as_json(self) -> dict[str, object]:
        """The line as plain values."""
        figures = {"name": self.name, "goal": self.goal, "baseline": self.baseline, "measured": self.measured}
        return {**figures, "unit": self.unit, "ratio": self.ratio, "met": self.met, **self.details}


def show(rows: Iterable[Row]) -> None:
    """A table; plain text when piped."""
    table = Table(title="the product beside the bare path, in one run")
    for name in ("name", "bare", "measured", "unit", "ratio", "goal", "", "more"):
        table.add_column(name, justify="left" if name in ("name", "unit", "more") else "right")
    for row in rows:
        met = "" if row.goal is None else ("[green]ok[/]" if row.met else "[red]below[/]")
        more = ", ".join(f"{name} {value:,}" for name, value in row.details.items())
        figures = (f"{row.baseline:,}", f"{row.measured:,}", row.unit, f"{row.ratio:.3f}", str(row.goal or ""))
        table.add_row(row.name, *figures, met, more)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
