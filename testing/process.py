"""A shard's process, without the process: a session in this one that can be killed.

What always holds: from the moment of its death nothing of it is heard, nothing of it commits, and its program's code does not go
on; what it had written is on the disk, synced or not.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context

from ..bindings.kinds import runtimes
from ..bindings.surroundings import Surroundings
from ..engine.calls import ALARM, PRE_SHUTDOWN, Call
from ..engine.context import GatedTransport
from ..engine.errors import ObjectReset, ShardLost
from ..engine.instance import Instance
from ..engine.limits import Limits
from ..engine.residents import Residents
from ..sdk.programs import Programs
from ..shards.session import Session
from .archive import InlineArchive
from .clocks import WorldClock
from .disk import SimDisk
from .network import Caller, Network, Pending
from .virtual import Inline, VirtualLoop, in_background

DEAD = object()
"""Has the turn of each object of a killed process, for good: whoever waits for it waits on."""
_AHEAD_MS = 1 << 50
Report = Callable[[str, str, dict[str, object]], None]


class Process:
    """One run of a shard. Raises PerdureError when it cannot begin."""

    def __init__(
        self,
        index: int,
        session: str,
        *,
        programs: Programs,
        disk: SimDisk,
        dead_sessions: Sequence[str],
        groups: Sequence[int],
        network: Network,
        clock: WorldClock,
        limits: Limits,
        loop: VirtualLoop,
        recovered: Callable[[Process, str], None],
        died: Callable[[Process, str], None],
        report: Report,
    ) -> None:
        """`recovered(process, session)`: it needs a dead session's log no more. `died(process, why)`: it has ended itself."""
        self.index = index
        self.name = f"shard {index}"
        self.alive = True
        self.pending: dict[Pending, Call] = {}
        self._loop = loop
        self._disk = disk.view()
        self._recovered = recovered
        self._died = died
        self._tasks: set[asyncio.Task[None]] = set()
        caller = Caller(network, self)
        gated = GatedTransport(caller, loop)
        caller.exports.transport = gated
        around = Surroundings(gated, loop, report, disk.root, caller.loopback())
        self.session = Session(
            self._disk,
            disk.root,
            session,
            dead_sessions=dead_sessions,
            groups=groups,
            runtimes=runtimes(programs, around),
            transport=caller,
            archive=InlineArchive(self._disk, disk.root),
            clock=clock,
            limits=limits,
            loop=loop,
            recovered=self._has_recovered,
            stop=self._stopped,
            report=report,
            threads=Inline(),
        )
        self.session.residents.on_metered = None  # nobody is billed
        self._open_to_sockets(network)
        self._watch_syncs(network)
        self._watch_alarms(network)
        in_background(self.session.start, self._begin)

    def _open_to_sockets(self, network: Network) -> None:
        residents, dead = self.session.residents, self.session.files.dead
        residents.holders = lambda: network.holders(self)
        residents.was_live = lambda object_id: object_id in dead.objects

    def _watch_syncs(self, network: Network) -> None:
        """The schedule may let the process die before and after a batch is synced."""
        log = self.session.log
        sync = log.sync_device

        def watched() -> None:
            network.schedule.point("sync", self)
            if self.alive:
                sync()
                network.schedule.point("synced", self)

        log.sync_device = watched

    def _watch_alarms(self, network: Network) -> None:
        """Alarms fire by a schedule's delay, the process may die before; what they run, or `preShutdown`, is no housekeeping."""
        residents = self.session.residents
        deliver = residents.deliver

        def arrive(call: Call) -> None:
            if self.alive:
                network.schedule.may_sleep(self, call.object_id)
                network.schedule.point("alarm", self)
            if self.alive:
                network.introduce(call.class_key, call.object_id, call.name)
                network.story.tell("alarm", call.object_id, shard=self.name)
                deliver(call)

        def watched(call: Call) -> None:
            if call.kind == ALARM:
                network.travel(("alarm", call.object_id), "alarm", arrive, call)
            elif call.kind == PRE_SHUTDOWN:
                network.story.tell("idle", call.object_id, method=call.method)
                Context().run(deliver, call)
            else:
                deliver(call)

        residents.deliver = watched
        self.session.alarms.look_ahead(_AHEAD_MS)

    def next_alarm_ms(self) -> float:
        """When the next alarm is due (wall time), inf when none is."""
        found = self.session.alarms.next_ms()
        return math.inf if found is None else found

    def _begin(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work, name=f"{self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.alive:
            self._stopped(task.exception() or RuntimeError("a task failed"))

    def _has_recovered(self) -> None:
        self.session.dead.close()
        for session in self.session.dead_sessions:
            self._recovered(self, session)

    def _stopped(self, error: BaseException) -> None:
        """The session can make nothing durable any more."""
        if self.alive:
            self._died(self, f"it ended itself: {type(error).__name__}: {error}")

    @property
    def residents(self) -> Residents:
        """Its objects in memory."""
        return self.session.residents

    # ------------------------------------------------------------------ Receiver
    def deliver(self, call: Call) -> None:
        self.session.residents.deliver(call)

    def cancel(self, call: Call) -> None:
        self.session.residents.cancel(call)

    def instances(self) -> list[Instance]:
        """Its objects that are in memory."""
        return list(self.session.residents._by_id.values())

    def instance(self, object_id: bytes) -> Instance | None:
        """The object, if it is in memory."""
        return self.session.residents._by_id.get(object_id)

    # ------------------------------------------------------------------ the end
    def kill(self) -> None:
        """As kill -9 does. Nothing of it runs after this; `bury` must be called before its folder is used again."""
        self.alive = False
        session = self.session
        session.committer.close()
        session.committer._held.clear()
        for instance in self.instances():
            instance.input.holder = DEAD
            instance.abandoned = True
            for body in list(instance.bodies):
                body.fail(ShardLost(f"the response's body broke off: {self.name} was killed"))

    def bury(self) -> None:
        """Close what the process had open, as the kernel does."""
        session = self.session
        session.residents.stop()
        for task in list(self._tasks):
            task.cancel()
        session.marker.shut()
        for instance in self.instances():
            database = instance.storage._database  # pyright: ignore[reportAttributeAccessIssue]
            if database is not None:
                database.connection.close(True)
        session.archive.close()
        session.dead.close()
        os.close(session.log._lock_fd)
        self._disk.close_all()

    def forget(self) -> None:
        """The world ends: let the code of a killed process go, wherever it waits."""
        for instance in self.instances():
            instance.broken = instance.broken or ObjectReset("the world of this test is over")
            instance.input.shut()

    async def end(self, seconds: float) -> bool:
        """Let running events end, make everything durable, complete every file: False when that was not possible in time."""
        session = self.session
        session.alarms.stop()
        clean = await session.residents.drain(seconds * 0.7)
        await session.timeline.finish(seconds * 0.2)
        await session.committer.flush()
        complete = await session.end(seconds * 0.1)
        self.alive = False
        self._disk.close_all()
        return clean and complete
