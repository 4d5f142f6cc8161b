"""One session: everything that a shard is made of beside its process: log, files, objects, marks, catalogue, past, meters.

startup (dead logs synced and indexed, everything put together) → start → end, or hand over. What always holds: nothing is served
before the dead logs are read; a session that has handed over has closed its log and let go of its lock, so it is as good as dead
to whoever replays it, whatever its process still does. The shard's process gives it its doors; tests and `perdure.testing` run it
in theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor

from ..engine.class_runtime import ClassRuntime
from ..engine.clock import Clock
from ..engine.disk import Disk
from ..engine.limits import Limits
from ..engine.residents import Residents
from ..engine.stubs import Transport
from ..engine.superseding import supersede
from ..router.slots import group_of
from .alarm_notes import RunNotes, read_notes
from .alarms import Alarms
from .archive import Archive
from .catalogue import Catalogue
from .committer import Committer
from .emptying import Emptied
from .files import ObjectFiles, remove_scratch
from .floors import floors_of
from .log import SessionLog
from .marks import Marker
from .meters import Ledger
from .recovery import DeadLogs
from .timeline import Timeline

_EMPTIED_S = 0.5
"""For removing the files of emptied objects before a hand-over; what is not done stays for the next time."""
Begin = Callable[[Coroutine[object, object, None], str], asyncio.Task[None]]


class Session:
    """The parts, as attributes. Raises PerdureError, OSError when it cannot begin."""

    def __init__(
        self,
        disk: Disk,
        data: str,
        name: str,
        *,
        dead_sessions: Sequence[str],
        groups: Sequence[int],
        runtimes: Mapping[str, ClassRuntime],
        transport: Transport,
        archive: Archive,
        clock: Clock,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        recovered: Callable[[], None],
        stop: Callable[[BaseException], None],
        report: Callable[[str, str, dict[str, object]], None],
        threads: Executor | None = None,
    ) -> None:
        """`dead_sessions`: whose logs it begins with. `groups`: the slots that are its own.

        `recovered` is called once, when nothing of the dead logs is needed any more; `stop(error)` when nothing can be made
        durable any more. `threads`: None for threads of each part's own; tests give one that works at once.
        """
        self.data, self.name = data, name
        self.dead_sessions = list(dead_sessions)
        self.archive = archive
        mine = frozenset(groups)
        remove_scratch(disk, data, self.dead_sessions)
        self.dead = DeadLogs(disk, f"{data}/log", lambda object_id: object_id[0] >> 2 in mine)
        self.dead.read(self.dead_sessions)
        self.log = SessionLog(disk, f"{data}/log", name, limits.segment_bytes)
        self.files = ObjectFiles(disk, data, name, self.log, self.dead)
        self.committer = Committer(
            self.log,
            clock,
            limits,
            loop,
            committed=self.files.committed,
            partial=self.files.partial,
            stop=stop,
            report=report,
            threads=threads,
        )
        self.residents = Residents(
            runtimes,
            files=self.files,
            commits=self.committer,
            clock=clock,
            disk=disk,
            limits=limits,
            transport=transport,
            log=report,
            loop=loop,
            threads=threads,
        )
        self.catalogue = Catalogue(data, groups)
        self.files.floors = floors_of(self.catalogue, f"{data}/history")
        self.marker = Marker(
            disk,
            data,
            self.log,
            self.files,
            self.committer,
            self.residents,
            self.catalogue,
            limits,
            loop,
            recovered=recovered,
            stop=stop,
            report=report,
            thread=threads,
        )
        self.marker.may_trim = not self.dead_sessions
        self.ledger = Ledger(self.catalogue, self.marker.thread, clock, loop, report=report)
        self.residents.on_metered = self.ledger.take
        self.timeline = Timeline(
            disk,
            self.log,
            self.files,
            self.committer,
            self.residents,
            self.catalogue,
            archive,
            clock,
            limits,
            list(groups),
            class_limits={key: runtime.limits for key, runtime in runtimes.items() if runtime.limits is not None},
            on_catalogue=self.marker.on_thread,
            flush_meters=self.flush_meters,
        )
        self.marker.timeline = self.residents.history = self.timeline
        self.emptied = Emptied(
            disk,
            self.files,
            self.committer,
            self.residents,
            self.catalogue,
            on_catalogue=self.marker.on_thread,
            flush_meters=self.flush_meters,
            report=report,
        )
        self.files.on_emptied = self.emptied.add
        lost = [noted for dead in self.dead_sessions for noted in read_notes(disk, f"{data}/log/{dead}")]
        self.alarms = Alarms(
            self.residents,
            self.files,
            self.catalogue,
            clock,
            limits,
            loop,
            notes=RunNotes(disk, f"{data}/log/{name}"),
            lost=[noted for noted in reversed(lost) if group_of(noted.object_id) in mine],
            on_catalogue=self.marker.on_thread,
            report=report,
            threads=threads,
        )
        self.timeline.on_replaced = self.alarms.ask

    async def flush_meters(self) -> None:
        """Bring all counts so far to the catalogue."""
        self.residents.take_all_meters()
        await self.ledger.flush()

    def start(self, begin: Begin) -> None:
        """Begin what runs beside the calls. `begin(work, name)` makes a task, and stops the shard when it fails."""
        self.residents.start()
        self._marking = begin(self.marker.run(), "marker")
        self._metering = begin(self.ledger.run(), "meters")
        self.alarms.start(begin)

    async def end(self, seconds: float) -> bool:
        """Make everything durable, complete every file, end the log: False when a file is not complete.

        No event may come any more. `seconds`: for what is done beside.
        """
        self.alarms.stop()
        self._marking.cancel()
        self.residents.stop()
        self.residents.close_all()
        await self.committer.flush()
        self.alarms.close()
        await self.emptied.finish(seconds)
        self.residents.take_all_meters()
        self.ledger.end()
        await self._metering
        complete = await self.marker.close()
        self.log.close(clean=complete)
        self.committer.close()
        self.marker.shut()
        self.archive.close()
        return complete

    async def hand_over(self) -> None:
        """Give the data to the next session: all that was committed is in the log, and nothing here is open any more.

        No event may be let in any more; those that run go on without storage. Files are not completed: the next session takes
        from the log what no mark covers, as after a death.
        """
        self.alarms.stop()
        await self.emptied.finish(_EMPTIED_S)
        await supersede(self.residents)
        self.alarms.close()  # runs that go on stay noted: the next session begins them again
        await self.committer.flush()
        self._marking.cancel()
        self.residents.stop()
        self.residents.take_all_meters()
        self.ledger.end()
        await self._metering
        await self.marker.shut_behind()
        self.archive.close()
        await self.archive.ended()
        await self.committer.flush()
        self.alarms.close()  # what runs on stays noted: the next session tries it again
        self.log.close(clean=True)
        self.committer.close()
