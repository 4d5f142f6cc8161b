"""Idempotency keys: an object remembers what it answered to a call with a key, in a hidden table of its own database.

What always holds: the answer is written in the commit of the call's last turn, so a call whose writes are made in that turn
has its effects exactly once, whatever dies when; an answer is never given for another call than it was kept for; an error
that a repeat may cure is not kept, nor what an answer holds by reference, which lives no longer than who has it. What earlier
turns of the same call wrote is there at least once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import apsw
import msgpack

from .calls import Call
from .clock import Clock
from .database import Database
from .errors import CallCycle, InvalidArgument, Overloaded, PerdureError, ValueTooLarge, from_wire
from .limits import Limits

if TYPE_CHECKING:
    from .exports import Parcel
    from .turns import Event

_CREATE = "create table if not exists _cf_ANSWERS(key TEXT PRIMARY KEY, expires INTEGER, call BLOB, answer BLOB) WITHOUT ROWID"
_EXISTS = "select 1 from sqlite_schema where name = '_cf_ANSWERS'"
_SELECT = "select expires, call, answer from _cf_ANSWERS where key = ?"
_INSERT = "insert or replace into _cf_ANSWERS values(?, ?, ?, ?)"
_EXPIRE = "delete from _cf_ANSWERS where expires <= ?"
_USE = "select count(*), coalesce(sum(length(answer)), 0) from _cf_ANSWERS"
_SWEEP_EVERY = 256
"""Answers kept between two looks for expired ones."""
RESULT, ERROR, TOO_LARGE, BY_REFERENCE = range(4)


class AnswersHost(Protocol):
    """What the answers ask of the storage around them."""

    @property
    def failure(self) -> PerdureError | None: ...
    def reading(self) -> Database | None: ...
    def begin_exclusive(self) -> Database: ...
    def wrote_kv(self, unconfirmed: bool = False) -> None: ...
    def fail(self, error: apsw.Error) -> NoReturn: ...
    def critical(self, error: PerdureError) -> None: ...


class Answers:
    """The answers that one object keeps, and the calls with keys that run now."""

    __slots__ = ("_bytes", "_clock", "_count", "_host", "_limits", "_running", "_until_sweep")

    def __init__(self, host: AnswersHost, limits: Limits, clock: Clock) -> None:
        self._host = host
        self._limits = limits
        self._clock = clock
        self._running: dict[str, tuple[Call, asyncio.Future[None]]] = {}
        self._count = -1
        """Answers in the table, and their bytes; -1: not counted yet."""
        self._bytes = 0
        self._until_sweep = _SWEEP_EVERY

    async def once(
        self,
        call: Call,
        perform: Callable[[], Awaitable[bytes | Parcel]],
        typed: Callable[[BaseException], PerdureError],
    ) -> bytes | Parcel:
        """The answer kept for the call's key, or what `perform()` gives, which is then kept. In a turn of the object.

        Raises the error kept; InvalidArgument when the key belongs to another call; Overloaded when no more can be kept;
        CallCycle for a repeat that the first one waits for.
        """
        key = cast("str", call.key)
        digest = _digest(call)
        while (running := self._running.get(key)) is not None:
            _check_leads_elsewhere(running[0], call)
            await asyncio.shield(running[1])
        found = self._find(key)
        if found is not None:
            return _given(key, digest, *found)
        self._make_room()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[key] = (call, ended)
        try:
            try:
                result = await perform()
            except Exception as error:
                self._keep_error(key, digest, typed(error))
                raise
            if isinstance(result, bytes):
                self._keep(key, digest, RESULT, result)
                return result
            try:
                self._keep(key, digest, BY_REFERENCE, b"")
            except PerdureError:
                result.withdraw()
                raise
            return result
        finally:
            del self._running[key]
            ended.set_result(None)

    def wiped(self) -> None:
        """deleteAll() has removed all answers."""
        self._count = -1

    # ------------------------------------------------------------------ the table
    def _find(self, key: str) -> tuple[bytes, bytes] | None:
        """(which call, the answer)"""
        database = self._host.reading()
        if database is None or not self._counted(database):
            return None
        try:
            row = database.connection.execute(_SELECT, (key,)).fetchone()
        except apsw.Error as error:
            self._host.fail(error)
        if row is None or cast("int", row[0]) <= self._clock.now_ms():
            return None
        return cast("bytes", row[1]), cast("bytes", row[2])

    def _counted(self, database: Database) -> bool:
        """Whether there is a table; counts what is in it, once."""
        if self._count < 0:
            try:
                if database.connection.execute(_EXISTS).fetchone() is None:
                    return False
                count, size = cast("tuple[int, int]", database.connection.execute(_USE).fetchone())
            except apsw.Error as error:
                self._host.fail(error)
            self._count, self._bytes = count, size
        return True

    def _make_room(self) -> None:
        """Raises Overloaded when the bounds are reached by answers that must be kept."""
        database = self._host.reading()
        if database is None or not self._counted(database):
            return
        if self._until_sweep <= 0 or self._full():
            self._until_sweep = _SWEEP_EVERY
            database = self._host.begin_exclusive()
            try:
                database.connection.execute(_EXPIRE, (self._clock.now_ms(),))
            except apsw.Error as error:
                self._host.fail(error)
            self._host.wrote_kv(unconfirmed=True)
            self._count = -1
            self._counted(database)
        if self._full():
            raise Overloaded(
                f"Durable Object is overloaded. Too many idempotency keys: {self._count}.",
                hint="raise idempotency_keys_max or idempotency_bytes_max, shorten idempotency_window_ms, or shard the object",
            )

    def _full(self) -> bool:
        return self._count >= self._limits.idempotency_keys_max or self._bytes >= self._limits.idempotency_bytes_max

    def _keep_error(self, key: str, digest: bytes, error: PerdureError) -> None:
        if not (error.retryable or error.overloaded or error.durableObjectReset):
            self._keep(key, digest, ERROR, cast("bytes", msgpack.packb(error.to_wire())))

    def _keep(self, key: str, digest: bytes, kind: int, answer: bytes) -> None:
        if (
            self._host.failure is not None
        ):  # taken away: what cannot be kept is not told, a repeat would get something else
            raise self._host.failure
        try:
            self._write(key, digest, kind, answer)
        except PerdureError as error:  # what the call wrote must not be committed without its answer
            self._host.critical(error)
            raise

    def _write(self, key: str, digest: bytes, kind: int, answer: bytes) -> None:
        if len(answer) > self._limits.idempotency_answer_bytes_max:
            kind, answer = TOO_LARGE, len(answer).to_bytes(8, "big")
        database = self._host.begin_exclusive()
        expires = self._clock.now_ms() + self._limits.idempotency_window_ms
        try:
            if self._count < 0:
                database.connection.execute(_CREATE)
                self._counted(database)
            database.connection.execute(_INSERT, (key, expires, digest, bytes([kind]) + answer))
        except apsw.Error as error:
            self._host.fail(error)
        self._count += 1
        self._bytes += len(answer) + 1
        self._until_sweep -= 1
        self._host.wrote_kv()


def _check_leads_elsewhere(first: Call, repeat: Call) -> None:
    number = cast("Event", first.handle).number
    if (first.object_id, number) in repeat.chain:
        raise CallCycle(
            f"The call with the idempotency key {repeat.key!r} waits for itself: what it calls has made it again",
            hint="a call that is made from another one needs a key of its own, made from that one's",
        )


def _digest(call: Call) -> bytes:
    payload = call.payload if call.received is None else call.received.comparable(call.payload)
    return hashlib.blake2b(payload, digest_size=16).digest() + call.method.encode()


def _given(key: str, digest: bytes, kept_for: bytes, answer: bytes) -> bytes:
    if kept_for != digest:
        raise InvalidArgument(
            f"the idempotency key {key!r} was used for another call of this object",
            hint="a key is for one call with its arguments: make a new one",
        )
    kind, packed = answer[0], answer[1:]
    if kind == ERROR:
        raise from_wire(cast("dict[str, object]", msgpack.unpackb(packed)))
    if kind == TOO_LARGE:
        size = int.from_bytes(packed, "big")
        raise ValueTooLarge(
            f"the call with the idempotency key {key!r} has run; its answer of {size} bytes was not kept",
            hint="raise idempotency_answer_bytes_max, or read the result with another call",
        )
    if kind == BY_REFERENCE:
        raise InvalidArgument(
            f"the call with the idempotency key {key!r} has run; its answer held functions, targets or streams, "
            "which are not kept",
            name="Error",
            hint="let the call with the key do the work, and get what travels by reference with another one",
        )
    return packed
