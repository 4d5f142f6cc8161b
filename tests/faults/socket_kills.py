"""Processes of a runtime are killed one after the other, and its code is reloaded meanwhile, while a crowd talks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvloop
from perdure.cli.door import ask
from perdure.engine.errors import PerdureError

from ..system.runtime import Runtime, serving
from .socket_crowd import Connect, Crowd, Pauses, over_tcp
from .socket_history import Faults
from .socket_rooms import PROGRAM

RELOAD_S_MAX = 30.0
_EVERY_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What happens in one run. Sockets are spread evenly over the objects."""

    sockets: int
    objects: int
    seconds: float
    kills: int
    reloads: int
    each_per_s: float
    """Messages that every socket sends a second."""
    guests_every_s: float | None = None
    """Somebody joins so often, stays for a second or two and leaves."""
    victims: tuple[str, ...] = ("shard", "gateway")
    prelude: str = ""
    """Comes before the program's text: what patches the runtime's own code in the shards."""
    settle_s: float = 20.0
    flags: tuple[str, ...] = ("--shards", "2", "--gateways", "2")


@dataclasses.dataclass(slots=True)
class Outcome:
    """What was done, and what came of it."""

    faults: Faults
    pauses: Pauses
    kills: int
    reloads: int
    refused: int
    """Attempts to connect during the run that saw no 101."""
    said: str
    """What the runtime's processes reported."""


def _kill(runtime: Runtime, victims: tuple[str, ...], rng: random.Random) -> bool:
    pids = [pid for victim in victims for pid in runtime.pids(victim)]
    if not pids:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGKILL)
    return True


async def _killing(runtime: Runtime, plan: Plan, rng: random.Random) -> int:
    """So many kills, evenly over the run; a victim that is not there just now is waited for."""
    done, began = 0, time.monotonic()
    while done < plan.kills:
        await asyncio.sleep(max(0.0, began + (done + 0.5) * plan.seconds / plan.kills - time.monotonic()))
        while not _kill(runtime, plan.victims, rng):
            await asyncio.sleep(_EVERY_S)
        done += 1
    return done


async def _reloading(runtime: Runtime, plan: Plan, program: Path) -> int:
    """So many reloads, each repeated while processes die under it. Raises PerdureError when one does not succeed in time."""
    began = time.monotonic()
    for number in range(plan.reloads):
        await asyncio.sleep(max(0.0, began + (number + 0.5) * plan.seconds / plan.reloads - time.monotonic()))
        _write(program, plan, number + 2)
        end = time.monotonic() + RELOAD_S_MAX
        while True:
            try:
                await asyncio.to_thread(lambda: list(ask(runtime.data, "reload")))
                break
            except PerdureError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(_EVERY_S)
    return plan.reloads


def _write(program: Path, plan: Plan, version: int) -> None:
    made = program.with_suffix(".new")
    made.write_text(plan.prelude + PROGRAM.replace("VERSION = 1", f"VERSION = {version}"))
    made.rename(program)


Connecting = Callable[[Runtime], AbstractAsyncContextManager[Connect]]


@contextlib.asynccontextmanager
async def over_tcp_of(runtime: Runtime) -> AsyncGenerator[Connect]:
    """How users connect as clients do."""
    yield over_tcp(runtime.url.rstrip("/"))


async def _play(runtime: Runtime, program: Path, plan: Plan, rng: random.Random, connecting: Connecting) -> Outcome:
    async with connecting(runtime) as connect:
        return await _talk(Crowd(runtime.url.rstrip("/"), plan.objects, connect), runtime, program, plan, rng)


async def _talk(crowd: Crowd, runtime: Runtime, program: Path, plan: Plan, rng: random.Random) -> Outcome:
    stop = asyncio.Event()
    await crowd.fill(plan.sockets)
    refused = crowd.refused
    talking = [asyncio.create_task(crowd.talk(plan.each_per_s, stop))]
    if plan.guests_every_s is not None:
        talking.append(asyncio.create_task(crowd.come_and_go(plan.guests_every_s, stop)))
    try:
        kills, reloads, _ = await asyncio.gather(
            _killing(runtime, plan, rng), _reloading(runtime, plan, program), asyncio.sleep(plan.seconds)
        )
        stop.set()
        await asyncio.gather(*talking)
        await crowd.settle(plan.settle_s)
        faults = await crowd.check()
    finally:
        stop.set()
        for task in talking:
            task.cancel()
        crowd.leave()
    return Outcome(faults, crowd.pauses(), kills, reloads, crowd.refused - refused, "")


def play(tmp_path: Path, plan: Plan, seed: int, connecting: Connecting = over_tcp_of) -> Outcome:
    """Run the plan on a runtime of its own. `connecting`: how users reach it, by default as clients do."""
    program = tmp_path / "rooms.py"
    _write(program, plan, 1)
    with serving(str(program), str(tmp_path / "data"), *plan.flags) as runtime:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcome = runner.run(_play(runtime, program, plan, random.Random(seed), connecting))
        outcome.said = runtime.text()
    return outcome
