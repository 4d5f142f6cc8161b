"""The catalogue: which objects there are, one SQLite file for each group of 64 slots, owned and handed over with them.

It is a cache: written with the marks, before the log lets go of what it holds; rebuilt from the object files when missing.
Names come from commit records, so a rebuilt row has none until the object commits again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apsw

from ..engine.errors import VersionMismatch
from ..router.slots import group_of

FORMAT = 1
_SCHEMA = """
create table if not exists objects(
  id blob primary key, class text not null, name text, created_ms int not null, active_ms int not null, bytes int not null
) without rowid;
create index if not exists by_class on objects(class, name);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One object. `bytes` is the size of its main file, `active_ms` the time of its last commit."""

    object_id: bytes
    class_key: str
    name: str | None
    bytes: int
    active_ms: int


class Catalogue:
    """The files of the groups that this shard owns. Used from one thread at a time."""

    def __init__(self, data: str, groups: Iterable[int]) -> None:
        """Makes what is missing. Raises VersionMismatch for a newer format."""
        self._folder = f"{data}/catalogue"
        self._data = data
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._groups = list(groups)
        self.missing = [group for group in self._groups if not os.path.exists(self._path(group))]
        """Groups whose file was not there at the start: their rows are found by `rebuild`."""
        for group in self._groups:
            if group not in self.missing:
                self._check(group)

    def _path(self, group: int) -> str:
        return f"{self._folder}/{group:02x}.sqlite"

    def _check(self, group: int) -> None:
        connection = apsw.Connection(self._path(group))
        try:
            found = connection.pragma("user_version")
        finally:
            connection.close()
        if isinstance(found, int) and found > FORMAT:
            raise VersionMismatch(
                f"{self._path(group)} has format {found}, this perdure understands up to {FORMAT}",
                hint="upgrade perdure",
            )

    def _open(self, group: int) -> apsw.Connection:
        connection = apsw.Connection(self._path(group))
        connection.set_busy_timeout(5_000)
        connection.execute(
            f"pragma journal_mode=wal;pragma synchronous=full;{_SCHEMA}pragma user_version={FORMAT}"
        ).fetchall()
        return connection

    def write(self, rows: Iterable[Row]) -> None:
        """Insert or update rows, durably."""
        by_group: dict[int, list[Row]] = {}
        for row in rows:
            by_group.setdefault(group_of(row.object_id), []).append(row)
        for group, found in by_group.items():
            connection = self._open(group)
            try:
                with connection:
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
        for group in self.missing:  # also those without objects: the next start need not look again
            self._open(group).close()
        self.write(rows)
        self.missing = []
        return len(rows)
