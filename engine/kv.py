"""The key-value data of one object: a write-back cache over a hidden table (spec: storage-kv).

What always holds: a read sees every write made before it; values are copies both ways; writes of ended turns reach SQLite
together at the next capture; the running turn's own writes can be undone, key by key, without touching those of turns
that ended before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, cast

import msgpack

from .database import Database
from .errors import DataCloneError, InvalidArgument, StorageError
from .limits import Limits
from .values import SCALARS, JsDict, pack, unpack

_UPSERT = "insert into _cf_KV(key, value) values(?, ?) on conflict(key) do update set value = excluded.value"
_DELETE = "delete from _cf_KV where key = ?"
_SELECT = "select value from _cf_KV where key = ?"
_CLEAN_MAX = 1024
"""Keys that the cache holds before it forgets those that are in SQLite already."""


class _Absent:
    """No such key."""

    __slots__ = ()


class Packed:
    """A value that is not immutable: its packed copy, unpacked anew for every reader."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


ABSENT: Final = _Absent()
UNKNOWN: Final = object()
Entry = object
"""What a key has: ABSENT, a scalar, or Packed."""


class KeyValueHost(Protocol):
    """What the cache asks of the storage around it."""

    limits: Limits

    def reading(self) -> Database | None:
        """The open database; None when the object has no file."""
        ...

    def begin_exclusive(self) -> Database:
        """The open database inside the turn's own transaction, this cache flushed into it."""
        ...

    def may_write(self) -> None:
        """Raises QuotaExceeded while a quota refuses writes."""
        ...

    def wrote_kv(self) -> None:
        """The running turn changed a key."""
        ...


class KeyValues:
    """get, put, delete and list on one object; `dirty` is what SQLite does not know yet."""

    __slots__ = ("_host", "cache", "dirty", "through", "undo")

    def __init__(self, host: KeyValueHost) -> None:
        self._host = host
        self.cache: dict[str, Entry] = {}
        self.dirty: dict[str, Entry] = {}
        self.undo: dict[str, tuple[Entry, Entry]] = {}
        """Of the running turn: key → (cached, dirty) before it, UNKNOWN where there was nothing."""
        self.through: Database | None = None
        """Inside the turn's own transaction: writes go straight to SQLite."""

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

    def _load(self, key: str) -> Entry:
        database = self._host.reading()
        entry: Entry = ABSENT
        if database is not None:
            row = database.connection.execute(_SELECT, (key,)).fetchone()
            if row is not None:
                entry = decode(cast("bytes", row[0]))
        self._forget_clean()
        self.cache[key] = entry
        return entry

    def exists(self, key: str) -> bool:
        """Whether the key has a value, null included."""
        entry = self.cache.get(key, UNKNOWN)
        return (self._load(key) if entry is UNKNOWN else entry) is not ABSENT

    def get_many(self, keys: Iterable[str]) -> JsDict:
        """Existing keys only, in the order of their UTF-8 bytes."""
        wanted = sorted(set(keys), key=str.encode)
        return JsDict((key, self.get(key)) for key in wanted if self.exists(key))

    def list(self, query: str, bindings: tuple[object, ...]) -> Iterator[tuple[str, object]]:
        """Rows of a select of key and value. What is dirty is written first."""
        if self.dirty:
            database: Database | None = self._host.begin_exclusive()
        else:
            database = self._host.reading()
        if database is None:
            return iter(())
        rows = database.connection.execute(query, bindings)  # pyright: ignore[reportArgumentType]
        return ((cast("str", row[0]), value_of(decode(cast("bytes", row[1])))) for row in rows)

    # ------------------------------------------------------------------ writes
    def delete(self, key: str) -> bool:
        """Remove a key; whether it existed."""
        existed = self.exists(key)
        if existed:
            self.put(key, ABSENT)
        return existed

    def put(self, key: str, entry: Entry) -> None:
        """Write an encoded value; ABSENT removes the key, which no quota refuses."""
        if entry is not ABSENT:
            self._host.may_write()
        if self.through is not None:
            _store(self.through, key, entry)
        else:
            if key not in self.undo:
                self.undo[key] = (self.cache.get(key, UNKNOWN), self.dirty.get(key, UNKNOWN))
            self.dirty[key] = entry
        self.cache[key] = entry
        self._host.wrote_kv()

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

    def flush_ended(self, database: Database) -> None:
        """Write what ended turns left into SQLite, as one transaction. The running turn's own writes stay dirty."""
        if not self.dirty:
            return
        if self.undo:
            rows = {key: dirty for key, (_, dirty) in self.undo.items() if dirty is not UNKNOWN}
            rows.update((key, entry) for key, entry in self.dirty.items() if key not in self.undo)
            self.dirty = {key: self.dirty[key] for key in self.undo}
            self.undo = {key: (cached, UNKNOWN) for key, (cached, _) in self.undo.items()}
        else:
            rows, self.dirty = self.dirty, {}
        if len(rows) == 1:
            for key, entry in rows.items():
                _store(database, key, entry)
        elif rows:
            connection = database.connection
            connection.execute("begin")
            try:
                for key, entry in rows.items():
                    _store(database, key, entry)
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def flush_turn(self, database: Database) -> None:
        """Write the running turn's keys into its own transaction; from now on writes go through."""
        for key in self.undo:
            if key in self.dirty:
                _store(database, key, self.dirty.pop(key))
        self.undo = {}
        self.through = database

    def forget(self) -> None:
        """SQLite's content changed behind the cache (rollback, deleteAll): read it anew."""
        self.cache.clear()
        self.cache.update(self.dirty)

    def _forget_clean(self) -> None:
        if len(self.cache) - len(self.dirty) > _CLEAN_MAX:
            self.forget()
            for key, (cached, _) in self.undo.items():
                self.undo[key] = (UNKNOWN, self.undo[key][1]) if cached is not ABSENT else self.undo[key]


def _restore(into: dict[str, Entry], key: str, before: Entry) -> None:
    if before is UNKNOWN:
        into.pop(key, None)
    else:
        into[key] = before


def _store(database: Database, key: str, entry: Entry) -> None:
    if entry is ABSENT:
        database.connection.execute(_DELETE, (key,))
    else:
        data = entry.data if isinstance(entry, Packed) else cast("bytes", msgpack.packb(entry))
        database.connection.execute(_UPSERT, (key, data))


def encode(key: str, value: object, limits: Limits) -> Entry:
    """A value as the cache holds it. Raises TypeError, DataCloneError, StorageError when it cannot be stored."""
    kind = type(value)
    if type(value) is int and -(1 << 63) <= value < (1 << 64):
        return value
    if kind is bool or kind is float or value is None:
        return value
    if kind is str or kind is bytes:
        size = len(cast("bytes", value))
        if size * 4 + len(key) * 4 < limits.key_and_value_bytes_max:
            return value
    try:
        data = pack(value, bytes_max=1 << 62)
    except DataCloneError:
        raise
    if len(data) + len(key.encode()) > limits.key_and_value_bytes_max:
        raise StorageError("string or blob too big: SQLITE_TOOBIG")
    return Packed(data)


def decode(data: bytes) -> Entry:
    """The entry of stored bytes."""
    first = data[0] if data else 0xC1
    if first < 0x80 or first in (0xC0, 0xC2, 0xC3) or 0xA0 <= first < 0xC0 or 0xCA <= first <= 0xD3 or first >= 0xE0:
        return cast("object", msgpack.unpackb(data))
    return Packed(data)


def value_of(entry: Entry) -> object:
    """A copy for a reader."""
    return unpack(entry.data) if isinstance(entry, Packed) else entry


def check_key(key: object, operation: str) -> str:
    """Raises InvalidArgument for a key that is no text."""
    if not isinstance(key, str):
        raise InvalidArgument(
            f"Failed to execute '{operation}' on 'DurableObjectStorage': parameter 1 is not of type 'string', "
            f"got {type(key).__name__}"
        )
    return key


def list_query(options: dict[str, object]) -> tuple[str, tuple[object, ...]]:
    """The select for `list` options. Raises InvalidArgument with the spec's phrases."""
    start, after = options.get("start"), options.get("startAfter")
    if start is not None and after is not None:
        raise InvalidArgument("list() was called with both start and startAfter values. Only one can be specified.")
    limit = options.get("limit")
    if limit is not None and (not isinstance(limit, int | float) or limit <= 0):
        raise InvalidArgument("List limit must be positive.")
    clauses: list[str] = []
    bindings: list[object] = []
    prefix = options.get("prefix")
    # Texts are compared bytewise: SQLite's BINARY collation on UTF-8.
    for clause, value in (("key >= ?", start), ("key > ?", after), ("key < ?", options.get("end"))):
        if value is not None:
            clauses.append(clause)
            bindings.append(check_key(value, "list"))
    if prefix:
        text = check_key(prefix, "list")
        clauses.append("key >= ?")
        bindings.append(text)
        clauses.append("substr(key, 1, ?) = ?")
        bindings += [len(text), text]
    query = "select key, value from _cf_KV"
    if clauses:
        query += " where " + " and ".join(clauses)
    query += " order by key desc" if options.get("reverse") else " order by key"
    if limit is not None:
        query += " limit ?"
        bindings.append(int(limit))
    return query, tuple(bindings)
