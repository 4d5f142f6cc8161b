"""What programs that misbehave do to the others of their shard: a user calls one object while another runs a hazard.

What is counted: the p99 of that user's calls before, while the hazard runs (with the longest wait), and after. The budget of a
turn is set to one second for the measurement; the default is 30.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import perdure
import uvloop
from perdure.engine.errors import PerdureError

from .report import Row
from .running import Runtime

BUDGET_S = 1.0
LATE_S = 0.5
"""How much later than the budget others must be served again."""
AFTER_RATIO_MAX = 3.0
_NOISE_MS = 2.0
"""A p99 below this is not told from the machine's noise."""
KINDS = ("spin", "sleep", "regex", "swallow", "hog")
NAMES = tuple(f"hazard_{kind}" for kind in KINDS)
_PAUSE_S = 0.001


@dataclass(frozen=True, slots=True)
class Effect:
    """Of one hazard on the others, in milliseconds."""

    before_p99: float
    during_p99: float
    longest: float
    after_p99: float
    error: str


class User:
    """Calls one object all the time, one call after the other."""

    def __init__(self, client: perdure.Client) -> None:
        self._increment = client.namespace("Probe").getByName("other").increment
        self.found: list[tuple[float, float]] = []
        """(began, took) of every call, in seconds."""

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await self._increment()
            self.found.append((began, time.monotonic() - began))
            await asyncio.sleep(_PAUSE_S)

    def between(self, begin_s: float, end_s: float) -> list[float]:
        """Milliseconds of the calls that were under way then."""
        return [took * 1e3 for began, took in self.found if began < end_s and began + took > begin_s]


def p99(found: list[float]) -> float:
    """Of a few it is the longest."""
    return sorted(found)[len(found) * 99 // 100]


async def effect(client: perdure.Client, kind: str, seconds: float) -> Effect:
    """Run one hazard beside the user. Raises RuntimeError when it is not broken."""
    user = User(client)
    task = asyncio.create_task(user.run())
    try:
        begin = time.monotonic()
        await asyncio.sleep(seconds)
        hazard = time.monotonic()
        error = ""
        try:
            await getattr(client.namespace("Hazard").getByName(kind), kind)()
        except PerdureError as raised:
            error = raised.code
        ended = time.monotonic()
        await asyncio.sleep(seconds)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not error:
        raise RuntimeError(f"{kind} was not broken")
    during = user.between(hazard, ended)
    return Effect(
        p99(user.between(begin, hazard - 0.05)),
        p99(during),
        max(during),
        p99(user.between(ended + 0.05, ended + seconds)),
        error,
    )


def rows(kind: str, found: Effect) -> Row:
    """The ratio is how much of its bound each figure leaves, the worse of both: 1 and more is good."""
    again = (BUDGET_S + LATE_S) * 1e3 / max(found.longest, 1e-3)
    after = AFTER_RATIO_MAX * max(found.before_p99, _NOISE_MS) / max(found.after_p99, 1e-3)
    details = {
        "before_p99_ms": round(found.before_p99, 2),
        "during_p99_ms": round(found.during_p99, 1),
        "after_p99_ms": round(found.after_p99, 2),
    }
    bound = (BUDGET_S + LATE_S) * 1e3
    return Row(f"hazard_{kind}", 1.0, bound, round(found.longest, 1), round(min(again, after), 3), "ms", details)


def measure(names: Sequence[str], folder: str | None, *, quick: bool) -> list[Row]:
    """One row a hazard, each on a shard that has served the ones before."""
    found: list[Row] = []
    with Runtime(folder, {"turn_ms_max": round(BUDGET_S * 1e3)}) as runtime:
        runtime.serve()

        async def run() -> None:
            async with perdure.connect(runtime.address, deadline_s=20) as client:
                for kind in KINDS:
                    if f"hazard_{kind}" in names:
                        print(f"bench: hazard_{kind}", file=sys.stderr)
                        found.append(rows(kind, await effect(client, kind, 1.0 if quick else 3.0)))

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    return found
