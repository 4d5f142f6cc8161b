"""The group commit: one sync a batch, order of effects, failures, and where the sync runs (hazards C10; design, the log)."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass, field

from perdure.engine.errors import LogFailed, StorageError, StorageFull
from perdure.engine.limits import Limits
from perdure.shards.committer import Committer
from perdure.shards.log import SessionLog
from perdure.shards.records import MARK, Head

from ..engine.shelf import Clock
from .test_log import FailingDisk


@dataclass
class Record:
    object_id: bytes
    change: int
    class_key: str = "w-C"
    name: str | None = None
    generation: int = 1
    size_pages: int = 3
    pages: dict[int, bytes] = field(default_factory=lambda: {1: bytes(4096)})
    alarm_ms: int | None = None
    time_ms: int = 0


class Thing:
    """A committable that notes what happens to it."""

    def __init__(self, number: int) -> None:
        self.object_id = bytes([number]) * 32
        self.change = 0
        self.durable: list[int] = []
        self.failures: list[tuple[BaseException, int]] = []
        self.raises: BaseException | None = None

    def capture(self):
        if self.raises is not None:
            raise self.raises
        self.change += 1
        return Record(self.object_id, self.change)

    def committed(self, change: int) -> None:
        self.durable.append(change)

    def failed(self, error, dropped) -> None:
        self.failures.append((error, len(dropped)))


class Bench:
    def __init__(self, tmp_path, limits: Limits | None = None) -> None:
        self.disk = FailingDisk()
        self.syncs = 0
        self.stops: list[BaseException] = []
        self.reports: list[str] = []
        self.clock = Clock()
        sync = self.disk.sync_data

        def counted(fd):
            self.syncs += 1
            sync(fd)

        self.disk.sync_data = counted  # type: ignore[method-assign]
        self.log = SessionLog(self.disk, str(tmp_path), "000000000001-aaaaaaaa", 64 << 10)
        self.syncs = 0
        self.committer = Committer(
            self.log,
            self.clock,
            limits or Limits(),
            asyncio.get_running_loop(),
            committed=lambda record, segment: None,
            stop=self.stops.append,
            report=lambda level, event, fields: self.reports.append(event),
        )
        self.left: list[object] = []

    def fail_next_sync(self) -> None:
        """The next sync fails; the disk is whole again when the new segment begins."""
        self.disk.fail = {"sync_data": errno.EIO}
        original = self.log.begin_anew

        def repaired() -> None:
            self.disk.fail = {}
            original()

        self.log.begin_anew = repaired  # type: ignore[method-assign]

    def hold(self, batch: int, who: Thing, what: object) -> None:
        self.committer.hold(batch, who, self.left.append, what)


def test_one_sync_for_everything_of_a_round_and_effects_in_order(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        things = [Thing(n) for n in range(5)]
        for thing in things:
            batch = bench.committer.touch(thing)
            bench.hold(batch, thing, thing)
        assert bench.left == []
        await bench.committer.flush()
        assert bench.syncs == 1
        assert bench.left == things
        assert all(thing.durable == [1] for thing in things)
        bench.hold(batch, things[0], "at once")
        assert bench.left[-1] == "at once"
        bench.committer.close()

    asyncio.run(run())


def test_an_object_that_cannot_commit_fails_alone(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        good, bad, full = Thing(1), Thing(2), Thing(3)
        bad.raises = StorageError("constraint")
        full.raises = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for thing in (bad, full, good):
            bench.hold(bench.committer.touch(thing), thing, thing)
        await bench.committer.flush()
        assert bench.left == [good]
        assert [dropped for _, dropped in bad.failures] == [1]
        assert isinstance(full.failures[0][0], StorageFull)
        bench.committer.close()

    asyncio.run(run())


def test_a_failed_sync_is_never_retried_and_a_new_segment_begins(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        first, second, reader = Thing(1), Thing(2), Thing(3)
        bench.hold(bench.committer.touch(first), first, "first")
        bench.fail_next_sync()
        bench.hold(1, reader, "a read that depends on nothing that failed")
        await bench.committer.flush()
        assert isinstance(first.failures[0][0], LogFailed)
        assert bench.left == ["a read that depends on nothing that failed"]
        assert bench.log.number == 2
        bench.hold(bench.committer.touch(second), second, "second")
        await bench.committer.flush()
        assert bench.left[-1] == "second"
        assert bench.stops == []
        bench.committer.close()

    asyncio.run(run())


def test_marks_of_a_failed_batch_go_with_a_later_one(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        thing = Thing(1)
        bench.committer.touch(thing)
        bench.committer.append(
            [Head(MARK, thing.object_id, generation=1, change=1)], lambda: bench.left.append("marked")
        )
        bench.fail_next_sync()
        await bench.committer.flush()
        assert len(thing.failures) == 1
        assert bench.left == ["marked"]
        assert bench.log.index.marks == {thing.object_id: (1, 1)}
        bench.committer.close()

    asyncio.run(run())


def test_when_no_new_segment_can_begin_the_shard_stops_and_nothing_leaves(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        thing = Thing(1)
        bench.hold(bench.committer.touch(thing), thing, "never")
        bench.disk.fail = {"sync_data": errno.EIO}
        await bench.committer.flush()
        assert len(bench.stops) == 1
        assert bench.left == []
        bench.committer.close()

    asyncio.run(run())


def test_c10_commits_made_while_a_batch_is_syncing_fail_with_it(tmp_path) -> None:
    """With the sync on a thread: what an object wrote meanwhile was built on the batch that failed."""

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.committer._threaded = True
        thing, other = Thing(1), Thing(2)
        bench.hold(bench.committer.touch(thing), thing, "first")
        bench.fail_next_sync()
        await asyncio.sleep(0)  # sealed; the thread has it
        bench.hold(bench.committer.touch(thing), thing, "later of the same")
        bench.hold(bench.committer.touch(other), other, "of another")
        await bench.committer.flush()
        assert bench.left == ["of another"]
        assert [(type(error), dropped) for error, dropped in thing.failures] == [(LogFailed, 2)]
        assert thing.change == 1  # its later commit was never captured
        bench.committer.close()

    asyncio.run(run())


def test_slow_syncs_move_to_a_thread_and_come_back(tmp_path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        thing = Thing(1)
        took = [0.0]
        plain = bench.disk.sync_data

        def timed(fd):
            plain(fd)
            bench.clock.s += took[0]

        bench.disk.sync_data = timed  # type: ignore[method-assign]
        took[0] = 0.020
        bench.committer.touch(thing)
        await bench.committer.flush()
        assert bench.committer._threaded
        took[0] = 0.0001
        for _ in range(40):
            bench.committer.touch(thing)
            await bench.committer.flush()
        assert not bench.committer._threaded
        assert bench.reports == ["sync_on_thread", "sync_on_loop"]
        bench.committer.close()

    asyncio.run(run())
