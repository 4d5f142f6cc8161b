"""`scripts/bench [NAME…] [--json FILE] [--seconds S] [--check] [--quick]`: every figure beside its ceiling, or its bound.

docs/benchmarks.md says what each row means.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import statistics
import sys

import click

from . import (
    alarms,
    fairness,
    hazards,
    history_cost,
    idle,
    object_calls,
    queues,
    reloads,
    sockets,
    stalls,
    starts,
    storage,
)
from .load import Sample
from .report import Row, show
from .rigs import Bare, Product
from .scenarios import SCENARIOS, Scenario, measure

PARTS = (
    stalls,
    starts,
    history_cost,
    reloads,
    fairness,
    idle,
    alarms,
    object_calls,
    queues,
    sockets,
    hazards,
)
"""Scenarios that start runtimes of their own."""


def row(scenario: Scenario, pairs: list[tuple[Sample, Sample]]) -> Row:
    """One line of the report. The ratio is the median of the pairs'."""
    ratio = statistics.median(product.rate / bare.rate for bare, product in pairs)
    bare = statistics.median(sample.rate for sample, _ in pairs)
    product = statistics.median(sample.rate for _, sample in pairs)
    details = {
        "in flight": float(scenario.in_flight),
        "p50_ms": round(statistics.median(sample.p50_ms for _, sample in pairs), 3),
        "p99_ms": round(statistics.median(sample.p99_ms for _, sample in pairs), 3),
    }
    return Row(scenario.name, scenario.goal, round(bare), round(product), round(ratio, 3), "/s", details)


def _on_data_folders(names: tuple[str, ...], folder: str | None, quick: bool) -> list[Row]:
    """The rows that start runtimes of their own."""
    rows: list[Row] = []
    for part in PARTS:
        wanted = [name for name in part.NAMES if not names or name in names]
        if wanted:
            found = part.measure(wanted, folder, quick=quick)
            rows += [row for row in found if not names or row.name in names]
    return rows


@click.command()
@click.argument("names", nargs=-1)
@click.option("--json", "path", help="write the figures to FILE")
@click.option("--seconds", type=float, default=6.0, help="for each side of each scenario")
@click.option("--check", is_flag=True, help="exit 1 when a figure is below its goal")
@click.option("--quick", is_flag=True, help="small objects and logs: whether it works, not how fast")
@click.option("--folder", help="where the scratch folders go: a real disk, not tmpfs")
def main(
    names: tuple[str, ...], path: str | None, seconds: float, check: bool, quick: bool, folder: str | None
) -> None:
    """Run the scenarios (all, or those named)."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    own = [name for part in PARTS for name in part.NAMES]
    known = [*storage.NAMES, *own, *(scenario.name for scenario in SCENARIOS)]
    if "hazards" in names:
        names = (*(name for name in names if name != "hazards"), *hazards.NAMES)
    for name in names:
        if name not in known:
            raise click.UsageError(f"no scenario {name!r}; there are: {', '.join(known)}")
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    missing = [scenario.name for scenario in chosen if scenario.over == "http"] if shutil.which("wrk") is None else []
    if missing:
        print(f"bench: skipped, wrk is not installed (apt-get install wrk): {', '.join(missing)}", file=sys.stderr)
        chosen = [scenario for scenario in chosen if scenario.over != "http"]
    inside = [name for name in storage.NAMES if not names or name in names]
    rows = storage.measure(inside, folder) if inside else []
    if chosen:
        with Bare(folder) as bare, Product(folder) as product:
            for number, scenario in enumerate(chosen, start=1):
                print(f"bench: {number}/{len(chosen)} {scenario.name}", file=sys.stderr)
                rows.append(row(scenario, measure(scenario, bare, product, seconds)))
    rows += _on_data_folders(names, folder, quick)
    show(rows)
    if path:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
        with open(path, "w") as file:
            json.dump(
                {"machine": machine, "seconds": seconds, "rows": [found.as_json() for found in rows]}, file, indent=2
            )
    below = [found.name for found in rows if not found.met]
    if check and below:
        sys.exit(f"below the goal: {', '.join(below)}")
    if check and missing:
        sys.exit(f"not measured: {', '.join(missing)}")


if __name__ == "__main__":
    main()
