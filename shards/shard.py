"""A shard process: `python -m perdure.shards.shard`, started by the supervisor.

[stand by] → startup (lock, program, logs of dead sessions) → serve → drain, or hand over and linger. What always holds: nothing
is served before the dead logs are synced and indexed; who stands by has opened nothing of the data; when nothing can be made
durable any more the process ends, and recovery goes on from the log.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
from dataclasses import replace
from typing import cast

import setproctitle

from ..bindings.kinds import runtimes
from ..bindings.outgoing import HttpClient
from ..bindings.surroundings import Surroundings
from ..engine.awake import may_hibernate
from ..engine.clock import SystemClock
from ..engine.context import GatedTransport
from ..engine.disk import Disk, LocalDisk
from ..engine.errors import ProtocolError
from ..engine.ids import ClassKey
from ..engine.limits import Limits
from ..engine.shutting_down import Reason
from ..router.client import Client
from ..router.control import Control, Message
from ..router.logs import configure, reporter
from ..router.process import binding_settings_of, main, settings_of, settle_garbage
from ..router.pulse import Pulse
from ..router.served_programs import programs_of
from ..router.server import Acceptor
from ..router.slots import SlotMap
from ..sdk import fetching
from ..sdk.module_globals import ADVICE, ModuleGlobals
from ..sdk.programs import Programs
from .archive import ArchiveProcess
from .leaving import Leaving
from .listing import Listing
from .machine_memory import bounds, resident_bytes, total_bytes
from .measured import measure
from .object_operations import ObjectOperations
from .operations import Operations
from .outgrown import RESIDENTS_MAX, Outgrown, Rest, imported_files
from .quotas import Exceeded, Quotas, refusal
from .removal import Removal
from .restarts import EXIT_STOPPED
from .session import Session
from .upgrades import Upgrades
from .watching import ShardWatch, refuse_event

_GLOBALS_S = 1.0
"""How often a shard looks whether globals of the program's module have changed, in development."""
_QUOTA_S = 1.0
"""How often a shard says what was used, and looks whether a quota still refuses: only when there are quotas."""


class Shard:
    """One session: everything that a shard process is made of."""

    def __init__(
        self, control: Control, start: Message, programs: Programs, loop: asyncio.AbstractEventLoop, disk: Disk
    ) -> None:
        self._control = control
        self._start = start
        self._loop = loop
        self._disk = disk
        self._programs = programs
        self._index = cast("int", start["index"])
        self._name = cast("str", start["session"])
        """The session's."""
        self._data = os.path.abspath(cast("str", start["data"]))
        self._run = cast("str", start["run"])
        self._dead_sessions = cast("list[str]", start["dead_sessions"])
        self._map = SlotMap.from_wire(start["map"])
        self._limits = Limits.from_settings({**programs.first.config.limits, **settings_of(start)})
        self._class_limits = self._limits_of_classes(cast("dict[str, object]", start.get("class_settings") or {}))
        self._quotas = Quotas.from_settings(cast("dict[str, object]", start.get("quotas") or {}))
        self._exceeded = Exceeded(0)
        self._report = reporter(f"shard {self._index}")
        self._ended: asyncio.Future[int] = loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: Leaving | None = None
        self._renewing: asyncio.Task[None] | None = None

    def _limits_of_classes(self, given: dict[str, object]) -> dict[str, Limits]:
        """Class key → bounds that differ from the shard's: an operator's, or those of a program that is not the first."""
        keys = self._programs.keys()
        found = {keys[name]: limits for name, limits in self._limits.of_classes(given, keys).items()}
        for program in self._programs.all[1:]:
            own = Limits.from_settings({**program.config.limits, **settings_of(self._start)})
            for name, called in self._programs.spoken(program).items():
                if own != self._limits and called not in given:
                    found[program.key(name)] = own
        return found

    # ------------------------------------------------------------------ startup
    def startup(self) -> None:
        """Open the log, index the dead ones, and begin to listen. Raises PerdureError, OSError."""
        limits, loop = self._limits, self._loop
        keys = self._programs.keys()
        self.client = Client.in_process(loop, self._map, keys, role=f"shard {self._index}")
        self.outgoing = HttpClient()
        fetching.install(self.outgoing)
        gated = GatedTransport(self.client, loop)
        self.client.exports.transport = gated
        settings = binding_settings_of(self._start)
        self._around = around = Surroundings(
            gated, loop, self._report, self._data, self.client.loopback(), settings=settings
        )
        self._runtimes = runtimes(self._programs, around)
        for key, runtime in self._runtimes.items():
            runtime.limits = self._class_limits.get(key)
        archive = ArchiveProcess(
            loop,
            f"archivist {self._index}",
            f"{self._data}/history",
            cast("int", self._start["lock_fd"]),
            self._report,
        )
        self.session = Session(
            self._disk,
            self._data,
            self._name,
            dead_sessions=self._dead_sessions,
            groups=self._map.groups_of(self._index),
            runtimes=self._runtimes,
            transport=self.client,
            archive=archive,
            clock=SystemClock(),
            limits=limits,
            loop=loop,
            recovered=self._recovered,
            stop=self._stop,
            report=self._report,
        )
        archive.beside = self.session.committer.beside
        if self._quotas:
            self.session.ledger.load()
            self.session.residents.meters_every_s = _QUOTA_S
        self._watch_over()
        self._add_operations()
        number = self._name.split("-")[0].lstrip("0")
        self.acceptor = Acceptor(
            f"ipc://{self._run}/s{self._index}-{number}",
            loop,
            index=self._index,
            session=self._name,
            slot_map=self._map,
            classes=keys,
            deliver=self.session.residents.deliver,
            cancel=self.session.residents.cancel,
            operate=self.operations.start,
            stop_operation=self.operations.cancel,
            report=self._report,
            exports=self.client.exports,
            sockets=self.session.residents,
        )
        self._hold_sockets()
        self.session.committer.send_now = self.acceptor.send_now

    def _hold_sockets(self) -> None:
        """Who holds the objects' sockets, and what was in use when the session before ended."""
        residents, dead = self.session.residents, self.session.files.dead
        residents.holders = lambda: self.acceptor.holders
        residents.was_live = lambda object_id: object_id in dead.objects
        self.client.sockets.report = self._report

    def _watch_over(self) -> None:
        """Turns past their bounds, memory, and events that have ended this shard again and again."""
        residents = self.session.residents
        pulse = Pulse.given(cast("int", self._start["pulse_fd"]))
        shards = len(self._map.shards)
        self.watch = ShardWatch(residents, pulse, bounds(self._limits, shards, total_bytes()), self._report)
        for found in cast("list[dict[str, object]]", self._start.get("refused") or []):
            refuse_event(residents, found)

    def _add_operations(self) -> None:
        """What may be asked from outside, beside the objects' turns."""
        self.operations = Operations(self._loop, self._report)
        self.listing = Listing(self.session.catalogue, self.session.files, self.session.residents)
        self.operations.add("list", self.listing.list)
        self.operations.add("describe", self.listing.describe)
        self.operations.add("about", self._about)
        self.operations.add("measured", self.measured)
        self.operations.add("hot", self._hot)
        singles = ObjectOperations(self.session.timeline, SystemClock())
        self.operations.add("export", singles.export)
        self.operations.add("import", singles.import_file)
        self.operations.add("delete", singles.delete)
        self.operations.add("vacuum", singles.vacuum)
        self.operations.add("history", singles.history)
        self.operations.add("restore", singles.restore)
        self.upgrades = Upgrades(
            self._runtimes,
            self.session.residents,
            lambda class_key: self._control.send({"type": "upgrade", "class_key": class_key}),
        )
        self.upgrades.adopt(cast("list[str]", self._start.get("upgraded") or []))
        self.operations.add("upgrade_class", self.upgrades.upgrade_class)

    # ------------------------------------------------------------------ serve
    async def serve(self) -> int:
        """Until drained or stopped; the exit code."""
        self._control.attach(self._loop, self._on_control, lambda: os._exit(0))
        for warning in self._programs.warnings if self._index == 0 else ():
            self._report("warning", "configuration", {"message": warning})
        if self._dead_sessions:
            left = len(self.session.files.dead.objects)
            self._report("info", "recovering", {"sessions": len(self._dead_sessions), "objects": left})
        self._control.send(
            {
                "type": "ready",
                "endpoint": self.acceptor.endpoint,
                "classes": self._programs.keys(),
                "program": ", ".join(program.name for program in self._programs.all),
                "budget_s": max(found.turn_ms_max for found in (self._limits, *self._class_limits.values())) / 1000,
            }
        )
        self.session.start(self._begin)
        self.watch.start()
        if self._limits.shard_renew:
            self._renewing = self._begin(self._look_whether_outgrown(), "renewal")
        if self._quotas:
            self._begin(self._watch_quotas(), "quotas")
        if self._start.get("development"):
            self._begin(self._watch_globals(), "globals")
        if self.session.catalogue.missing:
            self.listing.rebuild = self._begin(self._rebuild_catalogue(), "catalogue")
        if self._programs.removing:
            self._begin(self._remove_classes(), "removal")
        return await self._ended

    def _begin(self, work: object, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work, name=name)  # pyright: ignore[reportArgumentType]
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._stop(cast("BaseException", task.exception()))

    async def _rebuild_catalogue(self) -> None:
        keys = [*self._runtimes, *self._programs.removing]
        folders = {ClassKey(key).folder: key for key in keys}
        count = await asyncio.to_thread(self.session.catalogue.rebuild, folders)
        if count:
            self._report("info", "catalogue_rebuilt", {"objects": count})
        self.session.alarms.refresh()

    async def _look_whether_outgrown(self) -> None:
        """Ask for a new process when this one sleeps and is much larger than it began."""
        files = [*imported_files(), *(program.config.path for program in self._programs.all)]
        growth = self._limits.shard_renew_growth_mb << 20
        await Outgrown(self._loop, self._rest, resident_bytes, growth, files, self._ask_for_renewal, self._report).run()

    def _rest(self) -> Rest:
        session, acceptor = self.session, self.acceptor
        residents = session.residents
        few = residents.count <= RESIDENTS_MAX
        under_way = acceptor.owes + acceptor.held + acceptor.waiting + self.client.exports.count
        return Rest(
            residents=residents.count,
            may_leave=few and all(may_hibernate(instance) for instance in residents.instances),
            owed=under_way + session.alarms.statistics()["alarms_running"] + self.operations.running,
            unmarked=len(session.files.live) + len(session.files.dead.objects),
            folding=session.marker.folding,
            calls=acceptor.calls,
        )

    def _ask_for_renewal(self, now_mib: int, began_mib: int) -> None:
        self._control.send({"type": "outgrown", "before_mib": now_mib, "began_mib": began_mib})

    async def _watch_globals(self) -> None:
        """In development: tell of globals of the program's module that its code writes."""
        watched = [ModuleGlobals(module) for module in self._programs.modules]
        found = [written for each in watched for written in each.declared()]
        while True:
            for written in found:
                fields: dict[str, object] = {"name": written.name, "where": written.where, "hint": ADVICE}
                self._report("warning", "module_global_written", fields)
            await asyncio.sleep(_GLOBALS_S)
            found = [written for each in watched for written in each.written()]

    async def _remove_classes(self) -> None:
        """What migrations have deleted."""
        session = self.session
        removal = Removal(self.listing, session.timeline, session.archive.ask, session.catalogue.groups, self._report)
        await removal.run(
            self._programs.removing, lambda key: self._control.send({"type": "removed", "class_key": key})
        )

    async def _watch_quotas(self) -> None:
        """Say what was used; refuse what a quota refuses. A quota of a day that is over is lifted here, asked by nobody."""
        clock = SystemClock()
        while True:
            self._control.send({"type": "usage", **self.session.ledger.use().to_wire()})
            self._refuse(clock.now_ms())
            await asyncio.sleep(_QUOTA_S)

    def _refuse(self, now_ms: int) -> None:
        over = self._exceeded
        self.session.residents.refuse(refusal(over.events, over.day, now_ms), refusal(over.writes, over.day, now_ms))

    async def measured(self, first_day: int, last_day: int, objects_max: int) -> dict[str, object]:
        """What this shard's objects have used from one UTC day to another, up to now, as plain values (`Measured`)."""
        await self.session.flush_meters()
        found = await self._loop.run_in_executor(
            self.session.marker.thread, measure, self.session.catalogue, first_day, last_day, objects_max
        )
        live = self.session.files.live  # an object's name is in the catalogue after its first mark
        objects = tuple(
            replace(use, name=live[use.object_id].name) if use.name is None and use.object_id in live else use
            for use in found.objects
        )
        names = {runtime.key.unique: runtime.name for runtime in self._runtimes.values()}
        kv = frozenset(key for key, runtime in self._runtimes.items() if not runtime.sqlite)
        return replace(found, objects=objects, names=names, kv_classes=kv).to_wire()

    def _on_control(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "map":
            slot_map = SlotMap.from_wire(message["map"])
            classes = cast("dict[str, str]", message.get("classes") or {})
            self.acceptor.adopt(slot_map, classes)
            self.client.adopt(slot_map, classes)
        elif kind == "quotas":
            self._exceeded = Exceeded.from_wire(message)
            self._refuse(SystemClock().now_ms())
        elif kind == "upgraded":
            self.upgrades.adopt(cast("list[str]", message["classes"]))
        elif kind == "dropped":
            self.session.marker.may_trim = not message["older_left"]
        elif kind == "mark_ahead":
            self._begin(self._mark_ahead(), "mark ahead")
        elif kind == "release" and self._leaving is None:
            self._leaving = Leaving(self._loop, self.session, self.acceptor, self.operations)
            reason = cast("Reason", message.get("reason", "codeUpdated"))  # a supervisor of an older version says none
            self._begin(self._hand_over(self._leaving, cast("float", message["wait_s"]), reason), "hand over")
        elif kind == "drain" and self._leaving is not None:
            self._leaving.hurry(cast("float", message["seconds"]))
        elif kind == "drain" and not self._ended.done():
            self._begin(self._drain(cast("float", message["seconds"])), "drain")

    def _recovered(self) -> None:
        self.session.files.dead.close()
        for session in self._dead_sessions:
            self._control.send({"type": "recovered", "session": session})
        if self._dead_sessions:
            self._report("info", "recovered", {"sessions": len(self._dead_sessions)})

    def _stop(self, error: BaseException) -> None:
        """Nothing that is held may leave: end at once, recovery takes over."""
        self._report("error", "stopped", {"error": f"{type(error).__name__}: {error}"})
        os._exit(EXIT_STOPPED)

    async def _hot(self, count: int) -> list[dict[str, object]]:
        """The operation `hot`: the objects that were called most in the last ten seconds, the most called first."""
        return [
            {
                "id": found.object_id.hex(),
                "class": found.class_name,
                "name": found.name,
                "requests_per_s": found.requests_per_s,
                "queued": found.queued,
                "above_soft_limit": found.above_soft_limit,
            }
            for found in self.session.residents.rates.hottest(max(count, 0))
        ]

    async def _about(self) -> dict[str, object]:
        """The operation `about`: which shard this is, where its data folder is, and what can be asked of it."""
        return {
            "index": self._index,
            "session": self._name,
            "data": self._data,
            "operations": self.operations.names,
            "loop_late_ms_max": round(self.watch.lags.longest_s * 1000),
            "loop_late_count": self.watch.lags.count,
        }

    # ------------------------------------------------------------------ drain
    async def _drain(self, seconds: float) -> None:
        """Let running events end, make everything durable, complete every file, end the log."""
        session = self.session
        session.alarms.stop()
        clean = await session.residents.drain(seconds * 0.6)
        await self._around.close(seconds * 0.1)
        await self.operations.stop()
        await session.timeline.finish(seconds * 0.2)
        await session.committer.flush()
        self.acceptor.flush()
        self.watch.stop()
        await session.end(seconds * 0.1)
        self.acceptor.close()
        await self.client.close()
        await self.outgoing.close()
        self._ended.set_result(0 if clean else 1)

    # ------------------------------------------------------------------ the hand-off
    async def _mark_ahead(self) -> None:
        await self.session.marker.mark_ahead()
        self._control.send({"type": "marked"})

    async def _hand_over(self, leaving: Leaving, wait_s: float, reason: Reason) -> None:
        """Give the slots to the next session, then let what runs end."""
        if self._renewing is not None:
            self._renewing.cancel()
        setproctitle.setproctitle(f"perdure leaving shard {self._index}")
        took_s = await leaving.release(wait_s, reason)
        self.watch.leave()
        self._report("info", "released", {"session": self._name, "ms": round(took_s * 1000)})
        self._control.send({"type": "released", "session": self._name})
        await leaving.linger()
        self.acceptor.close()
        await self.client.close()
        await self.outgoing.close()
        self._ended.set_result(0)


# ---------------------------------------------------------------------- the process
def _forbid_forks() -> None:
    """A forked copy would close SQLite's files and locks under us: it may only exec."""

    def refuse() -> None:
        os.write(2, b"perdure: a shard's process cannot fork; use subprocess, or multiprocessing with spawn\n")
        os._exit(70)

    os.register_at_fork(after_in_child=refuse)
    multiprocessing.set_start_method("spawn", force=True)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stand_by(control: Control, start: Message, programs: Programs) -> Message:
    """Wait, with the program imported and nothing opened, to be given a session: the start message with it."""
    control.send({"type": "standby", "classes": programs.keys()})
    given = next(control.messages(), None)  # the watch of the supervisor ends us when it is gone
    if given is None or given.get("type") != "begin":
        raise ProtocolError(f"a process that stood by was told {given}")
    setproctitle.setproctitle(f"perdure shard {start['index']}")
    return {**start, **given}


async def _body(control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> int:
    _raise_file_limit()
    programs = programs_of(start)
    _forbid_forks()
    if start.get("standby"):
        settle_garbage()  # nobody waits for it yet
        start = _stand_by(control, start, programs)
        shard = Shard(control, start, programs, loop, LocalDisk())
        shard.startup()
        return await shard.serve()
    shard = Shard(control, start, programs, loop, LocalDisk())
    shard.startup()
    settle_garbage()
    return await shard.serve()


if __name__ == "__main__":
    main(lambda start: f"{'standby ' if start.get('standby') else ''}shard {start['index']}", _body, configure)
