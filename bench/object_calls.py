"""What it costs that objects call objects: a chain of them, and one that calls a thousand and waits for all.

`chain`: the bound is 3.3 times the time of one hop, measured in turn; the first hop is a client's call, the others an object's.
`stream_hops`: a stream that an object makes, a second one passes on piece by piece, and a client reads.
`fan_out`: calls a second to a thousand objects, each one durable write, beside what the bare path does with a thousand objects.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

import perdure
import uvloop

from .ceiling import Caller
from .load import drive
from .report import Row
from .rigs import Bare
from .running import Runtime, forget_memory_peak, memory_peak_kib

NAMES = ("chain", "fan_out", "stream_hops")
_TIMES_ONE_HOP_MAX = 3.3
_OBJECTS = 1_000
_IN_FLIGHT = 64
_SHARE_OF_THE_CEILING = 0.4
_STREAM_MB = 10
_STREAM_MB_A_SECOND = 200
_STREAM_GROWTH_MIB_MAX = 32
"""What shards may take more while a hundred times as much passes through: what is under way, not the stream."""


async def _hops(address: str, calls: int) -> tuple[list[float], list[float]]:
    """Seconds that one hop, and three hops, take: in turn."""
    one: list[float] = []
    three: list[float] = []
    async with perdure.connect(address) as client:
        links = client.namespace("Link")
        for round_ in range(calls):
            first = links.getByName(f"first {round_ % 20}")
            for names, found in (([], one), ([f"second {round_ % 20}", f"third {round_ % 20}"], three)):
                began = time.perf_counter()
                await first.pass_on(names)
                found.append(time.perf_counter() - began)
    return one, three


async def _fan(address: str, objects: int, seconds: float) -> float:
    """Calls a second that one object makes to so many."""
    async with perdure.connect(address) as client:
        link = client.namespace("Link").getByName("fan")
        await link.fan_out(objects)
        began, rounds = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            await link.fan_out(objects)
            rounds += 1
    return rounds * objects / passed


async def _bare(endpoint: str, objects: int, seconds: float) -> float:
    caller = Caller(asyncio.get_running_loop(), endpoint)
    calls = [caller.caller(f"o{number:05d}", "increment") for number in range(objects)]
    return (await drive(calls, _IN_FLIGHT, seconds)).rate


async def _streamed(address: str, mebibytes: int, times: int) -> list[float]:
    """MB a second through two hops, each time."""
    found: list[float] = []
    async with perdure.connect(address) as client:
        second = client.namespace("Link").getByName("second")
        for _ in range(times):
            began, total = time.perf_counter(), 0
            async for piece in await second.pass_stream("first", mebibytes):
                total += len(piece)
            assert total == mebibytes << 20
            found.append(total / 1e6 / (time.perf_counter() - began))
    return found


def _on_uvloop(work):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _chain(runtime: Runtime, *, quick: bool) -> Row:
    one, three = _on_uvloop(_hops(runtime.address, 100 if quick else 3_000))
    times = statistics.median(three) / statistics.median(one)
    bound_us = statistics.median(one) * 1e6 * _TIMES_ONE_HOP_MAX
    details = {"one_hop_us": round(statistics.median(one) * 1e6), "times_one_hop": round(times, 2)}
    goal = None if quick else 1.0
    ratio = round(_TIMES_ONE_HOP_MAX / times, 3)
    return Row("chain", goal, round(bound_us), round(statistics.median(three) * 1e6), ratio, "µs", details)


def _fan_out(runtime: Runtime, folder: str | None, *, quick: bool) -> Row:
    objects, seconds, rounds = (50, 0.3, 1) if quick else (_OBJECTS, 3.0, 3)

    def pair(bare: Bare) -> tuple[float, float]:
        ceiling = _on_uvloop(_bare(bare.endpoint, objects, seconds))
        return ceiling, _on_uvloop(_fan(runtime.address, objects, seconds))

    with Bare(folder) as bare:
        pairs = [pair(bare) for _ in range(rounds)]
    ratio = statistics.median(product / ceiling for ceiling, product in pairs)
    baseline = statistics.median(ceiling for ceiling, _ in pairs)
    found = statistics.median(product for _, product in pairs)
    goal = None if quick else _SHARE_OF_THE_CEILING
    return Row("fan_out", goal, round(baseline), round(found), round(ratio, 3), "/s")


def _stream_hops(runtime: Runtime, *, quick: bool) -> Row:
    """The ratio is of the speed; over the bound of memory it is 0."""
    _on_uvloop(_streamed(runtime.address, _STREAM_MB, 2))
    pids = runtime.pids("shard")
    before = {pid: forget_memory_peak(pid) for pid in pids}
    rates = _on_uvloop(_streamed(runtime.address, _STREAM_MB, 3 if quick else 30))
    rates += _on_uvloop(_streamed(runtime.address, _STREAM_MB * (2 if quick else 100), 1))
    growth = max(memory_peak_kib(pid) - before[pid] for pid in pids) / 1024
    rate = statistics.median(rates)
    flat = growth <= _STREAM_GROWTH_MIB_MAX
    details = {"growth_MiB": round(growth, 1), "of_1_GB": round(rates[-1])}
    ratio = round(rate / _STREAM_MB_A_SECOND, 3) if flat else 0.0
    return Row("stream_hops", None if quick else 1.0, _STREAM_MB_A_SECOND, round(rate), ratio, "MB/s", details)


def measure(wanted: Sequence[str], folder: str | None, *, quick: bool = False) -> list[Row]:
    """The rows that are wanted."""
    rows: list[Row] = []
    with Runtime(folder) as runtime:
        runtime.serve(shards=2)
        if "chain" in wanted:
            rows.append(_chain(runtime, quick=quick))
        if "fan_out" in wanted:
            rows.append(_fan_out(runtime, folder, quick=quick))
        if "stream_hops" in wanted:
            rows.append(_stream_hops(runtime, quick=quick))
        runtime.stop()
    return rows
