"""The catalogue: which objects there are, one SQLite file for each group of 64 slots, owned and handed over with them.

It is a cache: written with the marks, before the log lets go of what it holds; rebuilt from the object files when missing.
Names come from commit records, so a rebuilt row has none until the object commits again. Beside the objects stand their meters,
a row an object and day: counts, which nothing can rebuild, and whose last seconds may be lost.

One number of a group is kept here too: the newest generation of any of its objects that is gone. A file that is made anew begins
above it, so that what history knows of an earlier one stays apart. It is durable before the object goes.

Alarms stand here by when they are due, as the marks know it: what the log says later holds, and the object's own rows above all.

What always holds: a file of format 0 was begun and not yet rebuilt; it counts as missing.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import threading
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import apsw

from ..engine.errors import VersionMismatch
from ..engine.ids import ClassKey
from ..engine.meters import METER_NAMES, Meters
from ..router.slots import group_of
from .alarm_rows import read_alarm
from .sqlite_transactions import transaction

FORMAT = 4
"""1: objects. 2: objects and meters. 3: and floors. 4: and alarms."""
_WITHOUT_ALARMS = 3
"""Files up to this format are rebuilt too: nobody has noted which alarms are set."""
_SCHEMA = f"""
create table if not exists objects(
  id blob primary key, class text not null, name text, created_ms int not null, active_ms int not null, bytes int not null,
  alarm_ms int
) without rowid;
create index if not exists by_class on objects(class, name);
create index if not exists by_alarm on objects(alarm_ms) where alarm_ms is not null;
create table if not exists meters(
  day int not null, class text not null, id blob not null, {", ".join(f"{name} int not null" for name in METER_NAMES)},
  primary key(day, class, id)
) without rowid;
create table if not exists floors(generation int not null);
"""
_REBUILD_ROWS = 10_000
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
    alarm_ms: int | None = None
    """When its alarm is due; 0: there is none; None: as it was."""


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An object whose alarm is set, and when it is due."""

    due_ms: int
    object_id: bytes
    class_key: str
    name: str | None


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
            if _WITHOUT_ALARMS <= found <= FORMAT:
                floor = connection.execute("select coalesce(max(generation), 0) from floors").fetchall()[0][0]
                self.floors[group] = cast("int", floor)
        finally:
            connection.close()
        if found > FORMAT:
            raise VersionMismatch(
                f"{self._path(group)} has format {found}, this perdure understands up to {FORMAT}",
                hint="upgrade perdure",
            )
        if found <= _WITHOUT_ALARMS:
            self._add_alarms(group)
        return found > _WITHOUT_ALARMS

    def _add_alarms(self, group: int) -> None:
        """To a file of an older format; `rebuild` says which are set."""
        connection = apsw.Connection(self._path(group))
        try:
            columns = {row[0] for row in connection.execute("select name from pragma_table_info('objects')")}
            if columns and "alarm_ms" not in columns:
                connection.execute("alter table objects add column alarm_ms int")
        finally:
            connection.close()
        self._open(group).close()

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

    def write(self, rows: Iterable[Row], *, newer_known: bool = False) -> None:
        """Insert or update rows, durably. `newer_known`: an alarm that is here already is newer than theirs."""
        alarm = "coalesce(alarm_ms, ?6)" if newer_known else "iif(?6 is null, alarm_ms, nullif(?6, 0))"
        by_group: dict[int, list[Row]] = {}
        for row in rows:
            by_group.setdefault(group_of(row.object_id), []).append(row)
        for group, found in by_group.items():
            connection = self._open(group)
            try:
                with transaction(connection):
                    connection.executemany(
                        "insert into objects values(?1, ?2, ?3, ?5, ?5, ?4, nullif(?6, 0)) on conflict(id) do update set "
                        "name = coalesce(excluded.name, name), "
                        "created_ms = iif(created_ms = 0, excluded.active_ms, created_ms), "  # 0: recovered, time unknown
                        "active_ms = max(active_ms, excluded.active_ms), "
                        "bytes = excluded.bytes, "
                        f"alarm_ms = {alarm}",
                        [(r.object_id, r.class_key, r.name, r.bytes, r.active_ms, r.alarm_ms) for r in found],
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
        if not connection.execute(
            "select 1 from sqlite_master where name = 'floors'"
        ).fetchall():  # the last of its tables
            connection.close()  # another thread is making it, at a first start for one: it holds nothing yet
            return None
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
        """Find the objects of the missing groups on disk, and their alarms; how many. `classes`: folder name → class key."""
        count = 0
        found = self._on_disk(classes)
        while rows := list(itertools.islice(found, _REBUILD_ROWS)):
            self.write(rows, newer_known=True)
            count += len(rows)
        for group in self.missing:  # also those without objects: the next start need not look again
            self._finish(group)
        self.missing = []
        return count

    def _on_disk(self, classes: dict[str, str]) -> Iterator[Row]:
        wanted = set(self.missing)
        for folder, class_key in classes.items():
            for path, _, names in os.walk(f"{self._data}/objects/{folder}"):
                for file in names:
                    text = file.split(".")[0]
                    if len(text) != 64 or not file.endswith(".sqlite"):
                        continue
                    object_id = bytes.fromhex(text)
                    if group_of(object_id) not in wanted:
                        continue
                    with contextlib.suppress(FileNotFoundError):  # deleted since
                        status = os.stat(f"{path}/{file}")
                        due_ms, name = read_alarm(f"{path}/{file}")
                        if name is not None and ClassKey(class_key).id_from_name(name) != object_id:
                            name = None  # the data of another object
                        yield Row(object_id, class_key, name, status.st_size, int(status.st_mtime * 1000), due_ms)

    def due(self, until_ms: int, classes: Container[str], known: Container[bytes], limit: int) -> list[AlarmRow]:
        """The first `limit` alarms of these classes that are due up to then, the soonest first, but those of `known` objects."""
        with contextlib.ExitStack() as stack:
            groups: list[Iterator[AlarmRow]] = []
            there = frozenset(os.listdir(self._folder))
            for group in self._groups:
                connection = self.reader(group) if f"{group:02x}.sqlite" in there else None
                if connection is not None:
                    stack.callback(connection.close)
                    groups.append(_due_rows(connection, until_ms, classes, known))
            merged = heapq.merge(*groups, key=lambda row: (row.due_ms, row.object_id))
            return list(itertools.islice(merged, limit))

    def set_alarms(self, due: Mapping[bytes, int]) -> None:
        """Object → when its alarm is due, 0 for never: of objects that are here."""
        by_group: dict[int, list[tuple[int, bytes]]] = {}
        for object_id, due_ms in due.items():
            by_group.setdefault(group_of(object_id), []).append((due_ms, object_id))
        for group, found in by_group.items():
            connection = self._open(group)
            try:
                with transaction(connection):
                    connection.executemany("update objects set alarm_ms = nullif(?, 0) where id = ?", found)
            finally:
                connection.close()

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


def _due_rows(
    connection: apsw.Connection, until_ms: int, classes: Container[str], known: Container[bytes]
) -> Iterator[AlarmRow]:
    query = "select alarm_ms, id, class, name from objects where alarm_ms <= ? order by alarm_ms, id"
    for due_ms, object_id, class_key, name in connection.execute(query, (until_ms,)):
        if class_key in classes and object_id not in known:
            yield AlarmRow(int(due_ms), bytes(object_id), str(class_key), name)
