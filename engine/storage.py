"""`ctx.storage` as programs see it: keys and values, SQL, transactions (spec: storage-kv, transactions and gates).

What always holds: a call takes effect when it is made, awaited or not, and awaiting it never lets another event in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from .errors import InvalidArgument, StorageError
from .kv import check_key, encode, list_query
from .past import Past
from .values import JsDict

if TYPE_CHECKING:
    from .object_storage import ObjectStorage
    from .sql import Sql

T = TypeVar("T")
_OPTIONS = frozenset({"allowConcurrency", "allowUnconfirmed", "noCache"})


class Done(Generic[T]):
    """An operation that has finished: awaiting it never lets another event in."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, T]:
        return self._value
        yield  # makes this a generator


_NOTHING: Done[None] = Done(None)


def _options(given: object, more: dict[str, object]) -> dict[str, object]:
    return {**cast("dict[str, object]", given), **more} if isinstance(given, dict) else more


class SyncKeyValues:
    """`ctx.storage.kv`: the same data, synchronously."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._listing = 0

    def get(self, key: str) -> object:
        self._storage.enter()
        return self._storage.kv.get(check_key(key, "get"))

    def put(self, key: str, value: object) -> None:
        storage = self._storage
        storage.enter()
        storage.kv.put(check_key(key, "put"), encode(key, value, storage.limits))

    def delete(self, key: str) -> bool:
        self._storage.enter()
        return self._storage.kv.delete(check_key(key, "delete"))

    def list(self, options: object = None, **more: object) -> Iterator[list[object]]:
        """Pairs of key and value, lazily; a new list invalidates the one before."""
        self._storage.enter()
        query, bindings = list_query(_options(options, more))
        self._listing += 1
        return self._walk(self._listing, self._storage.kv.list(query, bindings))

    def _walk(self, number: int, rows: Iterator[tuple[str, object]]) -> Iterator[list[object]]:
        for key, value in rows:
            if number != self._listing:
                raise StorageError(
                    "kv.list() iterator was invalidated because a new one was made: only one can exist at a time"
                )
            yield [key, value]


class NoSql:
    """`storage.sql` of a class that was created with the key-value backend."""

    def __getattr__(self, name: str) -> object:
        raise StorageError(
            "SQL is not enabled for this Durable Object class. To enable it, change `new_classes` to `new_sqlite_classes` "
            "in the `migrations` of the wrangler file."
        )


class DurableObjectStorage(Past):
    """What programs see as `ctx.storage`. Asynchronous calls take effect when made, awaited or not."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self.sql: Sql = storage.sql if storage.has_sql else cast("Sql", NoSql())
        self.kv = SyncKeyValues(storage)

    def get(self, key: str | list[str], options: object = None, **more: object) -> Done[object]:
        """The value of a key, None when there is none; for a list of keys a dict of those that exist."""
        storage = self._storage
        host = storage.host
        if host.turns.running is not host or storage.failure is not None or get_ident() != host.turns.thread:
            storage.enter()
        if type(key) is str:
            return Done(storage.kv.get(key))
        if isinstance(key, list | tuple):
            return Done(storage.kv.get_many(check_key(each, "get") for each in key))
        return Done(storage.kv.get(check_key(key, "get")))

    def put(self, key: str | dict[str, object], *args: object, **more: object) -> Done[None]:
        """Store a value under a key, or all entries of a dict at once."""
        storage = self._storage
        host = storage.host
        if host.turns.running is not host or storage.failure is not None or get_ident() != host.turns.thread:
            storage.enter()
        if type(key) is str and args:
            entry = encode(key, args[0], storage.limits)
            if (more or len(args) > 1) and _options(args[1] if len(args) > 1 else None, more).get("allowUnconfirmed"):
                storage._unconfirmed = True
                storage.kv.put(key, entry)
                storage._unconfirmed = False
            else:
                storage.kv.put(key, entry)
            return _NOTHING
        self._put_many(key, args, more)
        return _NOTHING

    def _put_many(self, entries: object, args: tuple[object, ...], more: dict[str, object]) -> None:
        storage = self._storage
        if isinstance(entries, str):
            raise InvalidArgument("put() called with undefined value.")
        if not isinstance(entries, dict) or (args and not isinstance(args[0], dict)):
            raise InvalidArgument(
                "put() may only be called with a single key-value pair and optional options as put(key, value, options) "
                "or with multiple key-value pairs and optional options as put(entries, options)"
            )
        encoded = {
            check_key(key, "put"): encode(str(key), value, storage.limits)
            for key, value in cast("dict[object, object]", entries).items()
        }
        storage._unconfirmed = bool(_options(args[0] if args else None, more).get("allowUnconfirmed"))
        for key, entry in encoded.items():
            storage.kv.put(key, entry)
        storage._unconfirmed = False

    def delete(self, key: str | list[str], options: object = None, **more: object) -> Done[bool | int]:
        """Whether the key existed; for a list of keys the number removed."""
        storage = self._storage
        storage.enter()
        storage._unconfirmed = bool(_options(options, more).get("allowUnconfirmed"))
        try:
            if isinstance(key, list | tuple):
                return Done(sum(storage.kv.delete(check_key(each, "delete")) for each in dict.fromkeys(key)))
            return Done(storage.kv.delete(check_key(key, "delete")))
        finally:
            storage._unconfirmed = False

    def list(self, options: object = None, **more: object) -> Done[JsDict]:
        """The keys in range, in the order of their UTF-8 bytes."""
        storage = self._storage
        storage.enter()
        query, bindings = list_query(_options(options, more))
        return Done(JsDict(storage.kv.list(query, bindings)))

    def deleteAll(self, options: object = None, **more: object) -> Done[None]:
        """Remove all keys and all tables."""
        storage = self._storage
        storage.enter()
        if storage.depth:
            raise StorageError("Cannot call deleteAll() within a transaction")
        storage.wipe(preserve_alarm=False)
        return _NOTHING

    def sync(self) -> Awaitable[None]:
        """Done when all writes issued so far are durable."""
        self._storage.enter()
        return self._storage.host.durable()

    def transaction(self, body: Callable[[Transaction], Awaitable[T]], options: object = None) -> Awaitable[T]:
        """Run `body(txn)` as a critical section; what it wrote is kept whole or, if it raises, not at all."""
        storage = self._storage
        storage.enter()

        async def run() -> T:
            name = storage.begin_transaction()
            transaction = Transaction(storage)
            committed = False
            try:
                result = body(transaction)
                value = cast("T", await result if hasattr(result, "__await__") else result)
                committed = not transaction.rolled_back
                return value
            finally:
                transaction.ended = True
                storage.end_transaction(name, committed)

        return storage.host.section(run, "transaction")

    def transactionSync(self, body: Callable[[], T]) -> T:
        """Run `body()`; what it wrote is undone if it raises."""
        if not self._storage.has_sql:
            raise StorageError("Durable Object is not backed by SQL")
        storage = self._storage
        storage.enter()
        name = storage.savepoint()
        try:
            value = body()
        except BaseException:
            storage.rollback_savepoint(name)
            raise
        if storage.failure is not None:
            raise storage.failure
        storage.release_savepoint(name)
        storage.wrote_sql()
        return value


class Transaction:
    """`txn` inside `transaction()`: the same operations, and `rollback`."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self.rolled_back = False
        self.ended = False

    def _check(self, operation: str) -> DurableObjectStorage:
        if self.rolled_back:
            raise StorageError(f"Cannot {operation}() on rolled back transaction")
        if self.ended:
            raise StorageError(
                f"Cannot call {operation}() on transaction that has already committed: did you move `txn` outside of "
                f"the closure?"
            )
        return self._storage.api

    def get(self, key: str | list[str], options: object = None, **more: object) -> Done[object]:
        return self._check("get").get(key, options, **more)

    def put(self, key: str | dict[str, object], *args: object, **more: object) -> Done[None]:
        return self._check("put").put(key, *args, **more)

    def delete(self, key: str | list[str], options: object = None, **more: object) -> Done[bool | int]:
        return self._check("delete").delete(key, options, **more)

    def list(self, options: object = None, **more: object) -> Done[JsDict]:
        return self._check("list").list(options, **more)

    def deleteAll(self, options: object = None) -> Done[None]:
        raise StorageError("Cannot call deleteAll() within a transaction")

    def rollback(self) -> None:
        """Undo what the transaction wrote, when it ends. May be called again."""
        if self.ended:
            self._check("rollback")
        self.rolled_back = True
