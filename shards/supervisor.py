"""The supervisor: starts gateways, shards and the router endpoint, watches and restarts them, owns the slot map.

startup → serve → drain. What always holds: the slot map's epoch only grows; a shard's next session starts only when waitpid
has said that the one before is dead; SIGTERM loses no accepted request, a second signal ends everything at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import structlog

from ..bindings.kinds import check_served
from ..engine.clock import SystemClock
from ..engine.disk import LocalDisk
from ..engine.errors import NotConnected, PerdureError, from_wire
from ..engine.limits import Limits
from ..router.control import Message
from ..router.slots import deal
from ..sdk.crons import Cron
from .children import Child, Phase
from .class_migrations import ClassMigrations
from .commands import Commands, Progress
from .cron_runs import CronRuns
from .dead_sessions import DeadSessions
from .keepers import Keepers
from .log import delete_session, sessions
from .meta import LocalMeta
from .ownership import DataFolder
from .quotas import DayUse, Quotas, QuotaWatch
from .reloading import Reload
from .renewing import Renewal, Schedule
from .reviving import Reviving
from .setups import FIXED, Setup, listen
from .succession import Succession
from .watched import Watched, budget_of

SHARD = "perdure.shards.shard"
GATEWAY = "perdure.router.gateway"
ENDPOINT = "perdure.router.endpoint"
STOP_FD_VARIABLE = "PERDURE_STOP_FD"
_UPGRADED = "upgraded_classes"
"""In Meta: keys of classes of the key-value backend that were given SQL."""


class Supervisor:
    """One run. `ready(url)` is called once, when everything serves."""

    def __init__(
        self,
        setup: Setup,
        ready: Callable[[str, dict[str, object]], None],
        reread: Callable[[], Setup] | None = None,
    ) -> None:
        """`reread`: the setup as its sources have it now, for a reload."""
        setup.check()
        self._reread = reread
        self._setup = setup
        self._ready = ready
        self._log = structlog.get_logger("supervisor")
        self.shards: dict[int, Child] = {}
        self.gateways: dict[int, Child] = {}
        self._endpoint: Child | None = None
        self._keepers = Keepers(setup.keepers, lambda: self._data.run, self._spawn)
        self._map: dict[str, object] = {}
        self._classes: dict[str, object] = {}
        self._program: Message = {}
        self._watched = Watched(lambda: [*self._everyone(), *self._retired], setup.settings, setup.classes)
        self._quotas = QuotaWatch(Quotas.from_settings(setup.quotas))
        self._announced = False
        self._signals = 0
        self._ended: asyncio.Future[int]
        self._changed = asyncio.Event()
        self._failure: PerdureError | None = None
        self.commands = Commands(self._tell)
        self.commands.add("reload", self.reload)
        self._succession: Succession | None = None
        """The reload or renewal that is going on."""
        self._succeeding: asyncio.Task[Message] | None = None
        self._one_succession = asyncio.Lock()
        self._renewals = Schedule()
        self._hangups: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        """Renewals."""
        self._retired: list[Child] = []
        """Processes of an earlier generation that answer their last; a shard's has no session any more."""
        self._crons = CronRuns(SystemClock(), self._serving_gateways, self._tell)
        self.commands.add("trigger", self._crons.trigger)
        self._next_crons: tuple[Cron, ...] = ()
        """Of the generation that is being started; those of the one that serves go on until then."""

    async def run(self) -> int:
        """Serve until a signal. Exit code: 0 drained, 1 failed, 130 forced. Raises PerdureError when it cannot start."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._reviving = Reviving(self._loop, self._start_at, self._tell, self._all_processes, self._vacant)
        self._data = DataFolder.open(self._setup.data)
        opened = contextlib.ExitStack()
        opened.callback(self._data.close)
        try:
            self._meta = LocalMeta(f"{self._data.path}/meta.sqlite")
            opened.callback(self._meta.close)
            self._listener = opened.enter_context(listen(self._setup.host, self._setup.port))
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._on_signal)
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            self._watch_owner()
            await self.commands.listen(self._data.run)
            self._migrations = ClassMigrations(
                self._meta, self._tell, check=lambda config: check_served(config, self._setup.bindings)
            )
            await self.prepare()
            self._watched.start(self._loop)
            self._crons.adopt(self._next_crons)
            self._start_all()
            self._reviving.begin()
            code = await self._ended
        finally:
            self._watched.stop()
            await self.commands.close()
            await self._kill_all()
            opened.close()
        if self._failure is not None:
            raise self._failure
        return code

    def _tell(self, level: str, event: str, fields: dict[str, object]) -> None:
        getattr(self._log, level)(event, **fields)

    def _watch_owner(self) -> None:
        """End like after SIGTERM when the program that started us for itself is gone (`perdure.local`)."""
        text = os.environ.pop(STOP_FD_VARIABLE, "")
        if not text.isdigit():
            return
        descriptor = int(text)
        os.set_inheritable(descriptor, False)

        def gone() -> None:
            self._loop.remove_reader(descriptor)
            self._on_signal()

        self._loop.add_reader(descriptor, gone)

    # ------------------------------------------------------------------ startup
    async def prepare(self) -> None:
        """Read the configuration and apply its migrations: before any process of it starts. Raises ConfigError."""
        found = await self._migrations.prepare_all(self._setup.programs, self._setup.env_name)
        self._next_crons = tuple(cron for config in found for cron in config.crons)

    def _serving_gateways(self) -> list[Child]:
        return [child for child in self.gateways.values() if child.phase is Phase.SERVING]

    def _start_all(self) -> None:
        setup = self._setup
        log = f"{self._data.path}/log"
        os.makedirs(log, mode=0o700, exist_ok=True)
        LocalDisk().sync_folder(self._data.path)  # an acknowledged batch in a folder that is lost would be lost too
        self._dead = DeadSessions(sessions(LocalDisk(), log), setup.shards)
        waiting: dict[str, object] = {str(index): {"session": "", "endpoint": None} for index in range(setup.shards)}
        self._map = {"epoch": self._next("epoch"), "groups": deal(setup.shards), "shards": waiting}
        for index in range(setup.shards):
            self._start_shard(index)

    def _next(self, key: str) -> int:
        """A counter of Meta, one higher than ever before, durable before it is used."""
        while True:
            found = self._meta.get(key)
            number = int(found.decode() if found else "0") + 1
            if self._meta.compare_and_set(key, found, str(number).encode()):
                return number

    def _start_shard(self, index: int) -> None:
        before = self.shards.get(index)
        if before is not None:
            self.bury(before)  # before anything else: a session whose log nobody recovers is lost
        self.shards[index] = self._spawn(SHARD, f"shard {index}", self._session_of(index), [self._data.lock_fd])

    def _session_of(self, index: int) -> Message:
        """A new session of the shard, told to everybody: its start message."""
        session = f"{self._next('session_number'):012d}-{secrets.token_hex(4)}"
        shards = cast("dict[str, object]", self._map["shards"])
        shards[str(index)] = {"session": session, "endpoint": None}
        self._push_map()
        return {
            "index": index,
            "data": self._data.path,
            "session": session,
            "dead_sessions": self._dead.of(index),
            "lock_fd": self._data.lock_fd,
            "upgraded": self._upgraded(),
            "refused": self._watched.refused(),
            "development": self._setup.development,
            "map": self._map,
            "classes": self._classes,
        }

    def start_gateway(self, index: int) -> None:
        setup = self._setup
        tls = {"cert": setup.tls_certificate, "key": setup.tls_key} if setup.tls_certificate else None
        start: Message = {
            "index": index,
            "listen_fd": self._listener.fileno(),
            "host": setup.host,
            "port": self._listener.getsockname()[1],
            "tls": tls,
            "development": setup.development,
        }
        self.gateways[index] = self._spawn(GATEWAY, f"gateway {index}", start, [self._listener.fileno()])

    def _start_endpoint(self) -> None:
        setup = self._setup
        tcp = {"endpoint": setup.router, "keys": setup.router_keys} if setup.router else None
        start: Message = {"endpoint": f"ipc://{self._data.run}/router", "tcp": tcp}
        self._endpoint = self._spawn(ENDPOINT, "router", start, [])

    def _spawn(self, module: str, name: str, start: Message, keep_fds: list[int]) -> Child:
        setup = self._setup
        message: Message = {
            "type": "start",
            "role": name.split()[0],
            "program": setup.program,
            "beside": list(setup.beside),
            "data": self._data.path,
            "env_name": setup.env_name,
            "run": self._data.run,
            "map": self._map,
            "classes": self._classes,
            "settings": setup.settings,
            "quotas": setup.quotas,
            "class_settings": setup.classes,
            "binding_settings": setup.bindings,
            "deployments": self._migrations.to_wire(),
            **start,
        }
        return Child(self._loop, module, name, message, keep_fds, self._on_message, self._on_death)

    # ------------------------------------------------------------------ serve
    def _on_message(self, child: Child, message: Message) -> None:
        kind = message.get("type")
        if kind == "ready":
            self._on_ready(child, message)
            if self._succession is not None:
                self._succession.on_message(child, "ready")
        elif kind in ("standby", "marked", "released"):
            if self._succession is not None:
                self._succession.on_message(child, cast("str", kind))
        elif kind == "outgrown":
            self._on_outgrown(child, message)
        elif kind == "upgrade":
            self._on_upgrade(cast("str", message["class_key"]))
        elif kind == "recovered":
            self._on_recovered(cast("str", message["session"]), cast("int", child.start["index"]))
        elif kind == "usage":
            self._on_usage(cast("int", child.start["index"]), DayUse.from_wire(message))
        elif kind == "keeper":
            self._keepers.asked(child)
        elif kind == "scheduled":
            self._crons.answered(message)
        elif kind == "removed":
            index = cast("int", child.start["index"])
            self._migrations.removed(cast("str", message["class_key"]), index, self._setup.shards)
        elif kind == "failed":
            error = from_wire(cast("dict[str, object]", message["error"]))
            if self._succession is not None and not child.served:
                return  # the reload says it: reload_failed
            if not self._announced:
                return  # it ends the start, which raises it
            self._log.error("failed", process=child.name, error=error.message, hint=error.hint or None)

    def _on_upgrade(self, class_key: str) -> None:
        """A class of the key-value backend has SQL from now on: noted durably, then told to every shard."""
        upgraded = self._upgraded()
        if class_key not in upgraded:
            found = self._meta.get(_UPGRADED)
            self._meta.compare_and_set(_UPGRADED, found, json.dumps(sorted([*upgraded, class_key])).encode())
            self._log.info("class_upgraded", class_key=class_key)
        for child in self.shards.values():
            child.send({"type": "upgraded", "classes": self._upgraded()})

    def _upgraded(self) -> list[str]:
        found = self._meta.get(_UPGRADED)
        return cast("list[str]", json.loads(found)) if found else []

    def _on_ready(self, child: Child, message: Message) -> None:
        if child.module == SHARD:
            shards = cast("dict[str, dict[str, object]]", self._map["shards"])
            shards[str(child.start["index"])]["endpoint"] = message["endpoint"]
            self._classes = cast("dict[str, object]", message.get("classes", {}))
            self._program = message
            self._watched.raise_budget(budget_of(message))
            self._push_map()
            if self._quotas:
                child.send({"type": "quotas", **self._quotas.exceeded.to_wire()})
            if all(shard.phase is Phase.SERVING for shard in self.shards.values()) and not self.gateways:
                self._start_endpoint()
                for index in range(self._setup.gateways):
                    self.start_gateway(index)
        elif child.module == ENDPOINT:
            self._data.publish_address(f"ipc://{self._data.run}/router")
        self._keepers.changed()
        self._log.info("serving", process=child.name, pid=child.pid)
        self._crons.give()
        self._announce()

    def _on_usage(self, shard: int, use: DayUse) -> None:
        """Sum over all shards; tell them when another quota is used up, or none any more."""
        found = self._quotas.on_use(shard, use, SystemClock().now_ms())
        if found is None:
            return
        if found.events or found.writes:
            self._log.warning(
                "quota_used_up", quotas=[*found.events, *found.writes], hint="daily ones reset at 00:00 UTC"
            )
        for child in self.shards.values():
            child.send({"type": "quotas", **found.to_wire()})

    def _announce(self) -> None:
        everyone = self._everyone()
        if self._announced or not self.gateways or any(child.phase is not Phase.SERVING for child in everyone):
            return
        self._announced = True
        self._crons.start()
        self._keepers.start_bereaved(self._data.path)
        host = f"[{self._setup.host}]" if ":" in self._setup.host else self._setup.host
        scheme = "https" if self._setup.tls_certificate else "http"
        about: dict[str, object] = {
            "program": self._program.get("program", self._setup.program),
            "classes": sorted(self._classes),
            "data": self._data.path,
            "shards": self._setup.shards,
            "gateways": self._setup.gateways,
        }
        self._ready(f"{scheme}://{host}:{self._listener.getsockname()[1]}", about)

    def _everyone(self) -> list[Child]:
        endpoint = [self._endpoint] if self._endpoint is not None else []
        return [*self.gateways.values(), *endpoint, *self._keepers.children.values(), *self.shards.values()]

    def _push_map(self) -> None:
        self._map["epoch"] = self._next("epoch")
        for child in [*self._everyone(), *self._retired]:
            child.send({"type": "map", "map": self._map, "classes": self._classes})

    def _on_recovered(self, session: str, shard: int) -> None:
        done = self._dead.recovered(session, shard)
        for name in done:
            delete_session(LocalDisk(), f"{self._data.path}/log", name)
            self._log.info("log_dropped", session=name)
        if done:
            for child in self.shards.values():
                child.send({"type": "dropped", "sessions": done, "older_left": len(self._dead)})

    def _on_death(self, child: Child) -> None:
        self._changed.set()
        self._crons.gone(child)  # also a retired one may have had a run
        self._keepers.died(child, [*self.gateways.values(), *self._retired])
        if child.module == SHARD and "session" not in child.start:  # it stood by
            if self._succession is not None:
                self._succession.on_death(child)
            return
        if child.module == SHARD:
            self._watched.on_shard_death(child)
        if child in self._retired:
            self._retired.remove(child)
            return
        if self._succession is not None and self._succession.on_death(child):
            while_ = type(self._succession).__name__.lower()
            self._log.warning("died", process=child.name, pid=child.pid, code=child.returncode, while_=while_)
            return
        if child.module == SHARD:
            self.bury(child)
        if self._signals:
            return
        if not self._announced and child.failure is not None:
            self._fail(child)
            return
        decision = self._reviving.decide(child.name, child.served)
        self._log.warning("died", process=child.name, pid=child.pid, code=child.returncode, again_in_s=decision.delay_s)
        if not self._announced and decision.crash_loop:
            self._fail(child)
            return
        if decision.crash_loop:
            if self._succession is not None:
                self._succession.on_crash_loop(child)
            self._log.error("crash_loop", process=child.name, hint="it dies before it serves: see its messages above")
        self._reviving.again(child.name, decision.delay_s)

    def _start_at(self, place: str) -> None:
        """The next process of a place, by its name."""
        found = {child.name: child for child in self._everyone()}.get(place)
        filled = found is not None and found.phase is not Phase.DEAD and found not in self._retired
        if filled or self._ended.done():  # by a reload, perhaps
            return
        kind, _, index = place.partition(" ")
        if kind == "shard":
            self._start_shard(int(index))
        elif kind == "gateway":
            self.start_gateway(int(index))
        elif kind == "keeper":
            self._keepers.start(int(index))
        else:
            self._start_endpoint()

    def _all_processes(self) -> list[Child]:
        return [*self._everyone(), *self._retired, *(self._succession.standbys if self._succession is not None else [])]

    def _vacant(self) -> dict[str, Child]:
        """Places whose process is dead, or has released its shard: without a reload that is about to fill them."""
        if self._signals or self._ended.done():
            return {}
        return {
            child.name: child
            for child in self._everyone()
            if (child.phase is Phase.DEAD or (child.module == SHARD and child in self._retired))
            and not (self._succession is not None and self._succession.deals_with(child))
        }

    def _fail(self, child: Child) -> None:
        if child.failure is not None:
            self._failure = from_wire(cast("dict[str, object]", child.failure["error"]))
        else:
            self._failure = PerdureError(
                f"{child.name} keeps dying before it serves (exit code {child.returncode})",
                hint="its messages are above",
            )
        if not self._ended.done():
            self._ended.set_result(1)

    # ------------------------------------------------------------------ reload
    async def reload(self, progress: Progress) -> Message:
        """The command `reload`: the next generation of code, process by process. Raises PerdureError."""
        async with self._one_succession:
            if self._signals or not self._announced:
                raise NotConnected("the runtime is not serving", hint="try again when it is")
            before = self._setup
            reload = Reload(self, self._loop, progress, self._report, self._hand_off_wait_s())
            try:
                done = await self._begin(reload)
            except Exception as error:
                self._setup = before
                typed = _typed(error)
                self._log.error("reload_failed", error=typed.message, hint=typed.hint or None)
                raise
            finally:
                self._end_succession()
            self._crons.adopt(self._next_crons)
            self._log.info("reloaded", **done)
            return done

    def _begin(self, succession: Succession) -> asyncio.Task[Message]:
        self._succession = succession
        self._succeeding = self._loop.create_task(succession.run(), name=type(succession).__name__)
        return self._succeeding

    def _end_succession(self) -> None:
        self._succession = self._succeeding = None
        for place in self._vacant():  # it has failed between the old process and the new one
            self._reviving.again(place, 0.0)

    def _on_outgrown(self, child: Child, message: Message) -> None:
        """A shard asks to be renewed, and does so again and again: what cannot be done now need not be remembered."""
        index = cast("int", child.start["index"])
        if self._succession is not None:
            self._succession.on_message(child, "outgrown")
        elif (
            self._announced
            and not self._signals
            and not self._one_succession.locked()
            and self.shards.get(index) is child
            and child.phase is Phase.SERVING
            and self._renewals.allows(index, self._loop.time())
        ):
            task = self._loop.create_task(self._renew(child, index, message), name=f"renew shard {index}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _renew(self, child: Child, index: int, asked: Message) -> None:
        """Give a shard that sleeps a new process of the same code."""
        async with self._one_succession:
            tell: Progress = Progress(lambda _: None)
            try:
                done = await self._begin(
                    Renewal(self, self._loop, tell, self._report, self._hand_off_wait_s(), child, index)
                )
            except Exception as error:
                typed, again_s = _typed(error), self._renewals.failed(index, self._loop.time())
                fields = {"error": typed.message, "hint": typed.hint or None, "again_in_s": again_s}
                self._log.warning("renewal_failed", shard=index, **fields)
                return
            finally:
                self._end_succession()
            self._renewals.renewed(index, self._loop.time())
            if done:
                self._log.info("shard_renewed", shard=index, before_mib=asked["before_mib"], **done)

    def _hand_off_wait_s(self) -> float:
        return Limits.from_settings(self._setup.settings).hand_off_wait_ms_max / 1000

    def _report(self, level: str, event: str, **fields: object) -> None:
        getattr(self._log, level)(event, **fields)

    def _on_hangup(self) -> None:
        """SIGHUP: like the command, its end is in the log only. One that waits for another reads what all after it would."""
        if len(self._hangups) > 1:
            return

        async def reload() -> None:
            with contextlib.suppress(PerdureError):  # said in the log
                await self.reload(Progress(lambda _: None))

        task = self._loop.create_task(reload(), name="hangup")
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

    async def reread(self) -> None:
        if self._reread is not None:
            found = self._reread()
            changed = [name for name in FIXED if getattr(found, name) != getattr(self._setup, name)]
            if changed:
                self._log.warning("needs_a_restart", settings=changed, hint="they stay as they were until then")
            self._setup = replace(found, **{name: getattr(self._setup, name) for name in FIXED})
        await self.prepare()

    def start_standby(self, index: int) -> Child:
        return self._spawn(SHARD, f"shard {index}", {"index": index, "standby": True}, [self._data.lock_fd])

    def begin_session(self, index: int, child: Child) -> None:
        child.begin(self._session_of(index))
        self.shards[index] = child

    def retire(self, child: Child) -> None:
        """It ends by itself, and is not started again."""
        if child.module == SHARD:
            self.bury(child)
        if child.phase is not Phase.DEAD:
            self._retired.append(child)

    def take_back(self, child: Child) -> None:
        """A gateway that was to be retired stays."""
        self._retired.remove(child)
        self.gateways[cast("int", child.start["index"])] = child

    def bury(self, child: Child) -> None:
        """A session has ended: whoever gets its shard next recovers its log. One that died before it had a log left nothing."""
        if child.buried:
            return
        child.buried = True
        session = cast("str", child.start["session"])
        if os.path.isdir(f"{self._data.path}/log/{session}"):
            self._dead.died(session, cast("int", child.start["index"]))

    # ------------------------------------------------------------------ drain
    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._log.info("draining", hint="a second signal ends everything at once")
            self._drain_task = self._loop.create_task(self._drain(), name="drain")
        elif not self._ended.done():
            self._log.warning("forced")
            self._ended.set_result(130)

    async def _drain(self) -> None:
        """Gateways first, so that what they accepted can still reach the shards; keepers; then the shards."""
        self._crons.stop()
        seconds = self._setup.drain_s
        if self._succeeding is not None:
            self._succeeding.cancel()
        front = [*self.gateways.values(), *([self._endpoint] if self._endpoint else []), *self._retired]
        keepers = list(self._keepers.children.values())
        share = 0.3 if keepers else 0.6
        clean = await self._drain_some(front, seconds * share)
        clean = await self._drain_some(keepers, seconds * 0.3) and clean
        clean = await self._drain_some(list(self.shards.values()), seconds * 0.4) and clean
        if not self._ended.done():
            self._ended.set_result(0 if clean else 1)

    async def _drain_some(self, children: list[Child], seconds: float) -> bool:
        for child in children:
            child.drain(seconds)
        end = self._loop.time() + seconds + 1.0
        while alive := [child for child in children if child.phase is not Phase.DEAD]:
            self._changed.clear()
            left = end - self._loop.time()
            if left <= 0:
                self._log.warning("drain_timed_out", processes=[child.name for child in alive])
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue
        return all(child.returncode == 0 for child in children)

    async def _kill_all(self) -> None:
        self._signals = max(self._signals, 1)
        self._reviving.stop()
        alive = [child for child in self._all_processes() if child.phase is not Phase.DEAD]
        for child in alive:
            child.kill()
        while any(child.phase is not Phase.DEAD for child in alive):
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 5.0)
            except TimeoutError:
                self._log.error("not_dead", processes=[str(c) for c in alive if c.phase is not Phase.DEAD])
                return


def _typed(error: Exception) -> PerdureError:
    return error if isinstance(error, PerdureError) else PerdureError(f"{type(error).__name__}: {error}")


def supervise(
    setup: Setup, ready: Callable[[str, dict[str, object]], None], reread: Callable[[], Setup] | None = None
) -> int:
    """Run a supervisor to its end on a loop of its own; the exit code. Raises PerdureError when it cannot start."""
    supervisor = Supervisor(setup, ready, reread)
    try:
        return asyncio.run(supervisor.run())
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stdout.flush()
