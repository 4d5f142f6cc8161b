"""What objects that are asleep cost the shard that had them: its memory, compared with what it was before.

A shard is warmed up with a few objects; then many are called once each, with a write, and left alone. Once they have left memory
and their marks are made the shard may hold little more than before: nothing of an object that sleeps stays in its process, which
may be another one by then (a renewal, decision 013).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import perdure
import uvloop

from .report import Row
from .running import Runtime, memory_now_kib

NAMES = ("idle_memory",)
RATIO_MAX = 1.1
_ASLEEP_S_MAX = 60.0
_WARM_UP = 1_000
_USERS = 128


async def _touch(runtime: Runtime, what: str, count: int) -> None:
    async with perdure.connect(runtime.address) as client:
        probes = client.namespace("Probe")
        numbers = iter(range(count))

        async def user() -> None:
            for number in numbers:
                await probes.getByName(f"{what} {number}").increment()

        await asyncio.gather(*[user() for _ in range(_USERS)])


def _run(body: object) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body)  # type: ignore[arg-type]


def _shard(runtime: Runtime) -> int:
    """The process that has the shard now: a renewal gives it another one. Waits while none has."""
    while True:
        found = runtime.pids("shard")
        if len(found) == 1:
            return found[0]
        time.sleep(0.05)


def _held_kib(runtime: Runtime) -> int:
    while True:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it was renewed just now
            return memory_now_kib(_shard(runtime))


def _settled_kib(runtime: Runtime, below_kib: float, seconds: float) -> tuple[int, float]:
    """The least memory of the shard, and when it was first so low as wanted; waits no longer than `seconds`."""
    began = time.monotonic()
    least = _held_kib(runtime)
    while least > below_kib and time.monotonic() - began < seconds:
        time.sleep(0.5)
        least = min(least, _held_kib(runtime))
    return least, time.monotonic() - began


def measure(names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """The row `idle_memory`."""
    del names  # there is one
    objects = 4_000 if quick else 100_000
    with Runtime(folder, {"idle_hibernate_ms": 2_000}) as runtime:
        runtime.serve()
        print("bench: idle_memory", file=sys.stderr)
        _run(_touch(runtime, "warm", _WARM_UP))
        base, _ = _settled_kib(runtime, 0, 10 if quick else 45)
        began = time.monotonic()
        _run(_touch(runtime, "cold", objects))
        touched_s = time.monotonic() - began
        peak = _held_kib(runtime)
        before = _shard(runtime)
        least, asleep_s = _settled_kib(runtime, base * RATIO_MAX, 15 if quick else _ASLEEP_S_MAX)
        renewed = _shard(runtime) != before
    details = {
        "objects": float(objects),
        "peak_MiB": round(peak / 1024, 1),
        "touched_s": round(touched_s, 1),
        "asleep_s": round(asleep_s, 1),
        "renewed": float(renewed),
    }
    goal = round(1 / RATIO_MAX, 3)
    return [
        Row("idle_memory", goal, round(base / 1024, 1), round(least / 1024, 1), round(base / least, 3), "MiB", details)
    ]


if __name__ == "__main__":
    from .report import show

    show(measure(list(NAMES), None, quick="--quick" in sys.argv))
