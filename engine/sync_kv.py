"""`ctx.storage.kv`: the keys and values of `ctx.storage`, synchronously (spec: storage-kv, sync KV).

What always holds: a list is read in pages while it is stepped, so it needs the memory of a page and holds no statement
open; only the newest one can be stepped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .entries import check_key, encode
from .errors import InvalidArgument, StorageError
from .kv import decode_row
from .ranges import key_range, read_options
from .values import UNDEFINED, JsDict, JsList

if TYPE_CHECKING:
    from .object_storage import ObjectStorage

_NOT_GIVEN: Final = object()


class SyncKeyValues:
    """get, put, delete and list of a SQLite class."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self.newest: Listing | None = None
        """The only list that can be stepped."""

    def get(self, key: str) -> object:
        """The value of a key, None when there is none."""
        storage = self._storage
        storage.enter()
        if type(key) is not str:
            key = check_key(key, "get")
        storage.meters.rows_read += 1
        return storage.kv.get(key)

    def put(self, key: str, value: object = _NOT_GIVEN) -> None:
        """Store a value; undefined, which the asynchronous `put` refuses, is stored as None.

        Raises TypeError, InvalidArgument, DataCloneError, StorageError before anything is stored.
        """
        storage = self._storage
        storage.enter()
        if value is _NOT_GIVEN:
            raise InvalidArgument("Failed to execute 'put' on 'SyncKvStorage': parameter 2 is not of type 'Value'.")
        key = check_key(key, "put")
        storage.kv.put(key, encode(key, None if value is UNDEFINED else value, storage.limits))
        storage.meters.rows_written += 1

    def delete(self, key: str) -> bool:
        """Whether the key existed."""
        storage = self._storage
        storage.enter()
        existed = storage.kv.delete(check_key(key, "delete"))
        storage.meters.rows_written += existed
        return existed

    def list(self, options: object = None, **more: object) -> Listing:
        """Pairs of key and value in the order of their UTF-8 bytes, lazily; a new list invalidates the one before."""
        storage = self._storage
        storage.enter()
        rows = storage.kv.scan(key_range(read_options(options, more)))
        self.newest = listing = Listing(self, storage, rows)
        return listing


class Listing:
    """An iterator over pairs of key and value."""

    def __init__(self, owner: SyncKeyValues, storage: ObjectStorage, rows: Iterator[tuple[str, bytes]]) -> None:
        self._owner = owner
        self._storage = storage
        self._rows = rows

    def __iter__(self) -> Listing:
        return self

    def __next__(self) -> JsList:
        storage = self._storage
        storage.enter()
        if self._owner.newest is not self:
            raise StorageError(
                "kv.list() iterator was invalidated because a new call to kv.list() was started. Only one kv.list() "
                "iterator can exist at a time."
            )
        row = next(self._rows)
        storage.meters.rows_read += 1
        return JsList(decode_row(row))

    def next(self) -> JsDict:
        """`{"done": bool, "value": pair}`; no value after the last."""
        pair = next(self, None)
        return JsDict(done=True) if pair is None else JsDict(done=False, value=pair)


class NoSyncKeyValues:
    """`storage.kv` of a class with the key-value backend."""

    def __getattr__(self, name: str) -> object:
        raise StorageError(
            "ctx.storage.kv is only available for SQLite-backed Durable Objects, but this object's namespace is not "
            "declared to use SQLite. To change that, use `new_sqlite_classes` instead of `new_classes` in the "
            "`migrations` of the wrangler file."
        )
