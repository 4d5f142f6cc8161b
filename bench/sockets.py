"""Sockets: what many that sleep cost, echoes of one object, and a broadcast; beside `workerd` with the same program and users.

`sockets_idle` adds up the memory of all processes before and after the sockets are there and their objects have left it; then one
socket speaks, and only its object may wake.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import uvloop

from .load import Sample, summarise
from .report import Row
from .rigs import ROOT
from .running import Runtime, memory_now_kib
from .socket_peer import OutOfReach, peer
from .socket_users import Crowd, broadcast, echo, echo_at

T = TypeVar("T")
NAMES = ("sockets_idle", "sockets_echo", "sockets_broadcast")
PROGRAM = f"{ROOT}/bench/socketing"
_KIB_EACH_MAX = 14.0
_ECHOES_OF_THE_PEER = 2.0
_FRAMES_A_SECOND = 100_000
_IDLE_SOCKETS, _IDLE_OBJECTS = 10_000, 1_000
_USERS, _LISTENERS = 200, 1_000
_OPEN_LOOP_RATE = 2_000
_ASLEEP_S_MAX = 30.0
_WARM_UP, _WARM_S = 500, 6.0
"""Sockets that come and go before; the pause after them."""
_BROADCASTS_UNDER_WAY = 4
_LIMITS = {"idle_hibernate_ms": 2_000}


def _run(work: Awaitable[T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)  # type: ignore[arg-type]


def _on_sockets(url: str) -> str:
    return url.rstrip("/").replace("http", "ws", 1)


async def _crowd(url: str, objects: int, sockets: int) -> Crowd:
    crowd = Crowd()
    await crowd.join([f"{_on_sockets(url)}/hall{n % objects}" for n in range(sockets)], lambda _user: None)
    return crowd


async def _echoes(url: str, users: int, seconds: float) -> tuple[Sample, float]:
    """Closed loop, and the p99 in milliseconds at a fixed rate that both sides can keep."""
    crowd = await _crowd(url, 1, users)
    try:
        await echo(crowd, seconds / 3)
        count, latencies, took = await echo(crowd, seconds)
        sample = summarise(latencies, took)
        steady = sorted(await echo_at(crowd, _OPEN_LOOP_RATE, seconds))
        return Sample(count / took, sample.p50_ms, sample.p99_ms), steady[len(steady) * 99 // 100] * 1e3
    finally:
        crowd.leave()


async def _broadcasts(url: str, listeners: int, seconds: float) -> tuple[float, float]:
    """Frames a second; the median time in milliseconds until the last socket had a message."""
    crowd = await _crowd(url, 1, listeners)
    try:
        await broadcast(crowd, seconds / 3, _BROADCASTS_UNDER_WAY)
        frames, spans, took = await broadcast(crowd, seconds, _BROADCASTS_UNDER_WAY)
        return frames / took, statistics.median(spans) * 1e3
    finally:
        crowd.leave()


def _in_turn(runtime: Runtime, work: Callable[[str], Awaitable[T]], rounds: int) -> tuple[list[T], list[T]]:
    """The product's, and the reference's (none where it cannot be had), one after the other."""
    ours: list[T] = []
    theirs: list[T] = []
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(peer(f"{runtime.folder}/peer")).url
        except OutOfReach as error:
            print(f"bench: without workerd: {error}", file=sys.stderr)
            url = ""
        for _ in range(rounds):
            if url:
                theirs.append(_run(work(url)))
            ours.append(_run(work(runtime.url)))
    return ours, theirs


def _echo_row(runtime: Runtime, *, quick: bool) -> Row:
    users, seconds, rounds = (20, 0.5, 1) if quick else (_USERS, 3.0, 3)
    ours, theirs = _in_turn(runtime, lambda url: _echoes(url, users, seconds), rounds)
    found = statistics.median(sample.rate for sample, _ in ours)
    details = {
        "p99_ms": round(statistics.median(sample.p99_ms for sample, _ in ours), 2),
        f"p99_ms_at_{_OPEN_LOOP_RATE}": round(statistics.median(p99 for _, p99 in ours), 2),
    }
    if not theirs:
        return Row("sockets_echo", None, 0, round(found), 1.0, "/s", details)
    baseline = statistics.median(sample.rate for sample, _ in theirs)
    ratio = statistics.median(mine.rate / other.rate for (mine, _), (other, _) in zip(ours, theirs, strict=True))
    details["workerd_p99_ms"] = round(statistics.median(sample.p99_ms for sample, _ in theirs), 2)
    details[f"workerd_p99_ms_at_{_OPEN_LOOP_RATE}"] = round(statistics.median(p99 for _, p99 in theirs), 2)
    goal = None if quick else _ECHOES_OF_THE_PEER
    return Row("sockets_echo", goal, round(baseline), round(found), round(ratio, 3), "/s", details)


def _broadcast_row(runtime: Runtime, *, quick: bool) -> Row:
    listeners, seconds, rounds = (50, 0.5, 1) if quick else (_LISTENERS, 3.0, 3)
    ours, theirs = _in_turn(runtime, lambda url: _broadcasts(url, listeners, seconds), rounds)
    found = statistics.median(rate for rate, _ in ours)
    details = {"median_ms": round(statistics.median(ms for _, ms in ours), 2)}
    if theirs:
        details["workerd_per_s"] = float(round(statistics.median(rate for rate, _ in theirs)))
        details["workerd_median_ms"] = round(statistics.median(ms for _, ms in theirs), 2)
    goal = None if quick else 1.0
    ratio = round(found / _FRAMES_A_SECOND, 3)
    return Row("sockets_broadcast", goal, _FRAMES_A_SECOND, round(found), ratio, "/s", details)


def _memory_kib(runtime: Runtime) -> dict[str, int]:
    """Of each kind of process, all of it together."""
    kinds = ("supervisor", "router", "gateway", "keeper", "shard", "archivist")
    return {kind: sum(memory_now_kib(pid) for pid in runtime.pids(kind)) for kind in kinds}


async def _asleep(runtime: Runtime, before: dict[str, int], seconds: float) -> dict[str, int]:
    """What is held when the objects have left memory, the least that was seen of each kind; bounded in time."""
    least: dict[str, int] = {}
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        now = _memory_kib(runtime)
        least = {kind: min(kib, least.get(kind, kib)) for kind, kib in now.items()}
        if time.monotonic() - began > 10 and least["shard"] <= before["shard"]:
            break
        await asyncio.sleep(1.0)
    return least


async def _idle(
    runtime: Runtime, objects: int, sockets: int, seconds: float
) -> tuple[dict[str, int], dict[str, int], int]:
    """Memory before and after, and how many objects woke when a socket of one spoke."""
    warm = await _crowd(runtime.url, min(objects, _WARM_UP), min(sockets, _WARM_UP))
    warm.leave()
    await asyncio.sleep(_WARM_S)
    before = _memory_kib(runtime)
    crowd = await _crowd(runtime.url, objects, sockets)
    try:
        after = await _asleep(runtime, before, seconds)
        first = int(await crowd.users[0].ask(b"woken?"))
        second = int(await crowd.users[1].ask(b"woken?"))
        if crowd.lost:
            raise RuntimeError(f"{crowd.lost} connections were lost")
        return before, after, second - first
    finally:
        crowd.leave()


def _idle_row(folder: str | None, *, quick: bool) -> Row:
    objects, sockets = (50, 500) if quick else (_IDLE_OBJECTS, _IDLE_SOCKETS)
    _allow_files(sockets + 1_000)
    with Runtime(folder, _LIMITS) as runtime:
        runtime.serve(PROGRAM, shards=1)
        before, after, woke = _run(_idle(runtime, objects, sockets, 5.0 if quick else _ASLEEP_S_MAX))
        runtime.stop()
    each = {kind: round((after[kind] - before[kind]) / sockets, 2) for kind in before}
    total = round(sum(max(kib, 0.0) for kib in each.values()), 2)  # a shard that was renewed has less than before
    details = {
        "sockets": float(sockets),
        "woken_by_one": float(woke),
        **{f"{kind}_KiB": kib for kind, kib in each.items() if kib},
    }
    goal = None if quick else 1.0
    ratio = round(_KIB_EACH_MAX / max(total, 0.01), 3) if woke == 1 else 0.0
    return Row("sockets_idle", goal, _KIB_EACH_MAX, total, ratio, "KiB", details)


def _allow_files(count: int) -> None:
    """For this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def measure(wanted: Sequence[str], folder: str | None, *, quick: bool = False) -> list[Row]:
    """The rows that are wanted."""
    rows: list[Row] = []
    if "sockets_idle" in wanted:
        print("bench: sockets_idle", file=sys.stderr)
        rows.append(_idle_row(folder, quick=quick))
    if {"sockets_echo", "sockets_broadcast"} & set(wanted):
        with Runtime(folder) as runtime:
            runtime.serve(PROGRAM, shards=1)
            for name, row in (("sockets_echo", _echo_row), ("sockets_broadcast", _broadcast_row)):
                if name in wanted:
                    print(f"bench: {name}", file=sys.stderr)
                    rows.append(row(runtime, quick=quick))
            runtime.stop()
    return rows
