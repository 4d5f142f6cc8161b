"""The key-value data of one object: a write-back cache over a hidden table (spec: storage-kv).

What always holds: a read sees every write made before it; values are copies both ways; writes of ended turns reach SQLite
together at the next capture; the running turn's own writes can be undone, key by key, without touching those of turns
that ended before it; what is dirty stays so until SQLite has committed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NoReturn, Protocol, cast

import apsw

from .database import Database
from .entries import ABSENT, Entry, Packed, check_text, data_of, decode, value_of
from .ranges import KeyRange
from .values import SCALARS, JsDict, unpack

_UPSERT = "insert into _cf_KV(key, value) values(?, ?) on conflict(key) do update set value = excluded.value"
_DELETE = "delete from _cf_KV where key = ?"
_SELECT = "select value from _cf_KV where key = ?"
_CLEAN_MAX = 1024
"""Keys that the cache holds before it forgets those that are in SQLite already."""
_CACHED_BYTES_MAX = 16 << 10
"""Larger values are read anew: with _CLEAN_MAX this bounds the cache."""
_PAGE_ROWS = (64, 512)
"""Rows that a lazy list reads at once, first and later."""
_PAGE_BYTES_MAX = 1 << 20

UNKNOWN: Final = object()


class KeyValueHost(Protocol):
    """What the cache asks of the storage around it."""

    def opened(self) -> Database:
        """The open database, made if there was none."""
        ...

    def reading(self) -> Database | None:
        """The open database; None when the object has no file."""
        ...

    def begin_exclusive(self) -> Database:
        """The open database inside the turn's own transaction, this cache flushed into it."""
        ...

    def may_write(self) -> None:
        """Raises QuotaExceeded while a quota refuses writes."""
        ...

    def wrote_kv(self, unconfirmed: bool = False) -> None:
        """The running turn changed a key."""
        ...

    def fail(self, error: apsw.Error) -> NoReturn:
        """Raise the typed error; a critical one breaks the object too."""
        ...


class KeyValues:
    """get, put, delete and list on one object; `dirty` is what SQLite does not know yet."""

    __slots__ = ("_host", "cache", "changed", "dirty", "through", "undo")

    def __init__(self, host: KeyValueHost) -> None:
        self._host = host
        self.cache: dict[str, Entry] = {}
        self.dirty: dict[str, Entry] = {}
        self.undo: dict[str, tuple[Entry, Entry]] = {}
        """Of the running turn: key → (cached, dirty) before it, UNKNOWN where there was nothing."""
        self.through: Database | None = None
        """Inside the turn's own transaction: writes go straight to SQLite."""
        self.changed = False
        """Something was written, or undone, since a lazy list read its last page."""

    # ------------------------------------------------------------------ reads
    def get(self, key: str) -> object:
        """The value, None when there is none."""
        entry = self.cache.get(key, UNKNOWN)
        if entry is UNKNOWN:
            entry = self._load(key)
        if type(entry) in SCALARS:
            return entry
        if entry is ABSENT:
            return None
        return unpack(cast("Packed", entry).data)

    def entry(self, key: str) -> Entry:
        """What the key has, ABSENT included."""
        entry = self.cache.get(key, UNKNOWN)
        return self._load(key) if entry is UNKNOWN else entry

    def _load(self, key: str) -> Entry:
        if not key.isascii():
            check_text(key, "get")
        database = self._host.reading()
        entry: Entry = ABSENT
        if database is not None:
            try:
                row = database.connection.execute(_SELECT, (key,)).fetchone()
            except apsw.Error as error:
                self._host.fail(error)
            if row is not None:
                data = cast("bytes", row[0])
                entry = decode(data)
                if len(data) > _CACHED_BYTES_MAX:
                    return entry
        self._forget_clean()
        self.cache[key] = entry
        return entry

    def exists(self, key: str) -> bool:
        """Whether the key has a value, null included."""
        return self.entry(key) is not ABSENT

    def get_many(self, keys: Iterable[str]) -> JsDict:
        """Existing keys only, in the order of their UTF-8 bytes."""
        found = JsDict()
        for key in sorted(set(keys)):
            entry = self.entry(key)
            if entry is not ABSENT:
                found[key] = value_of(entry)
        return found

    def scan(self, wanted: KeyRange) -> Iterator[tuple[str, bytes]]:
        """Keys of a range with their packed values, lazily: read in pages, and no statement stays open between them.

        What is written while it runs is seen if it lies ahead.
        """
        lower, upper, left = wanted.lower, wanted.upper, wanted.limit
        rows_max = _PAGE_ROWS[0]
        while left > 0:
            rows, more = self.page(KeyRange(lower, upper, wanted.reverse, min(left, rows_max)))
            self.changed = False
            given = 0
            for row in rows:
                yield row
                given += 1
                if self.changed:
                    break
            if not given or not (more or self.changed):
                return
            left -= given
            last = rows[given - 1][0]
            lower, upper = (lower, last) if wanted.reverse else (last + "\0", upper)
            # Who writes at each step has each page read for its first row only.
            rows_max = 1 if self.changed else min(rows_max * 8, _PAGE_ROWS[1])

    def page(self, wanted: KeyRange, bytes_max: int = _PAGE_BYTES_MAX) -> tuple[list[tuple[str, bytes]], bool]:
        """The first rows of a range, up to `bytes_max`; whether there may be more of them."""
        database = self._written()
        if database is None or wanted.empty:
            return [], False
        query = "select key, value from _cf_KV where key >= ?"
        bindings: list[str | int] = [wanted.lower]
        if wanted.upper is not None:
            query += " and key < ?"
            bindings.append(wanted.upper)
        query += f" order by key{' desc' if wanted.reverse else ''} limit ?"
        bindings.append(wanted.limit)
        rows: list[tuple[str, bytes]] = []
        used = 0
        try:
            cursor = database.connection.execute(query, bindings)
            for row in cursor:
                key, data = cast("tuple[str, bytes]", row)
                rows.append((key, data))
                used += len(data) + len(key)
                if used > bytes_max:
                    cursor.close(True)
                    return rows, True
        except apsw.Error as error:
            self._host.fail(error)
        return rows, len(rows) == wanted.limit

    def _written(self) -> Database | None:
        """The database with everything that is dirty written into it; None when there is nothing to read."""
        if not self.dirty:
            return self._host.reading()
        if self.undo:
            return self._host.begin_exclusive()
        database = self._host.opened()
        try:
            self.flush_ended(database)
        except apsw.Error as error:
            self._host.fail(error)
        return database

    # ------------------------------------------------------------------ writes
    def delete(self, key: str, unconfirmed: bool = False) -> bool:
        """Remove a key; whether it existed."""
        existed = self.exists(key)
        if existed:
            self.put(key, ABSENT, unconfirmed)
        return existed

    def put(self, key: str, entry: Entry, unconfirmed: bool = False) -> None:
        """Write an encoded value; ABSENT removes the key, which no quota refuses."""
        if entry is not ABSENT:
            self._host.may_write()
        if self.through is not None:
            try:
                size = _store(self.through, key, entry)
            except apsw.Error as error:
                self._host.fail(error)
            if size > _CACHED_BYTES_MAX:
                self.cache.pop(key, None)
            else:
                self.cache[key] = entry
        else:
            if key not in self.undo:
                self.undo[key] = (self.cache.get(key, UNKNOWN), self.dirty.get(key, UNKNOWN))
            self.dirty[key] = self.cache[key] = entry
        self.changed = True
        self._host.wrote_kv(unconfirmed)

    # ------------------------------------------------------------------ turns
    def turn_ended(self) -> None:
        """What the turn wrote stays."""
        if self.undo:
            self.undo = {}

    def undo_turn(self) -> None:
        """Put back what the running turn changed."""
        for key, (cached, dirty) in self.undo.items():
            _restore(self.cache, key, cached)
            _restore(self.dirty, key, dirty)
        self.undo = {}
        self.changed = True

    def flush_ended(self, database: Database) -> None:
        """Write what ended turns left into SQLite, as one transaction. The running turn's own writes stay dirty.

        Raises apsw.Error: then nothing was written and all of it is still dirty.
        """
        if not self.dirty:
            return
        undo = self.undo
        if undo:
            rows = {key: dirty for key, (_, dirty) in undo.items() if dirty is not UNKNOWN}
            rows.update((key, entry) for key, entry in self.dirty.items() if key not in undo)
        else:
            rows = self.dirty
        large = self._write(database, rows)
        if undo:
            self.dirty = {key: self.dirty[key] for key in undo}
            self.undo = {key: (cached, UNKNOWN) for key, (cached, _) in undo.items()}
        else:
            self.dirty = {}
        for key in large:
            if key not in undo:
                del self.cache[key]
        self._forget_clean()

    def _write(self, database: Database, rows: dict[str, Entry]) -> list[str]:
        """One transaction. Gives the keys whose values are too large for the cache."""
        connection = database.connection
        large: list[str] = []
        if len(rows) == 1:
            for key, entry in rows.items():
                if _store(database, key, entry) > _CACHED_BYTES_MAX:
                    large.append(key)
        elif rows:
            connection.execute("begin")
            try:
                for key, entry in rows.items():
                    if _store(database, key, entry) > _CACHED_BYTES_MAX:
                        large.append(key)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
        return large

    def flush_turn(self, database: Database) -> None:
        """Write the running turn's keys into its own transaction; from now on writes go through."""
        for key in self.undo:
            if key in self.dirty:
                _store(database, key, self.dirty[key])
        for key in self.undo:
            self.dirty.pop(key, None)
        self.undo = {}
        self.through = database

    def forget(self) -> None:
        """SQLite's content changed behind the cache (rollback, deleteAll): read it anew."""
        self.cache.clear()
        self.cache.update(self.dirty)

    def _forget_clean(self) -> None:
        if len(self.cache) - len(self.dirty) > _CLEAN_MAX:
            self.forget()


def _restore(into: dict[str, Entry], key: str, before: Entry) -> None:
    if before is UNKNOWN:
        into.pop(key, None)
    else:
        into[key] = before


def _store(database: Database, key: str, entry: Entry) -> int:
    """Write one key into SQLite; the bytes of its value."""
    if entry is ABSENT:
        database.connection.execute(_DELETE, (key,))
        return 0
    data = data_of(entry)
    database.connection.execute(_UPSERT, (key, data))
    return len(data)


def decode_row(row: tuple[str, bytes]) -> tuple[str, object]:
    """A key and a copy of its value."""
    return row[0], value_of(decode(row[1]))
