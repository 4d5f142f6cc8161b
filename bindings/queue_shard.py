"""A storage shard of a queue: an object that keeps messages and hands them to the consumer (system class `queue`).

What always holds: a message is in the table from before its sender is answered until a consumer's handler has ended well with
it, or the dead letter queue has it on disk; that it is being delivered, and how often it was, is on disk before the handler
begins; while there is a message there is an alarm. So whatever dies, every message is delivered again.

Storage shards know nothing of each other. The first one (number 0) also decides how many a queue has: its answers tell senders.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Coroutine, Iterable
from typing import Any, cast

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from ..engine.errors import PerdureError
from ..engine.shutting_down import ShutdownInfo
from ..sdk.batches import Message, MessageBatch
from .arguments import Repeat
from .queue_rules import Consumer, decode
from .surroundings import Surroundings

CONCURRENCY = 10
"""Batches that one storage shard delivers at once, unless the consumer bounds them."""
HANDLER_S_MAX = 900
"""Of one run of a consumer's handler."""
SHARDS_MAX = 16
GROW_PER_S = 1_000
"""Messages that arrive at storage shard 0, over the window, for which a queue's storage shards are doubled."""
_GROW_WINDOW_S = 5
_SAFETY_MS = 5_000
"""While messages are on their way to somewhere, the alarm comes back this often: what began before a crash begins again."""
_NOBODY_MS = 60_000
"""How often a queue without a consumer looks whether it has one now."""
_WAIT_S = {"inactive": 8.0, "codeUpdated": 0.1}
"""How long handlers that run may go on when the process ends, or hands its objects over."""
_MOVED_MAX = 50
"""Messages that go to another queue's storage shard in one call."""
_WAITING, _LEASED, _DEAD, _LEAVING = 0, 1, 2, 3
"""Waits for its time and its batch; a handler has it; goes to the dead letter queue; goes to storage shard 0."""

_TABLES = """
create table if not exists messages(
    seq integer primary key, id text not null unique, at_ms integer not null, due_ms integer not null,
    attempts integer not null, state integer not null, kind text not null, body blob not null
);
create index if not exists messages_due on messages(state, due_ms, seq)
"""
Row = tuple[int, str, int, int, int, str, bytes]
"""seq, id, at_ms, due_ms, attempts, kind, body."""
_ROW = "seq, id, at_ms, due_ms, attempts, kind, body"


def shard_name(queue: str, number: int) -> str:
    """The object's name."""
    return f"{queue}/{number}"


class QueueShard(DurableObject):
    """`accept` is what producers call; everything else happens by its alarm and by what it has begun."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._around = cast(Surroundings, env)
        self._sql = ctx.storage.sql
        name = cast("str", ctx.id.name)
        self._queue, _, number = name.rpartition("/")
        self._number = int(number)
        self._loaded = False
        self._shards = 1
        self._running = 0
        self._moving = False
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = 0
        """At least about so many messages wait for nothing but their batch."""
        self._alarm_ms: float | None = None
        self._window = (0.0, 0)
        """When the window began, messages in it."""

    # ------------------------------------------------------------------ producers
    async def accept(self, messages: list[list[object]]) -> int:
        """Store messages: [id, content type, body, delay in seconds, attempts] each; those that are there stay as they are.

        Gives the number of storage shards; 0: this one does not know it.
        """
        self._leaving = False
        await self._load()
        now_ms = _now_ms()
        for ident, kind, body, delay_s, attempts in messages:
            self._sql.exec(
                "insert or ignore into messages(id, at_ms, due_ms, attempts, state, kind, body) values(?,?,?,?,0,?,?)",
                ident, now_ms, now_ms + cast("int", delay_s) * 1000, attempts, kind, body,
            )  # fmt: skip
            self._ready += not delay_s
        consumer = self._consumer()
        if consumer is None or self._ready >= consumer.batch_size_max or self._elsewhere(consumer):
            await self._work(now_ms)
        else:
            soonest_s = min(cast("int", each[3]) for each in messages) + consumer.batch_timeout_s
            await self._come_back(now_ms + soonest_s * 1000)
        return await self._count(len(messages))

    async def _count(self, arrived: int) -> int:
        """The number of storage shards, after more messages have arrived."""
        if self._number:
            return 0
        consumer = self._consumer()
        if consumer is not None and consumer.concurrency_max is not None:
            return 1  # one storage shard delivers all: only so it can count what runs
        now_s = time.time()
        began_s, count = self._window
        if not 0 <= now_s - began_s <= _GROW_WINDOW_S:
            began_s, count = now_s, 0
        count += arrived
        if count > GROW_PER_S * _GROW_WINDOW_S and self._shards < SHARDS_MAX:
            self._shards *= 2
            await self.ctx.storage.put("shards", self._shards)
            began_s, count = now_s, 0
        self._window = (began_s, count)
        return self._shards

    # ------------------------------------------------------------------ state
    async def _load(self) -> None:
        """Once an instance: what was being delivered when the one before it ended begins again."""
        if self._loaded:
            return
        if not self._sql.exec("select 1 from sqlite_schema where name = 'messages'").toArray():
            self._sql.exec(_TABLES)
        self._shards = cast("int", await self.ctx.storage.get("shards") or 1)
        self._alarm_ms = cast("float | None", await self.ctx.storage.getAlarm())
        if self._loaded:
            return  # another event was faster
        self._loaded = True
        consumer = self._consumer()
        for row in self._rows(f"select {_ROW} from messages where state = ?", _LEASED):
            self._failed(row, consumer, 0)
        self._sql.exec("update messages set state = ? where state = ?", _WAITING, _LEAVING)
        count = "select count(*) as n from messages where state = 0 and due_ms <= ?"
        self._ready = cast("int", self._sql.exec(count, _now_ms()).one()["n"])

    def _consumer(self) -> Consumer | None:
        return self._around.consumers.get(self._queue)

    def _elsewhere(self, consumer: Consumer) -> bool:
        """Whether another storage shard delivers what this one has."""
        return self._number > 0 and consumer.concurrency_max is not None

    def _rows(self, sql: str, *values: object) -> list[Row]:
        return [
            cast("Row", tuple(cast("Iterable[object]", row))) for row in self._sql.exec(sql, *values).raw().toArray()
        ]

    # ------------------------------------------------------------------ what is due
    async def alarm(self, alarm_info: object = None) -> None:
        """Deliver what is due, and come back for the rest."""
        self._alarm_ms, self._leaving = None, False
        await self._load()
        await self._work(_now_ms())

    async def _work(self, now_ms: int) -> None:
        """Begin all that can begin now, and have the alarm come for what cannot."""
        consumer = self._consumer()
        if consumer is not None and self._elsewhere(consumer):
            self._sql.exec("update messages set state = ? where state = ?", _LEAVING, _WAITING)
            self._ready = 0
        elif consumer is not None:
            limit = consumer.concurrency_max or CONCURRENCY
            while not self._leaving and self._running < limit and (rows := self._claim(consumer, now_ms)):
                self._running += 1
                self._begin(self._deliver(consumer, rows))
        self._move_on()
        await self._come_back(self._next_ms(consumer, now_ms))

    def _claim(self, consumer: Consumer, now_ms: int) -> list[Row]:
        """The next batch, marked as being delivered; empty: none is full, and none has waited long enough."""
        due = f"select {_ROW} from messages where state = ? and due_ms <= ? order by due_ms, seq limit ?"
        rows = self._rows(due, _WAITING, now_ms, consumer.batch_size_max)
        full = len(rows) == consumer.batch_size_max
        if not full:
            self._ready = len(rows)
            if not rows or rows[0][3] + consumer.batch_timeout_s * 1000 > now_ms:
                return []
        self._ready = max(0, self._ready - len(rows))
        for row in rows:
            self._sql.exec("update messages set state = ?, attempts = attempts + 1 where seq = ?", _LEASED, row[0])
        return rows

    def _next_ms(self, consumer: Consumer | None, now_ms: int) -> float | None:
        """When the alarm must come; None: there is nothing to come for."""
        busy = self._sql.exec("select 1 from messages where state > 0 limit 1").toArray()
        soonest = self._sql.exec("select min(due_ms) as at from messages where state = 0").one()["at"]
        found: list[float] = [now_ms + _SAFETY_MS] if busy else []
        if soonest is not None:
            if consumer is None:
                found.append(now_ms + _NOBODY_MS)
            elif self._running < (consumer.concurrency_max or CONCURRENCY):
                found.append(cast("int", soonest) + consumer.batch_timeout_s * 1000)
        return min(found, default=None)

    async def _come_back(self, when_ms: float | None) -> None:
        if when_ms is not None and (self._alarm_ms is None or self._alarm_ms > when_ms):
            self._alarm_ms = when_ms
            await self.ctx.storage.setAlarm(round(when_ms))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Beside the event that runs. Not `waitUntil`: its time is over when that of a handler is."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def preShutdown(self, info: ShutdownInfo) -> None:
        """Begin nothing more, and wait for what runs. What still runs then comes again, and its attempt is not counted."""
        self._leaving = True
        if self._tasks:
            try:
                await asyncio.wait(set(self._tasks), timeout=_WAIT_S[info.reason])
            finally:  # the stop may have less time than that
                self._sql.exec(
                    "update messages set state = ?, attempts = attempts - 1 where state = ?", _WAITING, _LEASED
                )

    # ------------------------------------------------------------------ consumers
    async def _deliver(self, consumer: Consumer, rows: list[Row]) -> None:
        """Run the handler with a batch, and do what it has said of each message."""
        messages = [
            Message(ident, decode(kind, body), attempts + 1, datetime.datetime.fromtimestamp(at_ms / 1000))
            for _, ident, at_ms, _, attempts, kind, body in rows
        ]
        batch = MessageBatch(self._queue, messages)
        failed = False
        try:
            async with asyncio.timeout(HANDLER_S_MAX):
                await self._around.run_handler(consumer.program, "queue", batch)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            failed = True
            self._around.report(
                "error", "queue_handler", {"queue": self._queue, "messages": len(rows), "error": _say(error)}
            )
        self._running -= 1
        for row, message in zip(rows, messages, strict=True):
            decided = message.decided if message.decided is not None else batch.decided
            if decided is None:
                decided = not failed
            if decided:
                self._sql.exec("delete from messages where seq = ?", row[0])
                continue
            delay_s = message.delay_s if message.decided is False else batch.delay_s
            counts = not (failed and self._leaving)  # the process ends: what it asked for was refused for that
            attempted = (*row[:4], row[4] + counts, *row[5:])
            self._failed(attempted, consumer, consumer.retry_delay_s if delay_s is None else delay_s)
        await self._work(_now_ms())

    def _failed(self, row: Row, consumer: Consumer | None, delay_s: int) -> None:
        """A delivery came to nothing: later again, or never. `row`: with the attempts that were made."""
        seq, ident, attempts = row[0], row[1], row[4]
        if consumer is None or attempts <= consumer.retries_max:
            due_ms = _now_ms() + delay_s * 1000
            self._sql.exec(
                "update messages set state = ?, due_ms = ?, attempts = ? where seq = ?", _WAITING, due_ms, attempts, seq
            )
            self._ready += not delay_s
        elif consumer.dead_letters is not None:
            self._sql.exec("update messages set state = ? where seq = ?", _DEAD, seq)
        else:
            self._sql.exec("delete from messages where seq = ?", seq)
            self._around.report(
                "error", "queue_message_dropped", {"queue": self._queue, "message": ident, "attempts": attempts}
            )

    # ------------------------------------------------------------------ moving messages
    def _move_on(self) -> None:
        """Begin to bring dead letters to their queue, and what is not delivered here to storage shard 0."""
        if self._moving or not self._sql.exec("select 1 from messages where state >= ? limit 1", _DEAD).toArray():
            return
        self._moving = True
        self._begin(self._move())

    async def _move(self) -> None:
        try:
            while await self._move_some():
                pass
        except PerdureError as error:
            self._around.report(
                "warning", "queue_move", {"queue": self._queue, "error": _say(error)}
            )  # the alarm comes
        finally:
            self._moving = False

    async def _move_some(self) -> bool:
        """Some messages; False: there were none."""
        rows = self._rows(f"select {_ROW} from messages where state = ? limit ?", _DEAD, _MOVED_MAX)
        target, dead = None, bool(rows)
        if dead:
            consumer = self._consumer()
            target = consumer.dead_letters if consumer is not None else None
        else:
            rows, target = (
                self._rows(f"select {_ROW} from messages where state = ? limit ?", _LEAVING, _MOVED_MAX),
                self._queue,
            )
        if not rows:
            return False
        if target is None:  # there was a dead letter queue, and now there is none
            for row in rows:
                self._sql.exec("update messages set state = ? where seq = ?", _WAITING, row[0])
            return True
        now_ms = _now_ms()
        stub = self._around.namespace("queue").getByName(shard_name(target, 0))
        patient = stub._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
        await patient.accept(
            [
                [ident, kind, body, 0 if dead else max(0, -(-(due_ms - now_ms) // 1000)), 0 if dead else attempts]
                for _, ident, _, due_ms, attempts, kind, body in rows
            ]
        )
        for row in rows:
            self._sql.exec("delete from messages where seq = ?", row[0])
        return True


def _now_ms() -> int:
    return int(time.time() * 1000)


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__
