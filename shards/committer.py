"""The group commit of one shard: everything that objects wrote in one loop round is one batch of the log, with one sync.

sealed → written → synced → answered. What always holds: at most one batch is being synced; commits happen only when a batch is
sealed; effects leave in the order held, after their batch is durable; a failed batch takes with it every later commit and
effect of its objects, and is never tried again.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..engine.clock import Clock
from ..engine.commits import CommitRecord, Committable, Effect
from ..engine.errors import LogFailed, PerdureError, StorageError, StorageFull
from ..engine.limits import Limits
from ..engine.turns import outside
from .interfaces import Log
from .log import full
from .records import COMMIT, PART, Head

Held = tuple[Committable, Callable[..., None], tuple[object, ...]]
_AGAIN_S = 0.1
_RELEASE_GROUP = 16
"""Answers that leave together, so that callers work on them while the rest of the batch is answered."""
_BATCH_PAGES_MAX = 1_024
"""Page images in one batch: 4 MiB, so that packing and writing it stops the loop for some milliseconds only."""
_CALM_SYNCS = 32
"""Syncs in a row that must be fast before they move back to the loop."""
_LONG_MS = 20.0
_LONG_S = 10.0
"""After a sync as slow as that, or a large commit, they stay on the thread so long: the next slow one must not stop the loop."""


@dataclass(slots=True)
class _Control:
    heads: list[Head] = field(default_factory=list[Head])
    then: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


@dataclass(slots=True)
class Sealed:
    """A batch on its way to the disk."""

    number: int
    records: list[tuple[Committable, CommitRecord]]
    control: _Control
    segment: int = 0
    began_s: float = 0.0


@dataclass(slots=True)
class Counts:
    """What the committer did since the start."""

    batches: int = 0
    commits: int = 0
    pages: int = 0
    failed_batches: int = 0
    threaded_syncs: int = 0
    sync_ms_average: float = 0.0


class Committer:
    """Implements the engine's Commits over a Log. Everything runs on the loop but a slow sync."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        committed: Callable[[CommitRecord, int], None],
        partial: Callable[[CommitRecord, int], None],
        stop: Callable[[BaseException], None],
        report: Callable[[str, str, dict[str, object]], None],
        threads: Executor | None = None,
    ) -> None:
        """`committed(record, segment)`: a record is durable. `partial(record, segment)`: a piece of a large one is written.

        `stop(error)`: nothing can be acknowledged any more.
        """
        self.counts = Counts()
        self.send_now: Callable[[], None] = _nothing
        """Sends the answers that are queued: the shard's door."""
        self.no_room: Callable[[], None] = _nothing
        """Called when the next segment cannot be allocated: what is less than a write gives up its space."""
        self.log = log
        self._clock = clock
        self._limits = limits
        self._loop = loop
        self._committed = committed
        self._partial = partial
        self._stop = stop
        self._report = report
        self._touched: dict[Committable, None] = {}
        self._control = _Control()
        self._held: dict[int, list[Held]] = {}
        self._open = 1
        self._durable = 0
        self._scheduled = False
        self._syncing: Sealed | None = None
        self._stopped = False
        self._threaded = False
        self._making_room = False
        self._calm = 0
        self._beside = 0
        self._until_s = 0.0
        self._context = outside()
        """Of what runs when a batch is durable: neither answers nor timers are of the object that happened to write first."""
        self._threads = threads or ThreadPoolExecutor(2, thread_name_prefix="log sync")
        """One syncs, the other makes the next segment's file, which may take long: a sync must not wait for it."""

    # ------------------------------------------------------------------ Commits
    def touch(self, who: Committable) -> int:
        """`who` has writes of an ended turn: they go with the open batch, whose number is returned."""
        self._touched[who] = None
        if not self._scheduled:
            self._schedule()
        return self._open

    def durable(self) -> int:
        """Number of the newest durable batch."""
        return self._durable

    def hold(self, batch: int, who: Committable, effect: Callable[..., None], *args: object) -> None:
        """Run `effect(*args)` when `batch` is durable; drop it if the batch fails for `who`."""
        if batch <= self._durable:
            effect(*args)
            return
        held = self._held.get(batch)
        if held is None:
            held = self._held[batch] = []
        held.append((who, effect, args))

    @contextmanager
    def beside(self) -> Generator[None, None, None]:
        """While something else writes much to the disk: syncs wait for it, so they stay on the thread."""
        self._beside += 1
        try:
            yield
        finally:
            self._beside -= 1

    def append(self, heads: Sequence[Head], then: Callable[[], None]) -> None:
        """Put marks or a trim into the next batch; `then()` when they are durable. They may use the last of the space."""
        self._control.heads += heads
        self._control.then.append(then)
        if not self._scheduled:
            self._schedule()

    async def appended(self, heads: Sequence[Head]) -> None:
        """The same, until they are durable."""
        done: asyncio.Future[None] = self._loop.create_future()

        def durable() -> None:
            if not done.done():
                done.set_result(None)

        self.append(heads, durable)
        await done

    # ------------------------------------------------------------------ seal
    def _schedule(self) -> None:
        if self._syncing is None and not self._stopped:
            self._scheduled = True
            self._loop.call_soon(self._seal, context=self._context)

    def _seal(self) -> None:
        """Commit what was touched, and write it as one batch."""
        try:
            self._commit_touched()
        except BaseException as error:  # a commit without its capture: later ones would be logged without its pages
            self.end(error)
            raise

    def _commit_touched(self) -> None:
        self._scheduled = False
        if self._syncing is not None or self._stopped:
            return
        touched, self._touched = self._touched, {}
        sealed = Sealed(self._open, [], self._control)
        self._control = _Control()
        heads: list[Head] = []
        pages: list[bytes] = []
        later: dict[Committable, None] = {}
        for who in touched:
            if len(pages) >= _BATCH_PAGES_MAX:
                later[who] = None
                continue
            record = self._capture(who)
            if record is not None:
                sealed.records.append((who, record))
                heads.append(_head(record))
                pages += record.pages.values()
                if record.more:
                    later[who] = None
                    self._threaded, self._until_s = True, self._clock.monotonic_s() + _LONG_S
        self._open += 1
        if later:
            self._postpone(later, sealed.number)
        heads += sealed.control.heads
        if not heads:
            self._finish(sealed)
            return
        try:
            self.log.append(heads, pages, control=not sealed.records)
        except StorageFull as error:
            self.no_room()
            self._fail(sealed, error, anew=False)
            return
        except OSError as error:
            self._fail(sealed, _log_failed(error), anew=True)
            return
        sealed.segment = self.log.number
        self.counts.pages += len(pages)
        self._sync(sealed)

    def _postpone(self, later: dict[Committable, None], number: int) -> None:
        """These have more to commit than fits: they and what is held for them go with the next batch."""
        held = self._held.get(number, [])
        moved = [entry for entry in held if entry[0] in later]
        if moved:
            self._held[number] = [entry for entry in held if entry[0] not in later]
            self._held[self._open] = moved + self._held.get(self._open, [])
        self._touched = {**later, **self._touched}
        for who in later:
            who.postponed(self._open)

    def _capture(self, who: Committable) -> CommitRecord | None:
        try:
            return who.capture()
        except OSError as error:
            full_disk = error.errno in (errno.ENOSPC, errno.EDQUOT)
            failure: PerdureError = full() if full_disk else StorageError(f"cannot write: {error.strerror}")
        except PerdureError as error:
            failure = error
        who.failed(failure, self.drop(who))
        return None

    # ------------------------------------------------------------------ sync
    def _sync(self, sealed: Sealed) -> None:
        sealed.began_s = self._clock.monotonic_s()
        if self._threaded or self._beside:
            self._syncing = sealed
            self.counts.threaded_syncs += 1
            future = self._loop.run_in_executor(self._threads, self.log.sync_device)
            future.add_done_callback(self._synced_on_thread, context=self._context)
            return
        try:
            self.log.sync_device()
        except OSError as error:
            self._fail(sealed, _log_failed(error), anew=True)
            return
        self._synced(sealed)

    def _synced_on_thread(self, future: asyncio.Future[None]) -> None:
        sealed, self._syncing = self._syncing, None
        assert sealed is not None, "a sync ended that was not begun"
        error = future.exception()
        if error is None:
            self._synced(sealed)
        elif isinstance(error, OSError):
            self._fail(sealed, _log_failed(error), anew=True)
        else:
            self.end(error)
        if (self._touched or self._control.heads) and not self._scheduled:
            self._schedule()

    def _synced(self, sealed: Sealed) -> None:
        self._watch((self._clock.monotonic_s() - sealed.began_s) * 1000)
        self.log.synced()
        if self.log.wants_room and not self._making_room:
            self._making_room = True
            self._loop.run_in_executor(self._threads, self._make_room)
        self._finish(sealed)

    def _make_room(self) -> None:
        try:
            if not self.log.make_room():
                self._loop.call_soon_threadsafe(self.no_room)
        except OSError as error:
            fields: dict[str, object] = {"error": str(error)}
            self._loop.call_soon_threadsafe(self._report, "error", "spare_segment_failed", fields)
        finally:
            self._making_room = False

    def _watch(self, took_ms: float) -> None:
        """Where the next sync runs: on the loop while they are fast, on the thread from the first slow one on."""
        counts, limits = self.counts, self._limits
        counts.sync_ms_average += (took_ms - counts.sync_ms_average) / 16
        if took_ms > limits.sync_thread_ms_min:
            if not self._threaded:
                self._report("info", "sync_on_thread", {"took_ms": round(took_ms, 1)})
            self._threaded, self._calm = True, 0
            if took_ms > _LONG_MS:
                self._until_s = self._clock.monotonic_s() + _LONG_S
        elif self._threaded:
            self._calm = self._calm + 1 if took_ms < limits.sync_inline_ms_max else 0
            if self._calm >= _CALM_SYNCS and self._clock.monotonic_s() >= self._until_s:
                self._threaded = False
                self._report("info", "sync_on_loop", {"average_ms": round(counts.sync_ms_average, 2)})

    # ------------------------------------------------------------------ the outcome
    def _finish(self, sealed: Sealed) -> None:
        """Let everything leave that waited for the batch, in the order held."""
        self.counts.batches += 1
        self.counts.commits += len(sealed.records)
        self._durable = sealed.number
        try:
            for who, record in sealed.records:
                if record.part < 0:
                    self._partial(record, sealed.segment)
                    continue
                self._committed(record, sealed.segment)
                who.committed(record.change)
        except OSError as error:  # a file could not get its place: recovery makes it from the log
            self.end(error)
            return
        for then in sealed.control.then:
            then()
        self._release()
        if self._touched and not self._scheduled:
            self._schedule()

    def _release(self) -> None:
        count = 0
        for number in [number for number in self._held if number <= self._durable]:
            for _who, effect, args in self._held.pop(number):
                effect(*args)
                count += 1
                if count % _RELEASE_GROUP == 0:
                    self.send_now()

    def _fail(self, sealed: Sealed, error: PerdureError, *, anew: bool) -> None:
        """The batch is not in the log: its objects are reset, with all that they did since."""
        self.counts.failed_batches += 1
        self._report("error", "batch_failed", {"batch": sealed.number, "error": error.message, "hint": error.hint})
        if anew:
            try:
                self.log.begin_anew()
            except (OSError, StorageFull) as fatal:
                self.end(fatal)
                return
        self._durable = sealed.number
        for who, _ in sealed.records:
            self._touched.pop(who, None)
            who.failed(error, self.drop(who))
        if sealed.control.heads:  # marks and trims are true whenever they are written: they go with a later batch
            self._control.heads[:0] = sealed.control.heads
            self._control.then[:0] = sealed.control.then
            self._loop.call_later(_AGAIN_S, self._try_again, context=self._context)
        self._release()
        if self._touched and not self._scheduled:
            self._schedule()

    def _try_again(self) -> None:
        if not self._scheduled:
            self._schedule()

    def drop(self, who: Committable) -> list[Effect]:
        """Take away what is held for an object, in any batch."""
        dropped: list[Effect] = []
        for number, held in self._held.items():
            dropped += [(effect, args) for owner, effect, args in held if owner is who]
            self._held[number] = [entry for entry in held if entry[0] is not who]
        return dropped

    def end(self, error: BaseException) -> None:
        """Nothing can be made durable any more: nothing that is held may leave."""
        self._stopped = True
        self._held.clear()
        self._stop(error)

    # ------------------------------------------------------------------ the end
    async def flush(self) -> None:
        """Wait until everything touched is durable."""
        while (self._touched or self._control.heads or self._syncing or self._scheduled) and not self._stopped:
            await asyncio.sleep(0.001)

    def close(self) -> None:
        self._stopped = True
        self._threads.shutdown()


def _nothing() -> None:
    """No door yet."""


def _head(record: CommitRecord) -> Head:
    return Head(
        PART if record.part < 0 else COMMIT,
        record.object_id,
        record.class_key,
        record.name,
        record.generation,
        record.change,
        record.size_pages,
        record.alarm_ms,
        record.time_ms,
        record.part,
        tuple(record.pages),
    )


def _log_failed(error: OSError) -> LogFailed:
    return LogFailed(
        f"Internal error in Durable Object storage write caused object to be reset: the log cannot be written ({error.strerror})",
        hint="see the disk of the data folder: `dmesg`, `df`",
    )
