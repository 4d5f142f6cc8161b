"""The objects of one shard that are in memory: found or created by id, hibernated or evicted, bounded in count and size.

What always holds: at most one instance per id is alive; after a reset the next instance runs nothing before the old one's
storage is closed and its file is right.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, ValuesView
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager

from .ages import end_late, expire
from .awake import Fate, fate_of, may_hibernate
from .bookmarks import History, Position
from .busy import take_meters
from .call_cycles import look
from .calls import Call
from .class_runtime import ClassRuntime
from .clock import Clock
from .commits import Commits
from .database import Files
from .disk import Disk
from .errors import ClassNotFound, InvalidArgument, ObjectReset, Overloaded, PerdureError
from .fairness import Rotation
from .freed import give_back
from .gate import BLOCKED, OutputGate
from .instance import Instance
from .lateness import CommitWatch
from .least_recent import LeastRecent
from .lifecycle import State
from .limits import Limits
from .mailbox import cancel
from .meters import Meters
from .object_storage import ObjectStorage
from .open_databases import OpenDatabases
from .rates import Rates
from .resetting import fail_late, release
from .restoring import is_restoring
from .shutting_down import Reason, tell, tell_before_it_sleeps, wants_to_know
from .socket_calls import Holder
from .socket_events import load
from .socket_resets import told
from .stubs import Transport
from .turns import Turns

TICK_S = 0.05
"""Grain of the coarse clock that ages and idle times are measured with."""
_SCAN_S = 1.0
_SHRINK_FROM = 500
_COLLECT_FROM = 1_000
"""Objects that have left: looking through so many takes about 10 ms."""
_COLLECT_LEAST = 200
"""Fewer, when no more are leaving, are not worth it: 2 MiB."""
_AFTER_MARKS_S = 35.0
"""A mark is made within 30 s; then the log's index forgets the object."""
RESIDENT_BYTES = 8 << 10
"""What an object in memory is taken to need, without its database and what the program keeps in it."""
DATABASE_BYTES = 100 << 10
"""What an open database is taken to need: SQLite's schema, pages and prepared statements."""
METERS_EVERY_S = 5.0
"""How often the meters of objects that were used are taken; those of evicted objects are taken at once."""

Report = Callable[[str, str, dict[str, object]], None]


class Residents:
    """Finds the instance of a call, or makes it; implements Shelf for its instances."""

    def __init__(
        self,
        classes: Mapping[str, ClassRuntime],
        *,
        files: Files,
        commits: Commits,
        clock: Clock,
        disk: Disk,
        limits: Limits,
        transport: Transport,
        log: Report,
        loop: asyncio.AbstractEventLoop,
        threads: Executor | None = None,
        history: History | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.random = random
        self.history = history
        self.threads = threads or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.turns = Turns(loop, limits.quiescent_rounds, clock.now_ms() << 20)  # no number of a process before
        self.clock = clock
        self.disk = disk
        self.limits = limits
        self.transport = transport
        self.now_s = clock.monotonic_s()
        self.files = OpenDatabases(files, limits.open_databases_max, self._close_databases)
        self.on_settled: Callable[[bytes, int], None] | None = None
        self.on_metered: Callable[[bytes, str, Meters], None] | None = None
        """Takes what an object has used: id, class key, counts."""
        self.meters_every_s = METERS_EVERY_S
        self.write_refusal: PerdureError | None = None
        self.refused: dict[tuple[bytes, str], tuple[float, PerdureError]] = {}
        self.on_tick: Callable[[float], None] | None = None
        """Called by the coarse clock, with its time in seconds."""
        self.failed_restores: dict[bytes, Position] = {}
        self.forsaken: set[bytes] = set()
        self.holders: Callable[[], Iterable[Holder]] = tuple
        """All that hold connections of sockets and are connected now."""
        self.was_live: Callable[[bytes], bool] = lambda _: False
        """Whether logs before this session's have commits of an object that no mark covers: it may have an outbox."""
        self._refusal: PerdureError | None = None
        """What new events get instead of their object: a quota is used up, or the process drains."""
        self._drains = False
        self._metered_s = self.now_s
        self._meters_since_s: float | None = None
        """While a scan takes meters: of the objects used since then."""
        self._classes = dict(classes)
        self._commits = commits
        self._watch = CommitWatch(limits.commit_ms_max / 1000)
        self._log = log
        self._by_id: dict[bytes, Instance] = {}
        self._closing: dict[bytes, Instance] = {}
        self._vacated: set[bytes] = set()
        """Objects whose file is being changed as a whole: their events wait."""
        self.superseded: dict[bytes, Instance] = {}
        """Objects that another process has now; what ran here may end."""
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}
        """Who waits for an object's main file to be complete, or its storage to be closed."""
        self.rotation = Rotation(loop)
        self.rates = Rates(self)
        self.kept_out: dict[Instance, None] = {}
        """Objects whose gate or share has kept somebody out, since they last had nobody waiting."""
        self.circling: dict[Instance, None] = {}
        """Objects that calls of their own have led back to; `call_cycles` looks at them."""
        self._resets = 0
        self._hibernations = 0
        self._evictions = 0
        self._give_back_s = self._collect_s = math.inf
        """When to look again for memory that can be given back, and for garbage before that."""
        self._left = 0
        """Objects that have left memory since `_by_id` was last made anew."""
        self._garbage = self._garbage_before = 0
        """Objects that have left memory since garbage was last looked for; and how many these were at the last scan."""
        self._least_recent = LeastRecent(lambda: self._by_id.values(), may_hibernate)
        self._timers: list[asyncio.TimerHandle] = []
        self._scan: list[Instance] = []

    def start(self) -> None:
        """Install the task factory and begin the coarse clock and the search for idle objects."""
        self.turns.install()
        self._tick()
        self._look_for_idle()

    def stop(self) -> None:
        """End the timers."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.threads.shutdown(wait=False)

    # ------------------------------------------------------------------ calls
    def deliver(self, call: Call) -> None:
        """Run a call as an event of its object. Refusals are answered at once, never raised."""
        instance = self._by_id.get(call.object_id)
        if instance is None:
            try:
                instance = self._create(call)
            except PerdureError as error:
                call.answer(call, told(call, error, error is self._refusal))
                return
        elif instance.runtime.key.unique != call.class_key:
            call.answer(call, InvalidArgument("Durable Object ID is not valid for this namespace"))
            return
        if self._refusal is not None:
            call.answer(call, told(call, self._refusal, True))
            return
        instance.deliver(call)

    def class_of(self, object_id: bytes) -> str | None:
        """The key of the class that an id belongs to, None when the program has none."""
        return next((key for key, runtime in self._classes.items() if runtime.key.owns(object_id)), None)

    @property
    def class_keys(self) -> frozenset[str]:
        """Of the classes that the program has."""
        return frozenset(self._classes)

    @property
    def refuses(self) -> bool:
        """Whether new events are refused: a quota is used up, or the process drains."""
        return self._refusal is not None

    def cancel(self, call: Call) -> None:
        """The caller is gone or gave up."""
        instance = self._by_id.get(call.object_id) or self.superseded.get(call.object_id)
        if instance is not None:
            cancel(instance, call)

    def _create(self, call: Call) -> Instance:
        if self._refusal is not None:
            raise self._refusal
        runtime = self._classes.get(call.class_key)
        if runtime is None:
            raise ClassNotFound(
                f"There is no class with the key '{call.class_key}' in this program",
                hint=f"known: {', '.join(sorted(self._classes)) or 'none'}",
            )
        if not runtime.key.owns(call.object_id):
            raise InvalidArgument("Durable Object ID is not valid for this namespace")
        if self._is_full() and not self._make_room():
            raise Overloaded(
                "Durable Object is overloaded. Too many requests queued: this shard holds as many objects as it may.",
                hint="raise residents_max or residents_bytes_max, or add shards",
            )
        instance = Instance(self, runtime, call.object_id, call.name)
        storage = ObjectStorage(
            instance,
            self.files,
            has_sql=runtime.sqlite,
            delete_all_deletes_alarm=runtime.delete_all_deletes_alarm,
        )
        instance.attach(storage, storage.api, OutputGate(self._commits, instance))
        if call.object_id in self._closing or call.object_id in self._vacated:
            instance.input.block()
        self._by_id[call.object_id] = instance
        self._least_recent.added(instance)
        return instance

    # ------------------------------------------------------------------ sockets
    def held(
        self,
        holder: Holder,
        class_key: str,
        object_id: bytes,
        name: str | None,
        sockets: Sequence[tuple[bytes, int | None]],
        asked: bool,
    ) -> None:
        """A holder says which sockets of an object it has, each with when it was last answered automatically (ms).

        `asked`: it was asked to. Else an object that is not in memory is left alone, unless it may have something to send.
        """
        instance = self._by_id.get(object_id)
        if instance is not None and (instance.object is not None or instance.sockets is not None):
            instance.all_sockets().held(holder, sockets)
        elif instance is None and sockets and (asked or self.was_live(object_id)):
            load(
                self.deliver,
                class_key,
                object_id,
                name,
                lambda: self.held(holder, class_key, object_id, name, sockets, False),
            )

    def seen(self, holder: Holder, object_id: bytes, number: int) -> None:
        """Recorded effects have arrived at a holder."""
        instance = self._by_id.get(object_id)
        if instance is not None and instance.sockets is not None:
            instance.sockets.seen(holder, number)

    def buffered(self, holder: Holder, object_id: bytes, socket: bytes, size: int) -> None:
        """So many bytes for a socket are not taken by its reader."""
        instance = self._by_id.get(object_id)
        if instance is not None and instance.sockets is not None:
            instance.sockets.buffered(socket, size)

    def holder_gone(self, holder: Holder) -> None:
        """A holder's process has ended: its sockets of objects in memory are closed (1006)."""
        for instance in list(self._by_id.values()):
            if instance.sockets is not None:
                instance.sockets.holder_gone(holder)

    # ------------------------------------------------------------------ Shelf
    def forget(self, instance: Instance, error: PerdureError) -> None:
        if self._by_id.get(instance.object_id) is instance:
            del self._by_id[instance.object_id]
        self._closing[instance.object_id] = instance
        self.rates.forget(instance)
        self._left += 1
        self._garbage += 1
        if instance.state is State.EVICTED:
            self._evictions += 1
            return
        self._resets += 1
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "reason": error.message}
        self._log("warning", "object_reset", fields)

    def metered(self, instance: Instance, taken: Meters) -> None:
        if self.on_metered is not None:
            self.on_metered(instance.object_id, instance.runtime.key.unique, taken)

    def closed(self, instance: Instance) -> None:
        if self._closing.get(instance.object_id) is not instance:
            return
        del self._closing[instance.object_id]
        self._tell(instance.object_id)
        successor = self._by_id.get(instance.object_id)
        if successor is not None and instance.object_id not in self._vacated:
            successor.input.unblock()

    def settled(self, instance: Instance, change: int) -> None:
        if self.on_settled is not None:
            self.on_settled(instance.object_id, change)
        self._tell(instance.object_id)

    def unsettled(self, instance: Instance, error: PerdureError) -> None:
        self._tell(instance.object_id, error)

    def _tell(self, object_id: bytes, error: PerdureError | None = None) -> None:
        for future in self._waiting.pop(object_id, ()):
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _told(self, object_id: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.turns.loop.create_future()
        self._waiting.setdefault(object_id, []).append(future)
        return future

    def report(self, level: str, event: str, fields: dict[str, object]) -> None:
        self._log(level, event, fields)

    def is_resident(self, object_id: bytes) -> bool:
        """Whether the object is in memory."""
        return object_id in self._by_id

    def holds(self, instance: Instance) -> bool:
        """Whether it is still the one in memory of its object, and whole."""
        return instance.broken is None and self._by_id.get(instance.object_id) is instance

    def settle(self, object_id: bytes) -> int | None:
        """Complete an object's main file: its change number, or None when `on_settled` will tell.

        An object that is not in memory was completed when it was closed: 0.
        """
        instance = self._by_id.get(object_id)
        if instance is None:
            return None if object_id in self._closing else 0
        return instance.settling.settle()

    async def complete(self, object_id: bytes) -> None:
        """Until the main file holds everything that is durable now. Raises StorageFull when it has no room for that."""
        while (instance := self._by_id.get(object_id)) is not None or object_id in self._closing:
            if instance is not None and not instance.storage.is_open() and object_id not in self._closing:
                return  # and it may be waiting for whoever asks
            change = instance.settling.settle() if instance is not None else None
            if change is not None:
                if self.on_settled is not None:
                    self.on_settled(object_id, change)
                return
            await self._told(object_id)
            if instance is not None and instance.broken is None and not instance.settling.busy():
                return

    @asynccontextmanager
    async def vacated(self, object_id: bytes, why: str) -> AsyncGenerator[None, None]:
        """Inside nobody runs on the object and its database is closed; its events wait. `why`: what running ones are told.

        Raises Overloaded while somebody else changes or copies its file.
        """
        if object_id in self._vacated or not self.files.may_fold(object_id):
            raise Overloaded(
                "this object's file is being copied or replaced already", hint="try again when that is done"
            )
        self._vacated.add(object_id)
        try:
            await self._empty(object_id, ObjectReset(f"The Durable Object was {why}", retryable=True))
            yield
        finally:
            self._vacated.discard(object_id)
            successor = self._by_id.get(object_id)
            if successor is not None and object_id not in self._closing and successor.input.holder is BLOCKED:
                successor.input.unblock()

    def begin_anew(self, class_key: str, error: PerdureError | None) -> int:
        """Let a class's quiet objects leave memory; with `error` reset the others too. How many were in memory."""
        mine = [instance for instance in self._by_id.values() if instance.runtime.key.unique == class_key]
        for instance in mine:
            if instance.quiet():
                self._evict(instance)
            elif error is not None and not instance.settling.busy() and instance.state is not State.COLD:
                instance.reset(error)
        return len(mine)

    def let_go(self, object_id: bytes) -> bool:
        """Let one object leave memory now; False: it is busy, or not in memory."""
        instance = self._by_id.get(object_id)
        if instance is None or not instance.quiet():
            return False
        self._evict(instance)
        return True

    async def _empty(self, object_id: bytes, error: PerdureError) -> None:
        """Until nobody has the object's database open."""
        while True:
            instance = self._by_id.get(object_id)
            if object_id in self._closing or (instance is not None and instance.settling.busy()):
                await self._told(object_id)
            elif instance is None or instance.is_waiting():
                return
            elif instance.quiet():
                self._evict(instance)
            elif is_restoring(instance):  # its file is being replaced already
                await asyncio.sleep(TICK_S)
            else:
                instance.reset(error)

    # ------------------------------------------------------------------ bounds
    def _tick(self) -> None:
        self.now_s = self.clock.monotonic_s()
        if self.on_tick is not None:
            self.on_tick(self.now_s)
        if self._watch.late(self.turns.newest_batch, self._commits.durable(), self.now_s):
            since_s = self.now_s - self.limits.commit_ms_max / 1000
            for instance in list(self._by_id.values()):
                fail_late(instance, since_s)
        for instance in list(self.circling):
            look(instance)
        for instance in list(self.kept_out):
            expire(instance)
        self._timers[:1] = [self.turns.loop.call_later(TICK_S, self._tick)]

    def _look_for_idle(self) -> None:
        """Once a second: evict what was idle too long, take meters when due. In slices of 2,000 objects."""
        if not self._scan:
            self._scan = list(self._by_id.values())
            self.rates.slide()
            self._meters_since_s = None
            if self.now_s - self._metered_s >= self.meters_every_s:
                self._meters_since_s, self._metered_s = self._metered_s, self.now_s
        part, self._scan = self._scan[:2_000], self._scan[2_000:]
        idle_since = self.now_s - self.limits.idle_hibernate_ms / 1000
        for instance in part:
            if instance.calls_left != instance.calls_max:
                self.rates.read(instance)
            if instance.events:
                end_late(instance)
            still_here = self._by_id.get(instance.object_id) is instance  # slices are ticks apart
            if still_here and instance.used_s <= idle_since:
                self._look_at(instance)
        if self._meters_since_s is not None:
            self._take_meters(part, self._meters_since_s)
        if not self._scan:
            self._shrink()
        delay = _SCAN_S if not self._scan else TICK_S
        self._timers[1:] = [self.turns.loop.call_later(delay, self._look_for_idle)]

    def _take_meters(self, instances: list[Instance], since_s: float) -> None:
        """Only of those that may have used something: most objects in memory are idle."""
        for instance in instances:
            if instance.used_s >= since_s or instance.active_since_s:
                take_meters(instance)

    def take_all_meters(self) -> None:
        """Hand in everything that was used so far: at the end."""
        for instance in self._by_id.values():
            take_meters(instance)

    def _look_at(self, instance: Instance) -> None:
        """Let an object that was not used lately leave memory, if it may."""
        fate = fate_of(instance)
        if fate is Fate.HIBERNATES:
            if wants_to_know(instance):
                seconds = self.limits.pre_shutdown_ms_max / 1000
                tell_before_it_sleeps(instance, seconds, self.deliver, self._after_it_was_told)
            else:
                self._evict(instance)
        elif fate is Fate.IS_EVICTED:
            instance.evict()

    def _after_it_was_told(self, instance: Instance) -> None:
        """It goes, unless somebody has called it meanwhile: then it is told again when it is idle again."""
        if self._by_id.get(instance.object_id) is instance and may_hibernate(instance):
            self._evict(instance)

    def let_part_go(self, part: float) -> int:
        """Let that part of the objects in memory go, least recently used first, if they are idle. How many went."""
        wanted = math.ceil(len(self._by_id) * part)
        gone = 0
        while gone < wanted and self._make_room():
            gone += 1
        return gone

    def _evict(self, instance: Instance) -> None:
        """Drop a quiet one."""
        del self._by_id[instance.object_id]
        self._left += 1
        self._hibernations += 1
        self._garbage += 1
        self.rates.forget(instance)
        instance.hibernate()

    def _is_full(self) -> bool:
        count, limits = len(self._by_id), self.limits
        if count >= limits.residents_max:
            return True
        return count * RESIDENT_BYTES + self.files.count * DATABASE_BYTES >= limits.residents_bytes_max

    def _make_room(self) -> bool:
        """Let the least recently used one that may hibernate leave; False: none may."""
        found = self._least_recent.take(lambda instance: self._by_id.get(instance.object_id) is instance)
        if found is not None:
            self._evict(found)
        return found is not None

    def _shrink(self) -> None:
        """A dict never gets smaller by itself, nor does the heap of the C library: after many have left, make them so."""
        if not self._is_full():
            self._least_recent.forget()
        self._collect()
        if self._left > max(_SHRINK_FROM, 2 * len(self._by_id)):
            self._left = 0
            self._by_id = dict(self._by_id)
            self._collect_s = self.now_s + _AFTER_MARKS_S
            self._give_back_s = self._collect_s + 2 * _SCAN_S
        elif self.now_s < self._give_back_s:
            return
        else:  # what the marks have let go of in the meantime
            self._give_back_s = math.inf
        self.turns.loop.run_in_executor(self.threads, give_back)

    def _collect(self) -> None:
        """The parts of an object point at one another, and an idle process makes nothing new that would have them looked for.

        Looks when a good part of what it must look through is garbage, once more when no more is coming, and at last when the
        log has forgotten them too: a few small things that are left here and there, or lie in the interpreter's free lists,
        which this empties, keep whole arenas of its memory.
        """
        ended = self._garbage == self._garbage_before >= _COLLECT_LEAST
        if self.now_s >= self._collect_s:
            ended, self._collect_s = True, math.inf
        if ended or self._garbage > max(_COLLECT_FROM, len(self._by_id) // 4):
            self._garbage = 0
            self.turns.loop.call_soon(gc.collect)  # when the scan lets go of them too
        self._garbage_before = self._garbage

    def _close_databases(self) -> None:
        """Close the least recently used ones down to nine tenths of the bound."""
        opened = [instance for instance in self._by_id.values() if instance.storage.is_open() and instance.quiet()]
        opened.sort(key=lambda instance: instance.used_s)
        spare = self.files.count - self.limits.open_databases_max * 9 // 10
        for instance in opened[: max(spare, 0)]:
            release(instance)

    # ------------------------------------------------------------------ quotas
    def refuse(self, events: PerdureError | None, writes: PerdureError | None) -> None:
        """What new events, and writes, get until the next call of this; None: they are let in. A drain refuses for good."""
        if not self._drains:
            self._refusal = events
        self.write_refusal = writes

    # ------------------------------------------------------------------ the hand-off
    @property
    def instances(self) -> ValuesView[Instance]:
        """All objects in memory."""
        return self._by_id.values()

    @property
    def closing(self) -> bool:
        """Whether the storage of an object that was reset is still open."""
        return bool(self._closing)

    def runs(self, object_id: bytes) -> bool:
        """Whether an event of the object has begun and not ended."""
        instance = self._by_id.get(object_id)
        return instance is not None and any(event.begun for event in instance.events)

    def left(self, instance: Instance, *, busy: bool) -> None:
        """The object belongs to another process now. `busy`: something of it still runs here."""
        if self._by_id.get(instance.object_id) is instance:
            del self._by_id[instance.object_id]
        if busy:
            self.superseded[instance.object_id] = instance

    # ------------------------------------------------------------------ the end
    async def tell_shutdown(self, reason: Reason, seconds: float) -> int:
        """Run `preShutdown` where a class has it, at most its bound or so long. Call it when new events are refused."""
        return await tell(list(self._by_id.values()), reason, min(seconds, self.limits.pre_shutdown_ms_max / 1000))

    async def drain(self, seconds: float, reason: Reason = "inactive") -> bool:
        """Refuse new events with a retryable error and let running ones end, and `preShutdown`; `reason`: what it is told.

        False when the time was too short.
        """
        self._drains = True
        self._refusal = ObjectReset(
            "This Durable Object's process is shutting down: retry on a new stub", retryable=True, reset=False
        )
        end = self.clock.monotonic_s() + seconds
        await self.tell_shutdown(reason, seconds)
        while any(instance.events or instance.settling.folding for instance in self._by_id.values()):
            if self.clock.monotonic_s() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    def close_all(self) -> None:
        """Break what still runs, close every database. Call when all commits are durable."""
        for instance in list(self._by_id.values()):
            if instance.events or instance.tasks:
                instance.reset(ObjectReset("This Durable Object's process was shut down", retryable=True))
            elif (
                instance.touched <= self._commits.durable()
                and not instance.settling.folding
                and instance.storage.may_close()
            ):
                self._evict(instance)

    @property
    def count(self) -> int:
        """Objects in memory."""
        return len(self._by_id)

    def statistics(self) -> dict[str, int]:
        return {
            "residents": len(self._by_id),
            "open_databases": self.files.count,
            "resets": self._resets,
            "hibernations": self._hibernations,
            "evictions": self._evictions,
            **self.rates.statistics(),
            **self.rotation.statistics(),
        }
