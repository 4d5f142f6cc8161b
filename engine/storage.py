"""`ctx.storage` as programs see it: keys and values, SQL, transactions (spec: storage-kv, transactions and gates).

What always holds: a call takes effect when it is made, awaited or not, and awaiting it never lets another event in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from .alarms import alarm_time
from .entries import Entry, check_key, check_legacy, check_legacy_key, encode
from .errors import InvalidArgument, StorageError
from .kv import decode_row
from .past import Past
from .ranges import key_range, read_options
from .sync_kv import NoSyncKeyValues, SyncKeyValues
from .thenable import Thenable
from .transactions import Transaction, run_sync, run_transaction
from .values import UNDEFINED, JsDict, key_text

if TYPE_CHECKING:
    from .object_storage import ObjectStorage
    from .sql import Sql

T = TypeVar("T")


class Done(Thenable, Generic[T]):
    """An operation that has finished: awaiting it never lets another event in."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, T]:
        return self._value
        yield  # makes this a generator


_NOTHING: Done[None] = Done(None)


class NoSql:
    """`storage.sql` of a class that was created with the key-value backend."""

    def __getattr__(self, name: str) -> object:
        raise StorageError(
            "SQL is not enabled for this Durable Object class. To enable it, change `new_classes` to `new_sqlite_classes` "
            "in the `migrations` of the wrangler file."
        )


class DurableObjectStorage(Past):
    """What programs see as `ctx.storage`. Asynchronous calls take effect when made, awaited or not.

    `allowConcurrency` and `noCache` are accepted and change nothing; a write with `allowUnconfirmed` holds nothing back.
    """

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self.sql: Sql = storage.sql if storage.has_sql else cast("Sql", NoSql())
        self.kv = SyncKeyValues(storage) if storage.has_sql else cast("SyncKeyValues", NoSyncKeyValues())

    # ------------------------------------------------------------------ keys and values
    def get(self, key: str | list[str], options: object = None, **more: object) -> Done[object]:
        """The value of a key, None when there is none; for a list of keys a dict of those that exist."""
        storage = self._storage
        host = storage.host
        if host.turns.running is not host or storage.failure is not None or get_ident() != host.turns.thread:
            storage.enter()
        if type(key) is str and storage.has_sql:
            storage.meters.rows_read += 1
            return Done(storage.kv.get(key))
        if isinstance(key, list | tuple):
            return Done(self._get_many([check_key(each, "get") for each in key]))
        checked = check_key(key, "get")
        if not storage.has_sql:
            check_legacy_key(checked, storage.limits)
        storage.tally.read(checked, storage.kv.entry(checked))
        return Done(storage.kv.get(checked))

    def _get_many(self, keys: list[str]) -> JsDict:
        storage = self._storage
        for key in dict.fromkeys(keys):
            if not storage.has_sql:
                check_legacy_key(key, storage.limits)
            storage.tally.read(key, storage.kv.entry(key))
        return storage.kv.get_many(keys)

    def put(self, key: str | dict[str, object], *args: object, **more: object) -> Done[None]:
        """Store a value under a key, or all entries of a dict at once.

        Raises TypeError, InvalidArgument, OutOfRange, DataCloneError, StorageError before anything is stored.
        """
        storage = self._storage
        host = storage.host
        if host.turns.running is not host or storage.failure is not None or get_ident() != host.turns.thread:
            storage.enter()
        if isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            if not args:
                raise InvalidArgument("put() called with undefined value.")
            entry = encode(key, args[0], storage.limits)
            unconfirmed = False
            if more or len(args) > 1:
                unconfirmed = bool(read_options(args[1] if len(args) > 1 else None, more).get("allowUnconfirmed"))
            if storage.has_sql:
                storage.meters.rows_written += 1
            else:
                check_legacy(key, entry, storage.limits)
                storage.tally.wrote(key, entry)
            storage.kv.put(key, entry, unconfirmed)
        elif isinstance(key, int | float):
            return self.put(key_text(key), *args, **more)
        else:
            self._put_many(key, args, more)
        return _NOTHING

    def _put_many(self, entries: object, args: tuple[object, ...], more: dict[str, object]) -> None:
        if not isinstance(entries, dict) or isinstance(args[0] if args else None, str | bytes | int | float | list):
            raise InvalidArgument(
                "put() may only be called with a single key-value pair and optional options as put(key, value, options) "
                "or with multiple key-value pairs and optional options as put(entries, options)"
            )
        storage = self._storage
        encoded: dict[str, Entry] = {}
        for given, value in cast("dict[object, object]", entries).items():
            if value is not UNDEFINED:
                key = check_key(key_text(given), "put")
                entry = encoded[key] = encode(key, value, storage.limits)
                if not storage.has_sql:
                    check_legacy(key, entry, storage.limits)
        unconfirmed = bool(read_options(args[0] if args else None, more).get("allowUnconfirmed"))
        for key, entry in encoded.items():
            storage.tally.wrote(key, entry)
            storage.kv.put(key, entry, unconfirmed)

    def delete(self, key: str | list[str], options: object = None, **more: object) -> Done[bool | int]:
        """Whether the key existed; for a list of keys the number removed."""
        storage = self._storage
        storage.enter()
        unconfirmed = bool(read_options(options, more).get("allowUnconfirmed"))
        many = isinstance(key, list | tuple)
        keys = [check_key(each, "delete") for each in dict.fromkeys(key if many else [key])]
        if not storage.has_sql:
            for each in keys:
                check_legacy_key(each, storage.limits)
        removed = sum(storage.kv.delete(each, unconfirmed) for each in keys)
        storage.tally.deleted(len(keys), removed)
        return Done(removed if many else bool(removed))

    def list(self, options: object = None, **more: object) -> Done[JsDict]:
        """The keys in range with their values, in the order of their UTF-8 bytes."""
        storage = self._storage
        storage.enter()
        rows, _ = storage.kv.page(key_range(read_options(options, more)), 1 << 62)
        storage.tally.listed(len(rows), sum(len(key.encode()) + len(data) for key, data in rows))
        return Done(JsDict(map(decode_row, rows)))

    def deleteAll(self, options: object = None, **more: object) -> Done[None]:
        """Remove all keys and all tables, and by `delete_all_deletes_alarm` the alarm."""
        storage = self._storage
        storage.enter()
        if storage.depth or storage.savepoints.nested:
            raise StorageError("Cannot call deleteAll() within a transaction")
        storage.wipe()
        return _NOTHING

    # ------------------------------------------------------------------ alarm
    def getAlarm(self, options: object = None, **more: object) -> Done[int | None]:
        """The time of the alarm in milliseconds since the epoch, None when there is none."""
        storage = self._storage
        storage.enter()
        return Done(storage.alarm.get())

    def setAlarm(self, when: object, options: object = None, **more: object) -> Done[None]:
        """Arm the object's alarm, instead of the one it had. `when`: milliseconds, a datetime (naive: local) or a date.

        Raises InvalidArgument: a time that is none or <= 0, a class without an alarm handler.
        """
        storage = self._storage
        storage.enter()
        ms = alarm_time(when, storage.host.clock.now_ms())
        if not storage.host.has_alarm_handler():
            raise InvalidArgument(
                "Your Durable Object class must have an alarm() handler in order to call setAlarm()",
                hint="declare `async def alarm(self, alarm_info=None)` in the class",
            )
        self._set_alarm(ms, read_options(options, more))
        return _NOTHING

    def deleteAlarm(self, options: object = None, **more: object) -> Done[None]:
        """Disarm the object's alarm."""
        self._storage.enter()
        self._set_alarm(None, read_options(options, more))
        return _NOTHING

    def _set_alarm(self, ms: int | None, options: dict[str, object]) -> None:
        storage = self._storage
        if storage.alarm.set(ms, storage.host.name):
            storage.tally.armed()
            storage.wrote_kv(bool(options.get("allowUnconfirmed")))

    # ------------------------------------------------------------------ transactions
    def sync(self) -> Awaitable[None]:
        """Done when all writes issued so far, confirmed or not, are durable."""
        self._storage.enter()
        return self._storage.host.durable()

    def transaction(self, body: Callable[[Transaction], Awaitable[T]], options: object = None) -> Awaitable[T]:
        """Run `body(txn)` as a critical section; what it wrote is kept whole or, if it raises, not at all."""
        storage = self._storage
        storage.enter()
        return storage.host.section(lambda: run_transaction(storage, body), "transaction")

    def transactionSync(self, body: Callable[[], T]) -> T:
        """Run `body()`; what it wrote is undone if it raises."""
        storage = self._storage
        if not storage.has_sql:
            raise StorageError("Durable Object is not backed by SQL")
        storage.host.enter_storage()
        return run_sync(storage, body)

    delete_all = deleteAll
    get_alarm = getAlarm
    set_alarm = setAlarm
    delete_alarm = deleteAlarm
    transaction_sync = transactionSync
