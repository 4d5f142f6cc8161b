"""The catalogue: which objects there are, one SQLite file for each group of 64 slots, owned and handed over with them.

It is a cache: written with the marks, before the log lets go of what it holds; rebuilt from the object files when missing.
Names come from commit records, so a rebuilt row has none until the object commits again. Beside the objects stand their meters,
a row an object and day: counts, which nothing can rebuild, and whose last seconds may be lost.

One number of a group is kept here too: the newest generation of any of its objects that is gone. A file that is made anew begins
above it, so that what history knows of an earlier one stays apart. It is durable before the object goes.

What always holds: a file of format 0 was begun and not yet rebuilt; it counts as missing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import apsw

from ..engine.errors import VersionMismatch
from ..engine.meters import METER_NAMES, Meters
from ..router.slots import group_of
from .sqlite_transactions import transaction

FORMAT = 3
"""1: objects. 2: objects and meters. 3: and floors."""
_SCHEMA = f"""
create table if not exists objects(
  id blob primary key, class text not null, name text, created_ms int not null, active_ms int not null, bytes int not null
) without rowid;
create index if not exists by_class on objects(class, name);
create table if not exists meters(
  day int not null, class text not null, id blob not null, {", ".join(f"{name} int not null" for name in METER_NAMES)},
  primary key(day, class, id)
) without rowid;
create table if not exists floors(generation int not null);
"""
_COLUMNS = ", ".join(METER_NAMES)
_ADDED = "on conflict(day, class, id) do update set " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in METER_NAMES
)
_ADD_METERS = f"insert into meters values(?, ?, ?{', ?' * len(METER_NAMES)}) {_ADDED}"
_ADD_METERS_OF = f"insert into meters select day, class, x'', {_COLUMNS} from meters where id = ?"
_SUMS = ", ".join(f"sum({name})" for name in METER_NAMES)


@dataclass(frozen=True, slots=True)
class Row:
    """One object. `bytes` is the size of its main file, `active_ms` the time of its last commit."""

    object_id: bytes
    class_key: str
    name: str | None
    bytes: int
    active_ms: int


@dataclass(frozen=True, slots=True)
class MeterRow:
    """What one object used in one UTC day (days since the epoch). An empty `object_id`: many objects of the class together."""

    day: int
    class_key: str
    object_id: bytes
    meters: Meters


@dataclass(frozen=True, slots=True)
class ObjectUse:
    """What one object used in some days, and the bytes of its main file now."""

    class_key: str
    object_id: bytes
    name: str | None
    bytes: int
    meters: Meters


@dataclass(frozen=True, slots=True)
class StoredRow:
    """How many objects of a class there are, and the bytes of their main files."""

    class_key: str
    objects: int
    bytes: int


class Catalogue:
    """The files of the groups that this shard owns. Each method opens what it needs: threads wait for each other in SQLite."""

    def __init__(self, data: str, groups: Iterable[int]) -> None:
        """Makes what is missing. Raises VersionMismatch for a newer format."""
        self._opening = threading.Lock()
        self._folder = f"{data}/catalogue"
        self._data = data
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._groups = list(groups)
        self.floors: dict[int, int] = {}
        """As they were at the start: group → the newest generation of any object that is gone."""
        there = frozenset(os.listdir(self._folder))
        self.missing = [group for group in self._groups if f"{group:02x}.sqlite" not in there or not self._check(group)]
        """Groups whose file was not there at the start, or not finished: their rows are found by `rebuild`."""

    def _path(self, group: int) -> str:
        return f"{self._folder}/{group:02x}.sqlite"

    def _check(self, group: int) -> bool:
        """Whether the file, which is there, is complete; one of an older format becomes one of this."""
        connection = apsw.Connection(self._path(group))
        try:
            found = connection.pragma("user_version")
            found = found if isinstance(found, int) else 0
            if found == FORMAT:
                floor = connection.execute("select coalesce(max(generation), 0) from floors").fetchall()[0][0]
                self.floors[group] = cast("int", floor)
        finally:
            connection.close()
        if found > FORMAT:
            raise VersionMismatch(
                f"{self._path(group)} has format {found}, this perdure understands up to {FORMAT}",
                hint="upgrade perdure",
            )
        if 0 < found < FORMAT:
            self._finish(group)
        return found > 0

    def _open(self, group: int) -> apsw.Connection:
        connection = apsw.Connection(self._path(group))
        connection.set_busy_timeout(5_000)
        with self._opening:  # SQLite does not wait for another thread that makes the same file a -wal one
            connection.execute(f"pragma journal_mode=wal;pragma synchronous=full;{_SCHEMA}").fetchall()
        return connection

    def _finish(self, group: int) -> None:
        """The file has everything that this format says."""
        connection = self._open(group)
        connection.pragma("user_version", FORMAT)
        connection.close()

    def write(self, rows: Iterable[Row]) -> None:
        """Insert or update rows, durably."""
        by_group: dict[int, list[Row]] = {}
        for row in rows:
            by_group.setdefault(group_of(row.object_id), []).append(row)
        for group, found in by_group.items():
            connection = self._open(group)
            try:
                with transaction(connection):
                    connection.executemany(
                        "insert into objects values(?1, ?2, ?3, ?5, ?5, ?4) on conflict(id) do update set "
                        "name = coalesce(excluded.name, name), "
                        "created_ms = iif(created_ms = 0, excluded.active_ms, created_ms), "  # 0: recovered, time unknown
                        "active_ms = max(active_ms, excluded.active_ms), "
                        "bytes = excluded.bytes",
                        [(r.object_id, r.class_key, r.name, r.bytes, r.active_ms) for r in found],
                    )
            finally:
                connection.close()

    def delete(self, object_id: bytes) -> None:
        """Remove an object's rows, durably; their pages are overwritten. What it used stays with its class."""
        connection = self._open(group_of(object_id))
        try:
            connection.execute("pragma secure_delete=on").fetchall()
            with transaction(connection):
                connection.execute("delete from objects where id = ?", (object_id,))
                connection.execute(f"{_ADD_METERS_OF} {_ADDED}", (object_id,))
                connection.execute("delete from meters where id = ?", (object_id,))
        finally:
            connection.close()

    def has_history(self) -> bool:
        """Whether anything of the past is kept of any group, of whatever shard."""
        folder = f"{self._data}/history"
        return os.path.isdir(folder) and bool(os.listdir(folder))

    def floor(self, group: int) -> int:
        """The newest generation of any object of the group that is gone; 0: none is."""
        if not os.path.exists(self._path(group)):
            return 0
        connection = self._open(group)
        try:
            found = connection.execute("select coalesce(max(generation), 0) from floors").fetchall()[0][0]
            return cast("int", found)
        finally:
            connection.close()

    def raise_floor(self, group: int, generation: int) -> None:
        """An object of that generation is about to go. Durable when this returns."""
        connection = self._open(group)
        try:
            with connection:
                if not connection.execute("select 1 from floors where generation >= ?", (generation,)).fetchall():
                    connection.execute("delete from floors")
                    connection.execute("insert into floors values(?)", (generation,))
        finally:
            connection.close()

    @property
    def groups(self) -> list[int]:
        """The groups of this shard."""
        return list(self._groups)

    def reader(self, group: int) -> apsw.Connection | None:
        """A connection of its own for reading a group's file, on any thread; None when there is no file yet."""
        if not os.path.exists(self._path(group)):
            return None
        connection = apsw.Connection(self._path(group), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.set_busy_timeout(5_000)
        return connection

    def read(self, group: int) -> Iterator[Row]:
        """The rows of one group."""
        if not os.path.exists(self._path(group)):
            return
        connection = self._open(group)
        try:
            for row in connection.execute("select id, class, name, bytes, active_ms from objects"):
                yield Row(bytes(row[0]), str(row[1]), row[2], int(row[3]), int(row[4]))
        finally:
            connection.close()

    def rebuild(self, classes: dict[str, str]) -> int:
        """Find the objects of the missing groups on disk; how many. `classes`: folder name → class key."""
        rows: list[Row] = []
        wanted = set(self.missing)
        for folder, class_key in classes.items():
            root = f"{self._data}/objects/{folder}"
            for path, _, names in os.walk(root):
                for name in names:
                    text = name.split(".")[0]
                    if len(text) != 64 or not name.endswith(".sqlite"):
                        continue
                    object_id = bytes.fromhex(text)
                    if group_of(object_id) in wanted:
                        status = os.stat(f"{path}/{name}")
                        rows.append(Row(object_id, class_key, None, status.st_size, int(status.st_mtime * 1000)))
        self.write(rows)
        for group in self.missing:  # also those without objects: the next start need not look again
            self._finish(group)
        self.missing = []
        return len(rows)

    # ------------------------------------------------------------------ meters

    def add_meters(self, group: int, rows: Iterable[MeterRow]) -> None:
        """Add counts to those of a group, all or none. Not synced: lost power may take the last ones. Raises apsw.Error."""
        connection = self._open(group)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.execute("pragma synchronous=normal")
            with transaction(connection):
                connection.executemany(
                    _ADD_METERS,
                    [
                        (row.day, row.class_key, row.object_id, *[getattr(row.meters, name) for name in METER_NAMES])
                        for row in rows
                    ],
                )
        finally:
            connection.close()

    def meters(self, group: int, first_day: int, last_day: int) -> Iterator[MeterRow]:
        """The meters of the group's objects from one UTC day to another, both included."""
        return self._meter_rows(
            group, f"select day, class, id, {_COLUMNS} from meters where day between ? and ?", (first_day, last_day)
        )

    def class_meters(self, group: int, first_day: int, last_day: int) -> Iterator[MeterRow]:
        """The same, summed over the objects of a class: `object_id` is empty."""
        return self._meter_rows(
            group,
            f"select day, class, x'', {_SUMS} from meters where day between ? and ? group by day, class",
            (first_day, last_day),
        )

    def _meter_rows(self, group: int, query: str, bindings: tuple[int, int]) -> Iterator[MeterRow]:
        if not os.path.exists(self._path(group)):
            return
        connection = self._open(group)
        try:
            for row in connection.execute(query, bindings):
                yield MeterRow(int(row[0]), str(row[1]), bytes(row[2]), Meters(*[int(count) for count in row[3:]]))
        finally:
            connection.close()

    def most_active(self, group: int, first_day: int, last_day: int, count_max: int) -> list[ObjectUse]:
        """The objects of the group that were active longest from one UTC day to another, longest first."""
        if not os.path.exists(self._path(group)):
            return []
        connection = self._open(group)
        query = (
            f"with used as (select class, id, {', '.join(f'sum({name}) as {name}' for name in METER_NAMES)} from meters "
            "where day between ? and ? group by class, id order by active_us desc, id limit ?) "
            f"select used.class, used.id, name, coalesce(bytes, 0), {', '.join(f'used.{name}' for name in METER_NAMES)} "
            "from used left join objects using (id) order by used.active_us desc, used.id"
        )
        try:
            return [
                ObjectUse(str(row[0]), bytes(row[1]), row[2], int(row[3]), Meters(*[int(count) for count in row[4:]]))
                for row in connection.execute(query, (first_day, last_day, count_max))
            ]
        finally:
            connection.close()

    def stored(self, group: int) -> list[StoredRow]:
        """Objects and bytes of the group by class."""
        if not os.path.exists(self._path(group)):
            return []
        connection = self._open(group)
        try:
            query = "select class, count(*), sum(bytes) from objects group by class"
            return [StoredRow(str(row[0]), int(row[1]), int(row[2])) for row in connection.execute(query)]
        finally:
            connection.close()

    def prune_meters(self, group: int, before_day: int) -> None:
        """Forget the meters of days before that one."""
        if not os.path.exists(self._path(group)):
            return
        connection = self._open(group)
        try:
            connection.execute("delete from meters where day < ?", (before_day,))
        finally:
            connection.close()
