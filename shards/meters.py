"""The ledger: what the objects of a shard have used, on its way from memory to the catalogue.

What always holds: a count is in one place, the ledger or the catalogue; memory is bounded: above `entries_max` objects the counts
of others are kept a class, not an object. A kill -9 may lose the counts of the last seconds (`METERS_EVERY_S` of the residents
and `FLUSH_S`) and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import apsw

from ..engine.clock import Clock
from ..engine.meters import Meters
from ..router.slots import group_of
from .catalogue import Catalogue, MeterRow
from .quotas import DayUse, day_of

FLUSH_S = 5.0
DAYS_KEPT = 62
ENTRIES_MAX = 100_000

_Key = tuple[int, str, bytes]
_Pending = dict[int, dict[_Key, Meters]]


class Ledger:
    """Lives on the loop; the catalogue is written on `thread`. `take` is what the residents hand their meters to."""

    def __init__(
        self,
        catalogue: Catalogue,
        thread: Executor,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        report: Callable[[str, str, dict[str, object]], None],
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        self._catalogue = catalogue
        self._thread = thread
        self._clock = clock
        self._loop = loop
        self._report = report
        self._entries_max = entries_max
        self._pending: _Pending = {}
        self._entries = 0
        self._today = DayUse(day_of(clock.now_ms()))
        self._pruned_day = 0
        self._ending = asyncio.Event()
        self.watches_stored = False
        """Find out with each flush how many bytes are stored: a scan of the catalogue."""

    # ------------------------------------------------------------------ taking
    def take(self, object_id: bytes, class_key: str, meters: Meters) -> None:
        """Keep what an object has used until the next flush."""
        day = day_of(self._clock.now_ms())
        self._count_today(day, meters)
        self._keep(group_of(object_id), (day, class_key, object_id), meters)

    def _keep(self, group: int, key: _Key, meters: Meters) -> None:
        entries = self._pending.setdefault(group, {})
        found = entries.get(key)
        if found is None and self._entries >= self._entries_max:
            key = (key[0], key[1], b"")
            found = entries.get(key)
        if found is not None:
            found.add(meters)
            return
        entries[key] = meters
        self._entries += 1

    def _count_today(self, day: int, meters: Meters) -> None:
        today = self.use_on(day)
        self._today = replace(
            today,
            requests=today.requests + meters.requests + meters.alarms,
            messages=today.messages + meters.messages,
            active_us=today.active_us + meters.active_us,
            rows_read=today.rows_read + meters.rows_read,
            rows_written=today.rows_written + meters.rows_written,
        )

    def use(self) -> DayUse:
        """What this shard's objects have used today, as far as it was taken."""
        return self.use_on(day_of(self._clock.now_ms()))

    def use_on(self, day: int) -> DayUse:
        """The same for a day that may have begun since: a new day begins with nothing used."""
        if self._today.day != day:
            self._today = DayUse(day, stored_bytes=self._today.stored_bytes)
        return self._today

    # ------------------------------------------------------------------ the catalogue
    def load(self) -> None:
        """Begin with what the catalogue has of today, and with what is stored: for quotas."""
        day = day_of(self._clock.now_ms())
        for group in self._catalogue.groups:
            for row in self._catalogue.class_meters(group, day, day):
                self._count_today(day, row.meters)
        self._today = replace(self._today, stored_bytes=self._stored_bytes())
        self.watches_stored = True

    def _stored_bytes(self) -> int:
        return sum(row.bytes for group in self._catalogue.groups for row in self._catalogue.stored(group))

    async def run(self) -> None:
        """Flush every `FLUSH_S`, and once more after `end`: never cancelled, since a flush in its middle would lose counts."""
        while not self._ending.is_set():
            await self.prune()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), FLUSH_S)
            await self.flush()

    def end(self) -> None:
        """Everything was taken: `run` flushes and returns."""
        self._ending.set()

    async def flush(self) -> None:
        """Write what was taken. What cannot be written stays, and is written with the next flush."""
        if not self._pending and not self.watches_stored:
            return
        pending, self._pending, self._entries = self._pending, {}, 0
        failed, stored_bytes = await self._loop.run_in_executor(self._thread, self._write, pending)
        for group, (entries, error) in failed.items():
            self._report("warning", "meters_not_written", {"group": group, "error": error})
            for key, meters in entries.items():
                self._keep(group, key, meters)
        if stored_bytes is not None:
            self._today = replace(self._today, stored_bytes=stored_bytes)

    def _write(self, pending: _Pending) -> tuple[dict[int, tuple[dict[_Key, Meters], str]], int | None]:
        """On the thread. What could not be written by group, with the reason; and the bytes that are stored."""
        failed: dict[int, tuple[dict[_Key, Meters], str]] = {}
        for group, entries in pending.items():
            try:
                self._catalogue.add_meters(group, [MeterRow(*key, meters) for key, meters in entries.items()])
            except apsw.Error as error:
                failed[group] = (entries, str(error))
        if not self.watches_stored:
            return failed, None
        try:
            return failed, self._stored_bytes()
        except apsw.Error as error:
            self._report("warning", "stored_bytes_not_read", {"error": str(error)})
            return failed, None

    async def prune(self) -> None:
        """Once a day: forget the meters of days that nobody asks for any more."""
        day = day_of(self._clock.now_ms())
        if day == self._pruned_day:
            return
        self._pruned_day = day
        await self._loop.run_in_executor(self._thread, self._prune, day - DAYS_KEPT)

    def _prune(self, before_day: int) -> None:
        for group in self._catalogue.groups:
            try:
                self._catalogue.prune_meters(group, before_day)
            except apsw.Error as error:
                self._report("warning", "meters_not_pruned", {"group": group, "error": str(error)})
