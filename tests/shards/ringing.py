"""Shards on one data folder in virtual time, whose objects' alarms fire: killed, dealt anew, without their catalogue.

`World(folder).run(body)`. What always holds: nothing waits for real; a run is what its test says and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from perdure.engine.limits import Limits
from perdure.shards.leaving import Leaving
from perdure.shards.log import delete_session, sessions
from perdure.testing.disk import SimDisk
from perdure.testing.virtual import VirtualLoop, run

from ..engine.box import RESULTS, SCRIPTS, Plain
from ..sim.machine import KEY, Machine
from .session import RealDisk

START_S = 1_000.0
NAMES = [f"o{number}" for number in range(8)]


class WallClock:
    """The loop's time, for wall clocks from START_S on; `set_back` and `set_forward` step the wall clock alone."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.offset_s = 0.0

    def now_ms(self) -> int:
        return int((START_S + self._loop.time() + self.offset_s) * 1000)

    def monotonic_s(self) -> float:
        return START_S + self._loop.time()


class World:
    """All shards of a data folder. `current` is the one that the running object belongs to."""

    current: World

    def __init__(self, folder: object, limits: Limits | None = None) -> None:
        self.folder = str(folder)
        self.limits = limits or Limits(segment_bytes=256 << 10)
        self.rang: list[tuple[str | None, int, Any]] = []
        """Name, wall clock, what the handler was told: every run that began."""
        self.behaviour: dict[str, Callable[[Any], Any]] = {}
        """Name → what its alarm does."""
        self.machines: list[Machine] = []
        self._left: list[Machine] = []
        """Those that have handed over."""
        self.number = 0
        self.calls = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._dead: list[str] = []

    def run(self, body: Callable[[World], Awaitable[None]], shards: int = 1) -> None:
        """In virtual time, with that many shards at the start."""

        async def whole() -> None:
            self.clock = WallClock()
            World.current = self
            os.makedirs(self.folder, exist_ok=True)
            self.start(shards)
            try:
                await body(self)
            finally:
                self.kill()

        run(whole())

    # ------------------------------------------------------------------ processes
    def start(self, shards: int = 1) -> None:
        """All shards, with the slots dealt among them in turn."""
        self.number += 1
        disk = self.disk()
        disk.make_folder(f"{self.folder}/log")
        self._dead = sessions(disk, f"{self.folder}/log")
        for shard in range(shards):
            machine = Machine(
                self.disk(),
                self.number,
                self.limits,
                cls=Ringer,
                clock=self.clock,
                groups=range(shard, 64, shards),
                dead_sessions=list(self._dead),
                shard=shard,
            )
            self.machines.append(machine)
            machine.alarms.start(self._begin)

    def disk(self) -> SimDisk:
        """What a process writes to."""
        return RealDisk(self.folder)  # type: ignore[return-value]

    def _begin(self, work: Any, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        """As kill -9 does: nothing of any shard writes any more."""
        for machine in self.machines:
            machine.abandon()
        for task in self._tasks:
            assert task.cancelled() or not task.done() or task.exception() is None, task.exception()
            task.cancel()
        for machine in self._left:
            machine.abandon(ended=True)
        self.machines, self._left, self._tasks = [], [], []

    async def hand_over(self, wait_s: float = 0.25) -> None:
        """Every shard to its next session, as a reload does: the old processes live on, and answer what they have begun."""
        old, self.machines = self.machines, []
        for machine in old:
            session = machine.session
            session._marking = self._begin(machine.marker.run(), "marker")
            session._metering = self._begin(session.ledger.run(), "meters")
            nobody = SimpleNamespace(hold=_nothing, take_back=_nothing, flush=_nothing, stop=_stopped)
            leaving = Leaving(machine.loop, session, nobody, nobody)  # type: ignore[arg-type]
            await leaving.release(wait_s)
        self._left += old
        self.start(len(old))

    async def cycle(self) -> None:
        """Mark everything, recover what is dead; when all shards have, the dead logs go."""
        for machine in self.machines:
            await machine.marker.cycle(everything=True)
            if machine.marker._dead_folding is not None:
                await machine.marker._dead_folding
        if self._dead and all(machine.recovered for machine in self.machines):
            for session in self._dead:
                delete_session(self.machines[0].disk, f"{self.folder}/log", session)
            self._dead = []
            for machine in self.machines:
                machine.marker.may_trim = True

    def lose_catalogue(self) -> None:
        """Between two starts: somebody deletes it."""
        shutil.rmtree(f"{self.folder}/catalogue", ignore_errors=True)

    def rebuild(self) -> None:
        """What a shard does after its start when its catalogue is not whole."""
        for machine in self.machines:
            if machine.catalogue.missing:
                machine.catalogue.rebuild({KEY.folder: KEY.unique})
                machine.alarms.refresh()

    # ------------------------------------------------------------------ objects
    def machine_of(self, name: str) -> Machine:
        group = KEY.id_from_name(name)[0] >> 2
        return self.machines[group % len(self.machines)]

    async def do(self, name: str, script: Callable[..., Any]) -> Any:
        self.calls += 1
        number = self.calls
        SCRIPTS[number] = (script, ())
        await self.machine_of(name).call(name, "do", number)
        return RESULTS.pop(number)

    async def arm(self, name: str, seconds: float) -> int:
        """Set an object's alarm so many seconds from now; the time."""
        ms = self.clock.now_ms() + round(seconds * 1000)
        await self.do(name, lambda ctx: ctx.storage.setAlarm(ms) and None)
        return ms

    def evict(self) -> None:
        """Whatever is quiet leaves memory."""
        for machine in self.machines:
            for instance in list(machine.residents._by_id.values()):
                if instance.quiet():
                    machine.residents._evict(instance)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def said(self, event: str) -> list[dict[str, object]]:
        return [fields for machine in self.machines for _, found, fields in machine.reports if found == event]

    def times(self, name: str) -> list[int]:
        """When the object's alarm ran, by the wall clock."""
        return [ms for found, ms, _ in self.rang if found == name]


def _nothing(*_: object) -> None:
    """Of callers that a test has none of."""


async def _stopped() -> None:
    """There are no operations."""


class Ringer(Plain):
    """Rings in its world."""

    async def alarm(self, info):
        world = World.current
        name = self.ctx.id.name
        world.rang.append((name, world.clock.now_ms(), info))
        behaviour = world.behaviour.get(str(name))
        if behaviour is not None:
            result = behaviour(self.ctx)
            if hasattr(result, "__await__"):
                await result


__all__ = ["NAMES", "VirtualLoop", "World"]
