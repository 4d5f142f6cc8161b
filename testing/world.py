"""A world: a program on a cluster of shards in this process, in virtual time, whose disk and processes can fail.

    async with World("app.py") as world:
        counter = world.namespace("Counter").getByName("a")
        await counter.increment()
        await world.advance(hours=2)

What always holds: shards, storage, log and recovery are those of production; nothing waits for the machine's clock; the same
program, seed and test make the same run. Where no event loop runs (unittest, a REPL) each call is done when it is made.
"""

from __future__ import annotations

import asyncio
import datetime
import math
import os
import random
import shutil
import tempfile
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..bindings import blob_store
from ..bindings.blob_store import MemoryStores
from ..bindings.kinds import environments
from ..bindings.surroundings import Surroundings
from ..engine.errors import ClassNotFound, InvalidArgument
from ..engine.ids import ClassKey
from ..engine.limits import Limits
from ..engine.stubs import Namespace, Stub
from ..engine.turns import SCOPE
from ..sdk import caches, fetching
from ..sdk.adapter import fetch_through
from ..sdk.cache_store import CacheStore
from ..sdk.env import Env
from ..sdk.response import Response
from .clients import Client
from .clocks import START, Shown, WorldClock, replaced
from .cluster import Cluster
from .crons import WorldCrons
from .disk import SimDisk
from .front import FrontDoor
from .network import Caller, Network, Receiver, Schedule
from .outside import Answer, Outside
from .process import DEAD, Process
from .programs import Source, loader
from .story import Story
from .views import Storage
from .virtual import VirtualLoop

T = TypeVar("T")
_MEMORY = "/dev/shm"
_SEGMENT_BYTES = 64 << 10
"""Small, since each start of a shard makes one."""
_ENDS_MAX = 50


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What the runtime reported: `at` by the wall clock of the world, `event` and fields as in a shard's log."""

    at: datetime.datetime
    level: str
    event: str
    fields: dict[str, object]


class Calm:
    """The schedule of a plain test: nothing takes time, nobody dies."""

    def delay(self, kind: str, way: object) -> float:
        return 0.0

    def point(self, kind: str, process: Receiver) -> None:
        return

    def may_sleep(self, process: Receiver, object_id: bytes) -> None:
        return


class World:
    """See the module: calls and requests, time, failures, and what is inside."""

    def __init__(
        self,
        program: Source,
        *,
        beside: Sequence[Source] = (),
        env: Mapping[str, object] | None = None,
        shards: int = 1,
        now: datetime.datetime = START,
        seed: int = 0,
        limits: Limits | None = None,
        loop: VirtualLoop | None = None,
        schedule: Schedule | None = None,
        disk: type[SimDisk] = SimDisk,
    ) -> None:
        """`program`: a folder or file as for `perdure run`, a module, or classes. `env`: variables beside its configuration's.

        `beside`: programs that are served with it, for its bindings to services.
        `now`: the wall clock at the start; a naive one is UTC. `limits`: of each shard. Raises ConfigError, InvalidArgument.
        """
        self.log: list[LogRecord] = []
        running = asyncio._get_running_loop()
        self._own_loop = loop is None and not isinstance(running, VirtualLoop)
        self.loop = loop or (running if isinstance(running, VirtualLoop) else VirtualLoop())
        self._load = loader(program, env, beside)
        self._shards, self._seed = shards, seed
        self._limits = limits or Limits(segment_bytes=_SEGMENT_BYTES)
        self._schedule: Schedule = schedule or Calm()
        self._disk = disk
        self._clock = WorldClock(self.loop, now if now.tzinfo is not None else now.replace(tzinfo=datetime.UTC))
        self.story = Story(self.loop.time)
        self._stack = ExitStack()
        self._open = False

    # ------------------------------------------------------------------ opening, closing
    def start(self) -> World:
        """What entering it does."""
        if self._open:
            return self
        try:
            self._start()
        except BaseException:  # a program that cannot be imported, for one: the process's clock must not stay ours
            self._stack.close()
            if self._own_loop:
                self.loop.close()
            raise
        self._open = True
        return self

    def _start(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="perdure-world-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._stack.enter_context(replaced(self._seed))
        self._shown = Shown(self._clock)
        self._stack.callback(self._shown.stop)
        self.loop.on_moved.append(self._moved)
        self._stack.callback(self.loop.on_moved.remove, self._moved)
        alarms = (self._next_alarm_s, self._look_for_alarms)
        self.loop.due.append(alarms)
        self._stack.callback(self.loop.due.remove, alarms)
        self.loop.set_exception_handler(self._unhandled)
        self._outer = Outside()
        self._stack.callback(fetching.install(self._outer))
        self._stack.callback(caches.install(CacheStore()))
        self._stack.callback(blob_store.install(MemoryStores()))
        self._programs = self._load()
        self.network = Network(self.loop, self._schedule, self.story)
        self.network.now_ms = lambda: round(self._clock.now().timestamp() * 1000)
        self.network.report = self._report
        self.network.classes = {key: name for name, key in self._programs.keys().items()}
        self._caller = Caller(self.network, None)
        self.cluster = Cluster(
            self._folder,
            shards=self._shards,
            programs=self._load,
            network=self.network,
            clock=self._clock,
            limits=self._limits,
            loop=self.loop,
            story=self.story,
            report=self._report,
            rng=random.Random(self._seed),
            disk=self._disk,
        )
        self._outside(self._start_all)

    def _start_all(self) -> None:
        self.cluster.start_all()
        self._front = FrontDoor(self._programs, self.network, self.loop, self._report)
        due = tuple(cron for program in self._programs.all for cron in program.config.crons)
        if due:
            crons = WorldCrons(due, self._front.makers, self._clock, self.loop, self._report, self.story)
            passing = (crons.next_s, crons.look)
            self.loop.passing.append(passing)
            self._stack.callback(self.loop.passing.remove, passing)

    def _outside(self, work: Any, *args: object) -> None:
        """Call `work` as code of this loop, wherever we are."""

        async def inside() -> None:
            work(*args)

        if asyncio._get_running_loop() is self.loop:
            work(*args)
        else:
            self.loop.drive(inside())

    def close(self) -> None:
        """What leaving a `with` does. Only where the world's loop does not run."""
        if self._open:
            self.loop.drive(self._close())
            if self._own_loop:
                self.loop.close()

    async def _close(self) -> None:
        self._open = False
        await self._front.close()
        self.cluster.close()
        mine = asyncio.current_task()
        for _ in range(_ENDS_MAX):
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        self.loop.set_task_factory(None)
        self._stack.close()

    def __enter__(self) -> World:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.close()

    async def __aenter__(self) -> World:
        return self.start()

    async def __aexit__(self, *_exc: object) -> None:
        if asyncio.get_running_loop() is self.loop:
            await self._close()
        else:
            self.close()

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run a coroutine on the world's loop, from code that is on none."""
        return self.loop.drive(work)

    # ------------------------------------------------------------------ reports
    def _moved(self) -> None:
        self._shown.follow()
        now_s = self._clock.monotonic_s()
        for process in self.cluster.running:
            if process is not None:
                process.session.residents.now_s = now_s

    def _next_alarm_s(self) -> float:
        """When an alarm is due next, by the loop's time."""
        processes = [process for process in self.cluster.running if process is not None]
        soonest_ms = min((process.next_alarm_ms() for process in processes), default=math.inf)
        return soonest_ms if soonest_ms == math.inf else self._clock.loop_time(soonest_ms)

    def _look_for_alarms(self) -> None:
        for process in self.cluster.running:
            if process is not None:
                process.session.alarms.look()

    def _report(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.log.append(LogRecord(self._clock.now(), level, event, fields))
        if level != "info":
            self.story.tell("reported", str(fields.get("object", "")), event=event)

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        handle = context.get("handle")
        scope = cast("Context", handle._context).get(SCOPE) if handle is not None else None
        if scope is not None and scope.instance.input.holder is DEAD:
            return  # a callback of a killed process: it did nothing
        error = context.get("exception")
        self._report("error", "unhandled", {"message": context.get("message"), "error": repr(error)})

    # ------------------------------------------------------------------ the program
    @property
    def env(self) -> Env:
        """What the program's Worker finds as `self.env`."""
        found = environments(
            self._programs, Surroundings(self._caller, self.loop, self._report, "", self._caller.loopback())
        )
        return found[self._programs.first.name]

    def namespace(self, name: str) -> Namespace:
        """All objects of a class, by the class's name. Raises ClassNotFound."""
        unique = self._programs.keys().get(name)
        if unique is None:
            known = ", ".join(sorted(self._programs.keys())) or "none"
            raise ClassNotFound(f"the program has no class {name!r}", hint=f"known: {known}")
        return Namespace(ClassKey(unique), self._caller, self._fetch_through)

    def get(self, cls: type[T], name: str) -> T:
        """The stub of an object, typed as its class: `await world.get(Counter, "a").increment()`."""
        return cast("T", self.namespace(cls.__name__).getByName(name))

    def _fetch_through(self, send: Any, request: object, init: dict[str, object]) -> Awaitable[object]:
        if asyncio._get_running_loop() is not None:
            return fetch_through(send, request, init)

        async def fetch() -> object:
            return await fetch_through(send, request, init)

        return self.loop.through(fetch())

    def fetch(self, url: str, **options: object) -> Awaitable[Response]:
        """Ask the program's Worker. `url`: a path, or absolute. `options`: method, headers, body, or `json` (a POST)."""
        return self.loop.through(self._front.fetch(url, options))

    def connect(
        self, url: str, *, headers: Mapping[str, str] | None = None, protocols: Sequence[str] = ()
    ) -> Awaitable[Client]:
        """Open a WebSocket as a browser would: `client = await world.connect("/room/a")`, then `client.send("hello")`,
        `await client.receive()`, `client.close(1000)`, `await client.closed()`.

        Raises ConnectionRefused when the program answers with something else, and what its Worker raises.
        """
        return self.loop.through(self._front.connect(url, headers or {}, protocols))

    def scheduled(self, cron: str = "", at: datetime.datetime | None = None) -> Awaitable[None]:
        """Run the Worker's `scheduled` as a cron would, for the moment `at` (now); raises what the handler raises.

        The crons of the configuration run by themselves, when time passes their minutes.
        """
        moment = self.now if at is None else at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
        return self.loop.through(self._front.scheduled(cron, round(moment.timestamp() * 1000)))

    def on_fetch(self, prefix: str, handler: Answer) -> None:
        """What `fetch` of the program finds at URLs that begin with `prefix`: `handler(request)` gives a Response, or what one
        is made of (text, bytes, a status, a dict or list as JSON); raising OSError is a network error. Call after the start.
        """
        self._outer.add(prefix, handler)

    # ------------------------------------------------------------------ time
    @property
    def now(self) -> datetime.datetime:
        """The wall clock, in UTC."""
        return self._clock.now()

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        milliseconds: float = 0,
    ) -> Awaitable[None]:
        """Let time pass: all that is due meanwhile happens, in order, and is over when this returns."""
        span = datetime.timedelta(
            days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
        ).total_seconds()
        if span < 0:
            raise InvalidArgument("time does not go back", hint="`world.step_clock(seconds)` sets the wall clock back")
        return self.loop.through(self.loop.until(self.loop.now_s + span))

    def advance_to(self, when: datetime.datetime) -> Awaitable[None]:
        """Let time pass until the wall clock shows `when` (a naive one is UTC)."""
        aware = when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)
        return self.advance(seconds=(aware - self.now).total_seconds())

    def settle(self) -> Awaitable[None]:
        """Until nothing is left to do at this moment."""
        return self.loop.through(self.loop.quiet())

    def step_clock(self, seconds: float) -> None:
        """Set the wall clock alone, forward or back: no timer of the system notices."""
        self._clock.step(seconds)
        self._shown.follow()
        self.story.tell("clock", "", stepped_s=seconds)

    # ------------------------------------------------------------------ failures
    def _process(self, which: Stub | int) -> Process:
        if isinstance(which, int):
            if not 0 <= which < len(self.cluster.running):
                raise InvalidArgument(
                    f"there is no shard {which}", hint=f"shards: 0 to {len(self.cluster.running) - 1}"
                )
            return self.cluster.start(which)
        if not isinstance(which, Stub):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(
                f"{which!r} is neither a stub nor the index of a shard",
                hint='take the object itself: world.namespace("Class").getByName("name")',
            )
        self.network.introduce(which._key.unique, which.id.raw, which.id.name)  # pyright: ignore[reportPrivateUsage]
        return self.cluster.process_of(which.id.raw)

    def shard_of(self, stub: Stub) -> int:
        """Index of the shard that has the object."""
        return self.cluster.groups[stub.id.raw[0] >> 2]

    def crash(self, which: Stub | int, *, restart: bool = True) -> Awaitable[None]:
        """As kill -9 of a shard (by index, or of an object): who waits for it gets ShardLost.

        What was not acknowledged may be lost.
        It is there again after 100 ms; with `restart=False` after `world.restart(...)`, and calls wait until then.
        """
        return self.loop.through(self._crash(which, restart))

    async def _crash(self, which: Stub | int, restart: bool) -> None:
        self.cluster.kill(self._process(which), restart=restart)
        await self.loop.quiet()

    def restart(self, which: Stub | int | None = None) -> Awaitable[None]:
        """As a deploy: a shard (None: each) lets running events end and begins anew. Starts those that are down."""
        return self.loop.through(self._restart(which))

    async def _restart(self, which: Stub | int | None) -> None:
        if which is None:
            indexes = list(range(len(self.cluster.running)))
        else:
            indexes = [which if isinstance(which, int) else self.shard_of(which)]
        for index in indexes:
            await self.cluster.restart(index)

    def lose_power(self) -> Awaitable[None]:
        """All shards die at once, and of what was not synced any part is lost; they start again on what is left."""
        return self.loop.through(self.cluster.lose_power())

    def lose_keeper(self) -> Awaitable[None]:
        """As kill -9 of the process that holds the connections: clients see 1006, objects get `webSocketClose` with it."""
        return self.loop.through(self._lose_keeper())

    async def _lose_keeper(self) -> None:
        self.story.tell("killed", "keeper 0")
        self.network.lose_keeper()
        await self.loop.quiet()

    def evict(self, stub: Stub) -> Awaitable[None]:
        """Let an object leave memory now, as after 10 s without events. Raises InvalidArgument while it is busy."""
        return self.loop.through(self._evict(stub))

    async def _evict(self, stub: Stub) -> None:
        await self.loop.quiet()
        process = self._process(stub)
        instance = process.instance(stub.id.raw)
        if instance is None:
            return
        if not process.session.residents.let_go(stub.id.raw):
            raise InvalidArgument(
                f"cannot evict {instance!r}: {instance.state.name}, expected IDLE with nothing to wait for"
            )
        self.story.tell("evicted", stub.id.raw)

    def run_alarm(self, stub: Stub) -> Awaitable[bool]:
        """Run the object's alarm now, also before its time; False when it has none.

        What its handler raises is in `world.log` ("alarm_failed"), and the alarm is armed again for its retry.
        """
        return self.loop.through(self._process(stub).session.alarms.fire(stub.id.raw))

    # ------------------------------------------------------------------ inside
    def storage(self, stub: Stub) -> Storage:
        """What the object has stored: `await world.storage(stub).get("key")`, `.list()`, `.sql(query)`, `.alarm()`."""
        return Storage(self.loop, stub, self._process(stub))

    def object(self, stub: Stub) -> object | None:
        """The program's own object, with its attributes; None: it is not in memory."""
        instance = self._process(stub).instance(stub.id.raw)
        return None if instance is None else instance.object

    def state(self, stub: Stub) -> str:
        """Of the object's life: "cold" (not in memory), "loading", "idle", "running", "broken"."""
        instance = self._process(stub).instance(stub.id.raw)
        return "cold" if instance is None else instance.state.name.lower()
