"""What the other objects of a shard notice of one that is called at ten times its soft limit.

    python -m bench.fairness ADDRESS RATE SECONDS      one of the clients that call the hot object

The hot object's calls come from processes of their own, at a fixed rate, whether answered or not. The wait of the others is
measured from one more process, without and with the hot calls in turn.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import perdure
import uvloop

from .report import Row
from .running import Runtime

NAMES = ("fairness",)
_HOT_RATE = 10_000.0
_CLIENTS = 3
_OTHERS = 50
_USERS = 4
_PAUSE_S = 0.002
_STEP_S = 0.005
_UNANSWERED_MAX = 1_500
_TIMES_WORSE_MAX = 3.0


async def _press(address: str, rate: float, seconds: float) -> int:
    """Call the hot object at a rate; how many calls were answered."""
    loop = asyncio.get_running_loop()
    pending: set[asyncio.Future[object]] = set()
    answered = 0

    def ended(future: asyncio.Future[object]) -> None:
        nonlocal answered
        pending.discard(future)
        if not future.cancelled() and future.exception() is None:
            answered += 1

    async with perdure.connect(address) as client:
        hot = client.namespace("Probe").getByName("hot")
        began, sent = loop.time(), 0
        while (passed := loop.time() - began) < seconds:
            for _ in range(min(int(passed * rate) - sent, _UNANSWERED_MAX - len(pending))):
                future = asyncio.ensure_future(hot.increment())
                pending.add(future)
                future.add_done_callback(ended)
            sent = int(passed * rate)
            await asyncio.sleep(_STEP_S)
        if pending:
            await asyncio.wait(pending, timeout=10)
    return answered


async def _waits(address: str, seconds: float) -> list[float]:
    """Seconds that calls of other objects take."""
    found: list[float] = []
    async with perdure.connect(address) as client:
        others = [client.namespace("Probe").getByName(f"other {number}") for number in range(_OTHERS)]
        await asyncio.gather(*[other.increment() for other in others])
        stop = time.monotonic() + seconds

        async def user(seed: int) -> None:
            choose = random.Random(seed).choice
            while time.monotonic() < stop:
                began = time.perf_counter()
                await choose(others).increment()
                found.append(time.perf_counter() - began)
                await asyncio.sleep(_PAUSE_S)

        await asyncio.gather(*[user(seed) for seed in range(_USERS)])
    return found


def _p99_ms(waits: list[float]) -> float:
    return sorted(waits)[len(waits) * 99 // 100] * 1e3


def _round(runtime: Runtime, seconds: float) -> tuple[float, float, float]:
    """p99 without and with the hot calls in milliseconds, and how many hot calls a second were answered."""
    address = runtime.address
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        alone = _p99_ms(runner.run(_waits(address, seconds)))
        command = ["bench.fairness", address, str(_HOT_RATE / _CLIENTS), str(seconds + 1)]
        clients = [runtime.start(*command, stdout=subprocess.PIPE) for _ in range(_CLIENTS)]
        time.sleep(0.7)
        beside = _p99_ms(runner.run(_waits(address, seconds)))
    answered = sum(int(client.communicate(timeout=60)[0]) for client in clients)
    return alone, beside, answered / (seconds + 1)


def measure(_wanted: Sequence[str], folder: str | None, *, quick: bool = False) -> list[Row]:
    """The row. Its ratio is the bound of three times divided by how many times worse the p99 was: the goal is 1."""
    with Runtime(folder) as runtime:
        runtime.serve()
        rounds = [_round(runtime, 0.5 if quick else 3.0) for _ in range(1 if quick else 5)]
        runtime.stop()
    worse = statistics.median(beside / alone for alone, beside, _ in rounds)
    details = {
        "times_worse": round(worse, 2),
        "p99_alone_ms": round(statistics.median(alone for alone, _, _ in rounds), 2),
        "hot_per_s": round(statistics.median(rate for _, _, rate in rounds)),
    }
    found = round(statistics.median(beside for _, beside, _ in rounds), 2)
    bound = round(details["p99_alone_ms"] * _TIMES_WORSE_MAX, 2)
    return [Row("fairness", None if quick else 1.0, bound, found, round(_TIMES_WORSE_MAX / worse, 3), "ms", details)]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as pressing:
        print(pressing.run(_press(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))))
