"""The history of objects: page images by commit, one SQLite file for each group of 64 slots (spec: point-in-time recovery).

An object has a base (its state at the oldest point that is kept) and runs of points after it. What always holds: points follow
each other without a gap, or the object's history begins anew; adding a run twice changes nothing; a replacement of the
whole file counts only once it is confirmed; thinning keeps the state after the last commit of each minute, then hour.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import apsw

from ..engine.bookmarks import END_OF_GENERATION
from ..engine.database import PAGE, TEMPLATE
from ..engine.disk import Disk
from ..engine.errors import HistoryGone, VersionMismatch
from ..router.slots import group_of
from .runs import Entry, Point, Run, entries, images
from .sqlite_transactions import transaction

FORMAT = 1
_PENDING = -1
_TRANSACTION_RUNS = 8
_TRANSACTION_PAGES = 2_048
"""What is added at once of a whole file, 8 MiB: the sync of the shard's log may have to wait for it."""
_WRITE_BACK_IMAGES = 2_048
EXACT, MINUTE_MS, HOUR_MS = 0, 60_000, 3_600_000
"""How far apart the points of a run are."""
_SCHEMA = """
create table if not exists objects(
  id blob primary key, class text not null, generation int not null, change int not null, ms int not null,
  pages int not null, last_generation int not null, last_change int not null, bytes int not null
) without rowid;
create table if not exists pages(id blob not null, page int not null, data blob not null);
create unique index if not exists by_page on pages(id, page);
create table if not exists runs(
  id blob not null, generation int not null, first int not null, part int not null, last int not null,
  from_ms int not null, to_ms int not null, step_ms int not null, fresh int not null, toc blob not null, data blob not null
);
create unique index if not exists by_change on runs(id, generation, first, part);
create index if not exists by_age on runs(from_ms, id) where step_ms >= 0;
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point of an object's history. Ordered by (generation, change)."""

    generation: int
    change: int
    time_ms: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Base:
    """The oldest state that is kept, and the newest that is known."""

    generation: int
    change: int
    time_ms: int
    size_pages: int
    last: tuple[int, int]
    bytes: int


class History:
    """The files of some groups. One writer for each group; used from one thread at a time."""

    def __init__(self, folder: str) -> None:
        """`folder`: DATA/history, made when it is missing."""
        self._folder = folder
        self._open: dict[int, apsw.Connection] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def path(self, group: int) -> str:
        return f"{self._folder}/{group:02x}.sqlite"

    def groups(self) -> list[int]:
        """Those that have a file."""
        return sorted(int(name[:2], 16) for name in os.listdir(self._folder) if name.endswith(".sqlite"))

    def connection(self, object_id: bytes) -> apsw.Connection:
        """The file of the object's group. Raises VersionMismatch for a newer format."""
        return self.of_group(group_of(object_id))

    def of_group(self, group: int) -> apsw.Connection:
        found = self._open.get(group)
        if found is not None:
            return found
        connection = apsw.Connection(self.path(group))
        try:
            self._set_up(connection, group)
        except BaseException:  # a full disk, for one: it must not stay open half made
            connection.close(True)
            raise
        self._open[group] = connection
        return connection

    def _set_up(self, connection: apsw.Connection, group: int) -> None:
        connection.set_busy_timeout(10_000)
        version = connection.pragma("user_version")
        if isinstance(version, int) and version > FORMAT:
            raise VersionMismatch(
                f"{self.path(group)} has format {version}, this perdure understands up to {FORMAT}",
                hint="upgrade perdure",
            )
        connection.execute(
            "pragma auto_vacuum=incremental;pragma journal_mode=wal;pragma synchronous=full;pragma secure_delete=on;"
            f"pragma journal_size_limit=1048576;{_SCHEMA}pragma user_version={FORMAT}"
        ).fetchall()

    def drop_group(self, group: int) -> None:
        """Give up a whole file, because the disk is full: writes come before history."""
        connection = self._open.pop(group, None)
        if connection is not None:
            connection.close(True)
        for suffix in ("-wal", "-shm", ""):
            if os.path.exists(self.path(group) + suffix):
                os.unlink(self.path(group) + suffix)

    def close(self) -> None:
        for connection in self._open.values():
            connection.close(True)
        self._open.clear()

    # ------------------------------------------------------------------ what there is
    def base(self, object_id: bytes) -> Base | None:
        """None when nothing is known of the object."""
        row = (
            self.connection(object_id)
            .execute(
                "select generation, change, ms, pages, last_generation, last_change, bytes from objects where id = ?",
                (object_id,),
            )
            .fetchone()
        )
        if row is None:
            return None
        generation, change, ms, pages, last_generation, last_change, used = cast("tuple[int, ...]", row)
        return Base(generation, change, ms, pages, (last_generation, last_change), used)

    def moments(self, object_id: bytes, *, newest_first: bool = True) -> Iterator[Moment]:
        """The points that can be restored, the base included."""
        base = self.base(object_id)
        if base is None:
            return
        order = "desc" if newest_first else "asc"
        query = (
            "select generation, toc, length(toc) + length(data) from runs where id = ? and step_ms >= 0 "
            f"order by generation {order}, first {order}, part {order}"
        )
        if not newest_first:
            yield Moment(base.generation, base.change, base.time_ms)
        for row in self.connection(object_id).execute(query, (object_id,)):
            found = [entry for entry in entries(cast("bytes", row[1])) if entry.size_pages]
            each = cast("int", row[2]) // max(len(found), 1)
            for entry in reversed(found) if newest_first else found:
                yield Moment(cast("int", row[0]), entry.change, entry.time_ms, each)
        if newest_first:
            yield Moment(base.generation, base.change, base.time_ms)

    def at_time(self, object_id: bytes, time_ms: int) -> Moment:
        """The newest point not after that time. Raises HistoryGone."""
        for moment in self.moments(object_id):
            if moment.time_ms <= time_ms:
                return moment
        raise _gone(object_id, "that time")

    # ------------------------------------------------------------------ adding
    def add(
        self, object_id: bytes, class_key: str, generation: int, runs: Sequence[Run], *, fresh: bool = False
    ) -> bool:
        """Add runs that follow the last known change; what is known already is left out. False: the base is missing.

        `fresh`: the first of them begins with the empty template.
        """
        connection = self.connection(object_id)
        base = self.base(object_id)
        runs = [run for run in runs if base is None or (generation, run.last) > base.last]
        if not runs:
            return True
        first = runs[0].first
        if base is not None and generation > base.last[0] and not fresh:
            self.confirm(object_id, generation)
            base = self.base(object_id)
        follows = base is not None and base.last[0] == generation and first <= base.last[1] + 1
        if not fresh and not follows:
            self.forget(object_id)
            return False
        if base is None:
            connection.execute(
                "insert into objects values(?, ?, ?, 0, ?, ?, ?, 0, 0)",
                (object_id, class_key, generation, runs[0].from_ms, len(TEMPLATE) // PAGE, generation),
            )
            fresh = False
        more = sum(run.bytes - self._bytes_at(object_id, generation, run) for run in runs)
        for run in runs:
            self._insert(object_id, generation, run, EXACT, fresh and run.first == first)
        last = max((run.last for run in runs if run.ends), default=runs[0].first - 1)
        connection.execute(
            "update objects set last_generation = ?, last_change = ?, bytes = bytes + ? where id = ?",
            (generation, last, more, object_id),
        )
        return True

    def _bytes_at(self, object_id: bytes, generation: int, run: Run) -> int:
        """Of the run that this one takes the place of: the same, when its segment was folded before it was full."""
        query = (
            "select coalesce(sum(length(toc) + length(data)), 0) from runs "
            "where id = ? and generation = ? and first = ? and part = ? and step_ms >= 0"
        )
        found = self.connection(object_id).execute(query, (object_id, generation, run.first, run.part)).fetchall()
        return cast("int", found[0][0])

    def _insert(self, object_id: bytes, generation: int, run: Run, step_ms: int, fresh: bool = False) -> None:
        self.connection(object_id).execute(
            "insert or replace into runs values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(object_id, generation, run.first, run.part, run.last),
                *(run.from_ms, run.to_ms, step_ms, int(fresh), run.toc, run.data),
            ),
        )

    def replace_runs(
        self, object_id: bytes, rows: Sequence[int], generation: int, runs: Iterable[Run], step_ms: int
    ) -> None:
        """Put merged runs in the place of those rows of one generation."""
        connection = self.connection(object_id)
        freed = fresh = 0
        for row in rows:
            query = "delete from runs where rowid = ? returning length(toc) + length(data), fresh"
            for used, begins in cast("list[tuple[int, int]]", connection.execute(query, (row,)).fetchall()):
                freed += used
                fresh |= begins
        for number, run in enumerate(runs):
            self._insert(object_id, generation, run, step_ms, bool(fresh) and number == 0)
            freed -= run.bytes
        connection.execute("update objects set bytes = bytes - ? where id = ?", (freed, object_id))

    def set_base(
        self, object_id: bytes, class_key: str, at: Moment, pages: Iterable[tuple[int, bytes]], size: int
    ) -> None:
        """Begin an object's history with a whole state. `pages`: (number, packed image).

        In several transactions, as `prepare`. The base is there when the last of them is.
        """
        connection = self.connection(object_id)
        with transaction(connection):
            self.forget(object_id)
        used = 0
        each = iter(pages)
        while some := [(object_id, number, data) for number, data in islice(each, _TRANSACTION_PAGES)]:
            with transaction(connection):
                connection.executemany("insert into pages values(?, ?, ?)", some)
            used += sum(len(data) for _, _, data in some)
        connection.execute(
            "insert into objects values(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (object_id, class_key, at.generation, at.change, at.time_ms, size, at.generation, at.change, used),
        )

    # ------------------------------------------------------------------ replacements of the whole file
    def prepare(self, object_id: bytes, generation: int, runs: Iterable[Run], *, fresh: bool = False) -> None:
        """Note what a new generation changes. It counts when `confirm` is called, or when a commit follows it.

        `fresh`: changes of the empty template, because there was no file. In several transactions, so that little waits to
        be written at any time; the next try removes what one left.
        """
        connection = self.connection(object_id)
        connection.execute("delete from runs where id = ? and step_ms = ?", (object_id, _PENDING))
        each, number = iter(runs), 0
        while some := list(islice(each, _TRANSACTION_RUNS)):
            with transaction(connection):
                for run in some:
                    self._insert(object_id, generation, run, _PENDING, fresh and number == 0)
                    number += 1

    def confirm(self, object_id: bytes, generation: int, class_key: str = "") -> None:
        """The file of that generation has its place: what was prepared of it counts. `class_key`: when the object may be new.

        In several transactions, as `prepare`, the end of the point in the last: parts without it are none.
        """
        connection = self.connection(object_id)
        query = "select 1 from runs where id = ? and generation = ? and step_ms = ? limit 1"
        if connection.execute(query, (object_id, generation, _PENDING)).fetchone() is None:
            return
        if class_key and self.base(object_id) is None:
            connection.execute(
                "insert into objects values(?, ?, ?, 0, 0, ?, ?, 0, 0)",
                (object_id, class_key, generation - 1, len(TEMPLATE) // PAGE, generation),  # before it, it was empty
            )
        query = "select rowid from runs where id = ? and generation = ? and step_ms = ? order by part"
        rows = connection.execute(query, (object_id, generation, _PENDING)).fetchall()
        for start in range(0, len(rows), _TRANSACTION_RUNS):
            with transaction(connection):
                some = [(EXACT, row[0]) for row in rows[start : start + _TRANSACTION_RUNS]]
                connection.executemany("update runs set step_ms = ? where rowid = ?", some)
                if start + _TRANSACTION_RUNS >= len(rows):
                    self._follows(object_id, generation)

    def class_of(self, object_id: bytes) -> str:
        """The class key of an object; empty when nothing is known of it."""
        row = self.connection(object_id).execute("select class from objects where id = ?", (object_id,)).fetchone()
        return str(row[0]) if row is not None else ""

    def older(self, group: int, time_ms: int) -> Iterator[tuple[bytes, str]]:
        """(id, class key) of objects with points before that time that are not in their base."""
        query = (
            "select id, class from objects where id in "
            "(select id from runs where step_ms >= 0 and from_ms < ? and to_ms < ?)"
        )
        for row in self.of_group(group).execute(query, (time_ms, time_ms)):
            yield cast("bytes", row[0]), cast("str", row[1])

    def has_older(self, object_id: bytes, time_ms: int) -> bool:
        """Whether the object has points before that time that are not in its base."""
        query = "select 1 from runs where id = ? and step_ms >= 0 and to_ms < ? limit 1"
        return bool(self.connection(object_id).execute(query, (object_id, time_ms)).fetchall())

    def newest_generation(self, group: int) -> int:
        """Of all that is known of the group's objects; 0: nothing is."""
        if not os.path.exists(self.path(group)):
            return 0
        query = "select coalesce(max(last_generation), 0) from objects"
        return cast("int", self.of_group(group).execute(query).fetchall()[0][0])

    def of_class(self, group: int, class_key: str, limit: int) -> list[bytes]:
        """Ids of objects of a class that something is known of, up to that number."""
        if not os.path.exists(self.path(group)):
            return []
        query = "select id from objects where class = ? limit ?"
        return [bytes(cast("bytes", row[0])) for row in self.of_group(group).execute(query, (class_key, limit))]

    def wash(self, group: int) -> None:
        """Let no page that was overwritten be left in the file beside."""
        self.of_group(group).execute("pragma wal_checkpoint(truncate)").fetchall()

    def _follows(self, object_id: bytes, generation: int) -> None:
        """The object's newest point is that generation's first, which replaced the whole file."""
        connection = self.connection(object_id)
        query = "select max(last), sum(length(toc) + length(data)) from runs where id = ? and generation = ?"
        last, used = connection.execute(query, (object_id, generation)).fetchall()[0]
        connection.execute(
            "update objects set last_generation = ?, last_change = ?, bytes = bytes + ? where id = ?",
            (generation, last, used, object_id),
        )

    def forget(self, object_id: bytes, generation: int = 1 << 62) -> None:
        """Remove everything of an object up to a generation; freed pages are overwritten."""
        connection = self.connection(object_id)
        connection.execute("delete from runs where id = ? and generation <= ?", (object_id, generation))
        for table in ("pages", "objects"):
            connection.execute(f"delete from {table} where id = ?", (object_id,))

    # ------------------------------------------------------------------ a state
    def check(self, object_id: bytes, generation: int, change: int) -> Base:
        """The base of a point that can be restored. Raises HistoryGone."""
        base = self.base(object_id)
        if base is None and change == 0:  # before the first commit there was the empty template
            return Base(generation, 0, 0, len(TEMPLATE) // PAGE, (generation, 0), 0)
        if base is None or (base.generation, base.change) > (generation, change):
            raise _gone(object_id, f"change {change} of generation {generation}")
        return base

    def check_known(self, object_id: bytes, generation: int, change: int) -> None:
        """Raises HistoryGone for a point that cannot be restored, also one that history knows nothing of."""
        base = self.check(object_id, generation, change)
        if (generation, change) > base.last and _is_beyond(base, generation, change):
            raise HistoryGone(
                f"the history of object {object_id.hex()} has no change {change} of generation {generation}: "
                "it was begun anew since, or that bookmark was never given",
                object_id=object_id.hex(),
                hint="`perdure objects history ID` lists what can be restored",
            )

    def write_state(self, object_id: bytes, generation: int, change: int, disk: Disk, fd: int) -> tuple[Moment, int]:
        """Write the state at the newest point not after (generation, change) into an empty file: that point, its size in pages.

        Memory is bounded by one run. Raises HistoryGone when it is older than what is kept.
        """
        base = self.check(object_id, generation, change)
        at, size = Moment(base.generation, base.change, base.time_ms), base.size_pages
        from_template = base.change == 0
        last: dict[int, tuple[int, int]] = {}
        pieces: dict[int, tuple[int, int]] = {}
        of = 0
        for row, found, fresh, toc in self._runs_until(object_id, generation, change):
            if fresh:
                last, from_template = {}, True
            index = 0
            for entry in entries(toc):
                if (found, entry.change) > (generation, change):
                    break
                if entry.change != of:
                    pieces, of = {}, entry.change
                pieces.update((number, (row, index + place)) for place, number in enumerate(entry.pages))
                index += len(entry.pages)
                if entry.size_pages:
                    last.update(pieces)
                    pieces = {}
                    size, at = entry.size_pages, Moment(found, entry.change, entry.time_ms)
        if from_template:
            disk.pwrite(fd, TEMPLATE, 0)
        else:
            self._write_base(object_id, disk, fd)
        self._write_images(object_id, {n: place for n, place in last.items() if n <= size}, disk, fd)
        disk.truncate(fd, size * PAGE)
        return at, size

    def _runs_until(self, object_id: bytes, generation: int, change: int) -> Iterator[tuple[int, int, bool, bytes]]:
        query = (
            "select rowid, generation, fresh, toc from runs where id = ? and step_ms >= 0 and (generation, first) <= (?, ?) "
            "order by generation, first, part"
        )
        for row in self.connection(object_id).execute(query, (object_id, generation, min(change, (1 << 63) - 1))):
            yield cast("int", row[0]), cast("int", row[1]), bool(row[2]), cast("bytes", row[3])

    def _write_base(self, object_id: bytes, disk: Disk, fd: int) -> None:
        query = "select page, data from pages where id = ? order by page"
        for count, row in enumerate(self.connection(object_id).execute(query, (object_id,)), start=1):
            disk.pwrite(fd, images(cast("bytes", row[1])), (cast("int", row[0]) - 1) * PAGE)
            if count % _WRITE_BACK_IMAGES == 0:
                disk.write_back(fd, 0, 0)

    def _write_images(self, object_id: bytes, last: dict[int, tuple[int, int]], disk: Disk, fd: int) -> None:
        by_row: dict[int, list[tuple[int, int]]] = {}
        for number, (row, index) in last.items():
            by_row.setdefault(row, []).append((number, index))
        written = 0
        for row, wanted in by_row.items():
            query = "select data from runs where rowid = ?"
            raw = images(cast("bytes", self.connection(object_id).execute(query, (row,)).fetchall()[0][0]))
            for number, index in wanted:
                disk.pwrite(fd, raw[index * PAGE : (index + 1) * PAGE], (number - 1) * PAGE)
            written += len(wanted)
            if written >= _WRITE_BACK_IMAGES:
                disk.write_back(fd, 0, 0)
                written = 0


def _is_beyond(base: Base, generation: int, change: int) -> bool:
    """Whether history knows of no such point: it was begun anew since, or the bookmark was never given."""
    last_generation, last_change = base.last
    if generation > last_generation:
        return change != 0
    return generation == last_generation and last_change < change < END_OF_GENERATION


def _gone(object_id: bytes, what: str) -> HistoryGone:
    return HistoryGone(
        f"the history of object {object_id.hex()} does not reach back to {what}",
        object_id=object_id.hex(),
        hint="`perdure objects history ID` lists what can be restored; history_days and history_object_bytes_max bound it",
    )


__all__ = ["EXACT", "HOUR_MS", "MINUTE_MS", "Base", "Entry", "History", "Moment", "Point"]
