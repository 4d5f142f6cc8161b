"""The objects of one shard that are in memory: found or created by id, evicted when idle, bounded in count and files.

What always holds: at most one instance per id is alive; after a reset the next instance runs nothing before the old one's
storage is closed and its file is right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from .calls import Call
from .clock import Clock
from .commits import Commits
from .database import Files, Located
from .disk import Disk
from .errors import ClassNotFound, InvalidArgument, ObjectReset, Overloaded, PerdureError
from .gate import OutputGate
from .ids import ClassKey
from .instance import ClassRuntime, Instance
from .lateness import CommitWatch
from .limits import Limits
from .object_storage import ObjectStorage
from .stubs import Transport
from .turns import Turns

TICK_S = 0.05
"""Grain of the coarse clock that ages and idle times are measured with."""
_SCAN_S = 1.0

Report = Callable[[str, str, dict[str, object]], None]


class OpenDatabases:
    """Counts the open databases on the way to the files, so that the least recently used can be closed."""

    def __init__(self, files: Files, count_max: int, make_room: Callable[[], None]) -> None:
        self._files = files
        self._count_max = count_max
        self._make_room = make_room
        self.count = 0

    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        return self._files.exists(key, object_id)

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        if self.count >= self._count_max:
            self._make_room()
        located = self._files.locate(key, object_id)
        self.count += 1
        return located

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        self._files.rebuild(key, object_id)

    def closed(self, object_id: bytes, change: int) -> None:
        self.count -= 1
        self._files.closed(object_id, change)


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
    ) -> None:
        self.turns = Turns(loop, limits.quiescent_rounds)
        self.clock = clock
        self.disk = disk
        self.limits = limits
        self.transport = transport
        self.now_s = clock.monotonic_s()
        self.files = OpenDatabases(files, limits.open_databases_max, self._close_databases)
        self.on_settled: Callable[[bytes, int], None] | None = None
        self._classes = dict(classes)
        self._commits = commits
        self._watch = CommitWatch(limits.commit_ms_max / 1000)
        self._log = log
        self._by_id: dict[bytes, Instance] = {}
        self._closing: dict[bytes, Instance] = {}
        self._draining: PerdureError | None = None
        self._resets = 0
        self._evictions = 0
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

    # ------------------------------------------------------------------ calls
    def deliver(self, call: Call) -> None:
        """Run a call as an event of its object. Refusals are answered at once, never raised."""
        instance = self._by_id.get(call.object_id)
        if instance is None:
            try:
                instance = self._create(call)
            except PerdureError as error:
                call.answer(call, error)
                return
        elif instance.runtime.key.unique != call.class_key:
            call.answer(call, InvalidArgument("Durable Object ID is not valid for this namespace"))
            return
        if self._draining is not None:
            call.answer(call, self._draining)
            return
        instance.deliver(call)

    def cancel(self, call: Call) -> None:
        """The caller is gone or gave up."""
        instance = self._by_id.get(call.object_id)
        if instance is not None:
            instance.cancel(call)

    def _create(self, call: Call) -> Instance:
        if self._draining is not None:
            raise self._draining
        runtime = self._classes.get(call.class_key)
        if runtime is None:
            raise ClassNotFound(
                f"There is no class with the key '{call.class_key}' in this program",
                hint=f"known: {', '.join(sorted(self._classes)) or 'none'}",
            )
        if not runtime.key.owns(call.object_id):
            raise InvalidArgument("Durable Object ID is not valid for this namespace")
        if len(self._by_id) >= self.limits.residents_max and not self._evict_one():
            raise Overloaded(
                "Durable Object is overloaded. Too many requests queued: this shard holds as many objects as it may.",
                hint="raise residents_max or add shards",
            )
        instance = Instance(self, runtime, call.object_id, call.name)
        storage = ObjectStorage(
            instance,
            self.files,
            has_sql=runtime.sqlite,
            delete_all_deletes_alarm=runtime.delete_all_deletes_alarm,
        )
        instance.attach(storage, storage.api, OutputGate(self._commits, instance))
        if call.object_id in self._closing:
            instance.input.block()
        self._by_id[call.object_id] = instance
        return instance

    # ------------------------------------------------------------------ Shelf
    def forget(self, instance: Instance, error: PerdureError) -> None:
        if self._by_id.get(instance.object_id) is instance:
            del self._by_id[instance.object_id]
        self._closing[instance.object_id] = instance
        self._resets += 1
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "reason": error.message}
        self._log("warning", "object_reset", fields)

    def closed(self, instance: Instance) -> None:
        if self._closing.get(instance.object_id) is not instance:
            return
        del self._closing[instance.object_id]
        successor = self._by_id.get(instance.object_id)
        if successor is not None:
            successor.input.unblock()

    def settled(self, instance: Instance, change: int) -> None:
        if self.on_settled is not None:
            self.on_settled(instance.object_id, change)

    def report(self, level: str, event: str, fields: dict[str, object]) -> None:
        self._log(level, event, fields)

    def settle(self, object_id: bytes) -> int | None:
        """Complete an object's main file: its change number, or None when `on_settled` will tell.

        An object that is not in memory was completed when it was closed: 0.
        """
        instance = self._by_id.get(object_id)
        if instance is None:
            return None if object_id in self._closing else 0
        return instance.settle()

    # ------------------------------------------------------------------ bounds
    def _tick(self) -> None:
        self.now_s = self.clock.monotonic_s()
        if self._watch.late(self.turns.newest_batch, self._commits.durable(), self.now_s):
            since_s = self.now_s - self.limits.commit_ms_max / 1000
            for instance in list(self._by_id.values()):
                instance.fail_late(since_s)
        self._timers[:1] = [self.turns.loop.call_later(TICK_S, self._tick)]

    def _look_for_idle(self) -> None:
        """Once a second: evict what was idle too long, close databases above the bound. In slices of 2,000 objects."""
        if not self._scan:
            self._scan = list(self._by_id.values())
        part, self._scan = self._scan[:2_000], self._scan[2_000:]
        idle_since = self.now_s - self.limits.idle_hibernate_ms / 1000
        for instance in part:
            if instance.used_s < idle_since and instance.quiet():
                self._evict(instance)
        delay = _SCAN_S if not self._scan else TICK_S
        self._timers[1:] = [self.turns.loop.call_later(delay, self._look_for_idle)]

    def _evict(self, instance: Instance) -> None:
        del self._by_id[instance.object_id]
        self._evictions += 1
        instance.evict()

    def _evict_one(self) -> bool:
        for instance in self._by_id.values():
            if instance.quiet():
                self._evict(instance)
                return True
        return False

    def _close_databases(self) -> None:
        """Close the least recently used ones down to nine tenths of the bound."""
        opened = [instance for instance in self._by_id.values() if instance.storage.is_open() and instance.quiet()]
        opened.sort(key=lambda instance: instance.used_s)
        spare = self.files.count - self.limits.open_databases_max * 9 // 10
        for instance in opened[: max(spare, 0)]:
            instance.storage.release()

    # ------------------------------------------------------------------ the end
    async def drain(self, seconds: float) -> bool:
        """Refuse new events with a retryable error and let running ones end; False when the time was too short."""
        self._draining = ObjectReset(
            "This Durable Object's process is shutting down: retry on a new stub", retryable=True, reset=False
        )
        end = self.clock.monotonic_s() + seconds
        while any(instance.events for instance in self._by_id.values()):
            if self.clock.monotonic_s() > end:
                return False
            await asyncio.sleep(0.01)
        return True

    def close_all(self) -> None:
        """Break what still runs, close every database. Call when all commits are durable."""
        for instance in list(self._by_id.values()):
            if instance.events or instance.tasks:
                instance.reset(ObjectReset("This Durable Object's process was shut down", retryable=True))
            elif instance.touched <= self._commits.durable():
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
            "evictions": self._evictions,
        }
