"""The load generators: users on one event loop, each with one call in flight; and wrk over HTTP. Bounded in time."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Sample:
    """Calls a second, latencies in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float


async def drive(calls: Sequence[Call], in_flight: int, seconds: float) -> Sample:
    """`in_flight` users, each calling a random one of `calls` after the other."""
    loop = asyncio.get_running_loop()
    stop = loop.time() + seconds
    latencies: list[float] = []
    choose = random.Random(1).choice

    async def user() -> None:
        while loop.time() < stop:
            began = time.perf_counter()
            await choose(calls)()
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*[user() for _ in range(in_flight)])
    return summarise(latencies, time.perf_counter() - began)


def summarise(latencies: list[float], elapsed_s: float) -> Sample:
    latencies.sort()
    count = len(latencies)
    return Sample(count / elapsed_s, latencies[count // 2] * 1e3, latencies[count * 99 // 100] * 1e3)


_WRK = """
local names = {}
for i = 0, %d - 1 do names[i] = string.format("%s/counter/o%%05d/%s", i) end
local next = 0
request = function()
  next = (next * 1103515245 + 12345) %% 2147483648
  return wrk.format("%s", names[math.floor(next / 65536) %% %d])
end
"""
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def wrk(url: str, method: str, action: str, objects: int, in_flight: int, seconds: float) -> Sample:
    """wrk with keep-alive. Raises FileNotFoundError when it is not installed, RuntimeError when answers were errors."""
    program = shutil.which("wrk")
    if program is None:
        raise FileNotFoundError("wrk is not installed: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_WRK % (objects, "", action, method, objects))
        script.flush()
        command = [
            program,
            "-t1",
            f"-c{in_flight}",
            f"-d{max(round(seconds), 1)}s",
            "--latency",
            "-s",
            script.name,
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    if "Non-2xx" in done.stdout:
        raise RuntimeError(f"wrk saw errors:\n{done.stdout}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])  # type: ignore[index]

    def percentile(name: str) -> float:
        number, unit = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", done.stdout).groups()  # type: ignore[union-attr]
        return float(number) * _UNITS[unit]

    return Sample(rate, percentile("50"), percentile("99"))
