"""The supervisor's part of a world: starts, kills and restarts shards on one data folder, and cuts its power.

What always holds: a dead session's log is deleted only when nobody needs it; a shard that died is there again after a moment,
unless it is told to stay away.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextvars import Context

from ..engine.errors import InvalidArgument
from ..engine.limits import Limits
from ..router.slots import deal
from ..sdk.programs import Programs
from ..shards.dead_sessions import DeadSessions
from ..shards.log import delete_session, sessions
from .clocks import WorldClock
from .disk import SimDisk
from .network import Network
from .process import Process, Report
from .story import Story
from .virtual import VirtualLoop

RESTART_S = 0.1
"""How long a shard that died is away."""
DRAIN_S = 10.0


class Cluster:
    """All shards of a world. `programs()` gives the programs for a process that starts: its modules are its own."""

    def __init__(
        self,
        folder: str,
        *,
        shards: int,
        programs: Callable[[], Programs],
        network: Network,
        clock: WorldClock,
        limits: Limits,
        loop: VirtualLoop,
        story: Story,
        report: Report,
        rng: random.Random,
        disk: type[SimDisk] = SimDisk,
    ) -> None:
        if not 1 <= shards <= 64:
            raise InvalidArgument(f"a world has 1 to 64 shards, not {shards}")
        self._folder = folder
        self._programs = programs
        self._network = network
        self._clock, self._limits, self._loop = clock, limits, loop
        self._story, self._report, self._rng = story, report, rng
        self._sessions = 0
        self._powers = 0
        self._dead = DeadSessions([], shards)
        self.groups = deal(shards)
        self.running: list[Process | None] = [None] * shards
        self.graveyard: list[Process] = []
        self.disk = disk(f"{folder}/0")
        self.disk.make_folder(self.disk.root)
        self.disk.make_folder(f"{self.disk.root}/log")
        self.disk.sync_folder(self.disk.root)
        network.groups = self.groups
        network.shards = [None] * shards

    # ------------------------------------------------------------------ start
    def start(self, index: int) -> Process:
        """Start a shard that is down: it recovers what the dead have left."""
        running = self.running[index]
        if running is not None:
            return running
        self._sessions += 1
        process = Process(
            index,
            f"{self._sessions:012d}-{self._rng.getrandbits(32):08x}",
            programs=self._programs(),
            disk=self.disk,
            dead_sessions=self._dead.of(index),
            groups=[group for group, shard in enumerate(self.groups) if shard == index],
            network=self._network,
            clock=self._clock,
            limits=self._limits,
            loop=self._loop,
            recovered=self._recovered,
            died=self.kill,
            report=self._report,
        )
        self.running[index] = process
        self._story.tell("starts", process.name)
        self._network.serves(index, process)
        return process

    def start_all(self) -> None:
        for index in range(len(self.running)):
            self.start(index)

    def process_of(self, object_id: bytes) -> Process:
        """The process that has the object; it is started when it is down."""
        return self.start(self.groups[object_id[0] >> 2])

    def _recovered(self, process: Process, session: str) -> None:
        if not process.alive:
            return
        done = self._dead.recovered(session, process.index)
        for name in done:
            delete_session(self.disk, f"{self.disk.root}/log", name)
        if done:
            for other in self.running:
                if other is not None:
                    other.session.marker.may_trim = not len(self._dead)

    # ------------------------------------------------------------------ ends
    def kill(self, process: Process, why: str = "it was killed", *, restart: bool = True) -> None:
        """As kill -9 of a shard. It may be called from inside of the process: what is left of it is cleared away after."""
        if not process.alive:
            return
        self._story.tell("killed", process.name, why=why)
        process.kill()
        self.running[process.index] = None
        self.graveyard.append(process)
        self._dead.died(process.session.name, process.index)
        self._network.lost(process, why)
        self._loop.call_soon(process.bury, context=Context())
        if restart:
            self._later(self.start, process.index)

    async def restart(self, index: int) -> None:
        """As a deploy does it: running events end, then a new process begins where the old one ended."""
        process = self.running[index]
        if process is not None:
            self._story.tell("drains", process.name)
            await process.end(DRAIN_S)
            self.running[index] = None
            self._network.lost(process, "it was restarted")
            self._dead.died(process.session.name, index)
        self.start(index)

    async def lose_power(self) -> None:
        """All shards die, and of what was not synced a part is lost. They start again on what is left."""
        self._all_die()
        await self._loop.quiet()
        self._other_disk()
        self.start_all()

    def cut_power(self) -> None:
        """The same from inside of a process, at once; they start again after a moment."""
        self._all_die()
        self._loop.call_soon(self._other_disk, context=Context())
        self._later(self.start_all)

    def _later(self, start: Callable[..., object], *args: object) -> None:
        """Not as code of whatever runs now: that may belong to a process that has just died."""
        self._loop.call_exactly(self._loop.now_s + RESTART_S, start, *args, context=Context())

    def _all_die(self) -> None:
        for process in self.running:
            if process is not None:
                self.kill(process, "the power was lost", restart=False)

    def let_sleep(self, process: Process, object_id: bytes) -> None:
        """An object leaves memory, if it may."""
        if process.session.residents.let_go(object_id):
            self._story.tell("evicted", object_id)

    def _other_disk(self) -> None:
        self._powers += 1
        old, root = self.disk, f"{self._folder}/{self._powers}"
        os.makedirs(root, exist_ok=True)
        self.disk = old.crash(root, self._rng, power=True)
        for name in ("history", "catalogue"):  # SQLite's own files there: it syncs them itself
            if os.path.isdir(f"{old.root}/{name}"):
                shutil.copytree(f"{old.root}/{name}", f"{root}/{name}", dirs_exist_ok=True)
        self._dead = DeadSessions(sessions(self.disk, f"{root}/log"), len(self.running))
        old.close_vfs()
        shutil.rmtree(old.root, ignore_errors=True)

    def close(self) -> None:
        """End all, at once; nothing is kept."""
        for process in self.running:
            if process is not None:
                process.kill()
                self.graveyard.append(process)
                process.bury()
        for process in self.graveyard:
            process.forget()
        self.disk.close_vfs()
