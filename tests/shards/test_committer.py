"""The group commit: one sync a batch, order of effects, failures, and where the sync runs (hazards C10; design, the log)."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass, field

from perdure.engine.errors import LogFailed, StorageError, StorageFull
from perdure.engine.limits import Limits
from perdure.engine.turns import SCOPE
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
    part: int = 0
    pages: dict[int, bytes] = field(default_factory=lambda: {1: bytes(4096)})
    alarm_ms: int | None = None
    time_ms: int = 0
    more: bool = False


class Thing:
    """A committable that notes what happens to it."""

    def __init__(self, number: int) -> None:
        self.object_id = bytes([number]) * 32
        self.change = 0
        self.durable: list[int] = []
        self.failures: list[tuple[BaseException, int]] = []
        self.raises: BaseException | None = None
        self.pieces = 0
        """How many pieces its next commit has before the last one."""
        self.behind = False
        """A commit was made while a large one was being captured."""
        self.moved: list[int] = []
        self._piece = 0

    def capture(self):
        if self.raises is not None:
            raise self.raises
        if self._piece < self.pieces:
            self._piece += 1
            return Record(self.object_id, self.change + 1, part=-self._piece, pages={1: bytes(4096)}, more=True)
        if self.pieces:
            self.change += 1
            parts, self.pieces, self._piece = self.pieces, 0, 0
            return Record(self.object_id, self.change, part=parts, more=self.behind)
        self.change += 1
        return Record(self.object_id, self.change)

    def committed(self, change: int) -> None:
        self.durable.append(change)

    def postponed(self, batch: int) -> None:
        self.moved.append(batch)

    def failed(self, error, dropped) -> None:
        self.failures.append((error, len(dropped)))


class Bench:
    def __init__(self, tmp_path, limits: Limits | None = None) -> None:
        self.disk = FailingDisk()
        self.syncs = 0
        self.stops: list[BaseException] = []
        self.reports: list[str] = []
        self.partial: list[tuple[bytes, int]] = []
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
            partial=lambda record, segment: self.partial.append((record.object_id, record.part)),
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


def test_a_large_commit_goes_in_pieces_and_its_replies_wait_for_the_last(tmp_path) -> None:
    async def body() -> None:
        bench = Bench(tmp_path)
        large, small = Thing(1), Thing(2)
        large.pieces = 3
        bench.committer.hold(bench.committer.touch(large), large, bench.left.append, "large")
        bench.committer.hold(bench.committer.touch(small), small, bench.left.append, "small")
        while not bench.left:  # the sync is on the thread
            await asyncio.sleep(0)
        assert bench.left == ["small"], "another object's reply does not wait for the pieces"
        assert (bench.partial, large.durable) == ([(large.object_id, -1)], [])
        await bench.committer.flush()
        assert bench.left == ["small", "large"]
        assert large.durable == [1]
        assert large.moved == [2, 3, 4]
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_a_failed_piece_takes_the_whole_commit_with_it(tmp_path) -> None:
    async def body() -> None:
        bench = Bench(tmp_path)
        large = Thing(1)
        large.pieces = 3
        bench.committer.hold(bench.committer.touch(large), large, bench.left.append, "large")
        await asyncio.sleep(0)
        bench.fail_next_sync()
        await bench.committer.flush()
        assert bench.left == []
        assert large.durable == []
        assert [dropped for _, dropped in large.failures] == [1], "the caller that waits is told"
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_a_batch_is_bounded_and_what_does_not_fit_goes_with_the_next(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("perdure.shards.committer._BATCH_PAGES_MAX", 2)

    async def body() -> None:
        bench = Bench(tmp_path)
        things = [Thing(number) for number in range(1, 6)]
        for thing in things:
            bench.committer.hold(bench.committer.touch(thing), thing, bench.left.append, thing.object_id[0])
        await asyncio.sleep(0)
        assert bench.left == [1, 2]
        await bench.committer.flush()
        assert bench.left == [1, 2, 3, 4, 5], "in the order touched"
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_while_something_large_is_written_syncs_are_on_the_thread(tmp_path) -> None:
    async def body() -> None:
        bench = Bench(tmp_path)

        async def write() -> int:
            bench.committer.touch(Thing(1))
            await bench.committer.flush()
            return bench.committer.counts.threaded_syncs

        assert await write() == 0
        with bench.committer.beside():
            assert await write() == 1
            with bench.committer.beside():
                assert await write() == 2
            assert await write() == 3, "the other is still at it"
        assert await write() == 3
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_after_a_large_commit_syncs_stay_on_the_thread_for_a_while(tmp_path) -> None:
    async def body() -> None:
        bench = Bench(tmp_path)
        large = Thing(1)
        large.pieces = 1
        bench.committer.touch(large)
        await bench.committer.flush()

        async def threaded(count: int) -> int:
            before = bench.committer.counts.threaded_syncs
            for _ in range(count):
                bench.committer.touch(large)
                await bench.committer.flush()
            return bench.committer.counts.threaded_syncs - before

        assert await threaded(40) == 40, "fast syncs alone do not bring them back"
        bench.clock.s += 11
        assert await threaded(40) < 40
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_what_was_committed_behind_a_large_commit_is_captured_before_its_replies_leave(tmp_path) -> None:
    async def body() -> None:
        bench = Bench(tmp_path)
        thing = Thing(1)
        thing.pieces, thing.behind = 1, True
        bench.committer.hold(bench.committer.touch(thing), thing, bench.left.append, "large")
        await asyncio.sleep(0)
        bench.committer.hold(
            bench.committer.touch(thing), thing, lambda: bench.left.append(("behind", thing.durable[:]))
        )
        await bench.committer.flush()
        assert thing.durable == [1, 2], "also the second commit is in the log"
        assert bench.left == ["large", ("behind", [1, 2])], "and nothing left before it was"
        bench.committer.close()
        bench.log.close(clean=False)

    asyncio.run(body())


def test_what_was_held_runs_outside_any_object(tmp_path) -> None:
    """An object writes first, and so begins the batch: what the others' answers begin must not end with it."""

    async def run() -> None:
        bench = Bench(tmp_path)
        thing = Thing(1)
        scopes: list[object] = []
        SCOPE.set("an object")  # type: ignore[arg-type]
        batch = bench.committer.touch(thing)
        bench.committer.hold(batch, thing, lambda: scopes.append(SCOPE.get()))
        while not scopes:
            await asyncio.sleep(0)
        assert scopes == [None]
        bench.committer.close()

    asyncio.run(run())
