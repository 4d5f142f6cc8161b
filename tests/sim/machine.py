"""One shard in this process on a simulated disk, and a workload whose every state is known.

Each object's state is a pure function of how many writes it has had, so whatever a recovery finds can be checked whole.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from perdure.engine.calls import RPC, Call
from perdure.engine.class_runtime import ClassRuntime
from perdure.engine.clock import Clock as EngineClock
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError, ShardLost, StorageFull
from perdure.engine.ids import ClassKey
from perdure.engine.limits import Limits
from perdure.engine.values import pack, unpack
from perdure.shards.log import delete_session, sessions
from perdure.shards.session import Session
from perdure.testing.archive import InlineArchive
from perdure.testing.disk import SimDisk
from perdure.testing.virtual import Inline

from ..engine.shelf import Clock, NoTransport, PlainHttp

KEY = ClassKey("sim-Thing")
OBJECTS = 6
WRITES_HISTORY = {"fold", "base", "prepare", "confirm", "forget"}
T = TypeVar("T")


def blob(number: int) -> bytes:
    """Bytes of a size between 0 and 9,000 that belong to the number."""
    rng = random.Random(number)
    return rng.randbytes(rng.randrange(9_000))


def images(number: int) -> list[bytes]:
    """What a large write stores: more than a -wal is let grow to, and than fits into a segment."""
    rng = random.Random(-number)
    return [rng.randbytes(4_000) for _ in range(40)]


class Thing(DurableObject):
    """Write number n sets a key, a large value, a row, and removes an older row; each tenth is large."""

    async def write(self, number):
        storage = self.ctx.storage
        found = await storage.get("n") or 0
        assert found == number - 1, f"write {number} found {found}"
        await storage.put({"n": number, f"k{number % 5}": blob(number)})
        sql = storage.sql
        if number % 3 == 0:
            sql.exec("create table if not exists t(id integer primary key, data blob)")
            sql.exec("insert into t values(?, ?)", number, blob(number + 1))
            sql.exec("delete from t where id = ?", number - 9)
        if number % 10 == 0:
            sql.exec("create table if not exists large(id integer primary key, data blob)")
            sql.exec("delete from large")
            for data in images(number):
                sql.exec("insert into large(data) values(?)", data)
        return number

    async def wipe(self):
        await self.ctx.storage.deleteAll()

    async def mark(self):
        return [await self.ctx.storage.get("n") or 0, await self.ctx.storage.getCurrentBookmark()]

    async def restore(self, bookmark):
        return await self.ctx.storage.onNextSessionRestoreBookmark(bookmark)

    async def abort(self):
        self.ctx.abort("as asked")

    async def dump(self):
        storage = self.ctx.storage
        rows = []
        if storage.sql.exec("select 1 from sqlite_master where name = 't'").toArray():
            rows = [[row["id"], bytes(row["data"])] for row in storage.sql.exec("select id, data from t order by id")]
        check = storage.sql.exec("pragma quick_check").toArray()
        values = {key: bytes(value) if key != "n" else value for key, value in (await storage.list()).items()}
        large: list[bytes] = []
        if storage.sql.exec("select 1 from sqlite_master where name = 'large'").toArray():
            large = [bytes(row["data"]) for row in storage.sql.exec("select data from large order by id")]
        return [values, rows, large, [next(iter(row.values())) for row in check]]


def expected(number: int) -> list[object]:
    """What `dump` gives after write `number`."""
    values: dict[str, object] = {"n": number} if number else {}
    for slot in range(5):
        last = next((n for n in range(number, 0, -1) if n % 5 == slot), None)
        if last is not None:
            values[f"k{slot}"] = blob(last)
    rows = [[n, blob(n + 1)] for n in range(3, number + 1, 3) if n > number - number % 3 - 9]
    return [values, rows, images(number - number % 10) if number >= 10 else [], ["ok"]]


class MortalArchive(InlineArchive):
    """The archivist without its process. `deaths`: part of the jobs during which it is killed."""

    def __init__(self, disk: SimDisk, rng: random.Random, deaths: float) -> None:
        super().__init__(disk, disk.root)
        self.died = 0
        self._disk, self._rng, self._deaths = disk, rng, deaths

    async def ask(self, kind: str, *, urgent: bool = True, **fields: object) -> dict[str, object]:
        chance = self._rng.random()
        if self._disk.is_full() and kind in WRITES_HISTORY and chance < 0.5:  # its files are real: no SimDisk sees them
            self._disk.refused += 1
            self._disk.event()
            raise StorageFull("the disk of the data folder is full")
        if chance < self._deaths / 2:
            self._die()
        answer = await super().ask(kind, urgent=urgent, **fields)
        if chance > 1 - self._deaths / 2:
            self._die()
        return answer

    def _die(self) -> None:
        self.died += 1
        raise ShardLost("the process that works on history died")


class Stopped(Exception):
    """The process would have ended itself."""


class Machine:
    """A session: startup as the shard process does it, without the process."""

    def __init__(
        self,
        disk: SimDisk,
        number: int,
        limits: Limits,
        rng: random.Random | None = None,
        deaths: float = 0.0,
        cls: type = Thing,
        *,
        clock: EngineClock | None = None,
        groups: Sequence[int] = range(64),
        dead_sessions: list[str] | None = None,
        shard: int = 0,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.disk = disk
        self.stopped: asyncio.Future[BaseException] = self.loop.create_future()
        self.reports: list[tuple[str, str, dict[str, object]]] = []
        data = disk.root
        disk.make_folder(f"{data}/log")
        disk.sync_folder(data)
        found = sessions(disk, f"{data}/log") if dead_sessions is None else dead_sessions
        self.dead_sessions = found
        self.recovered = False
        self.shared = dead_sessions is not None
        self.clock: Any = clock or Clock()
        self.archive = MortalArchive(disk, rng or random.Random(0), deaths)
        self.session = session = Session(
            disk,
            data,
            f"{number:012d}-abcdef0{shard}",
            dead_sessions=self.dead_sessions,
            groups=groups,
            runtimes={KEY.unique: ClassRuntime(KEY, "Thing", cls, None, PlainHttp())},
            transport=NoTransport(),
            archive=self.archive,
            clock=self.clock,
            limits=limits,
            loop=self.loop,
            recovered=self._recovered,
            stop=self._stop,
            report=self._report,
            threads=Inline(),
        )
        self.log, self.files, self.dead = session.log, session.files, session.dead
        self.committer, self.marker, self.residents = session.committer, session.marker, session.residents
        self.catalogue, self.timeline, self.emptied = session.catalogue, session.timeline, session.emptied
        self.alarms = session.alarms
        self.residents.start()

    def _stop(self, error: BaseException) -> None:
        if not self.stopped.done():
            self.stopped.set_result(error)

    def in_trouble(self) -> bool:
        """Whether there was no room, or the archivist died: then calls may fail."""
        return bool(self.disk.refused or self.archive.died)

    async def done(self, work: Awaitable[T]) -> T:
        """The result. Raises Stopped when there will be none, because the process has ended."""
        task = asyncio.ensure_future(work)
        await asyncio.wait({task, self.stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        raise Stopped(self.stopped.result())

    def _report(self, level: str, event: str, fields: dict[str, object]) -> None:
        self.reports.append((level, event, fields))

    def _recovered(self) -> None:
        self.recovered = True
        self.dead.close()
        if self.shared:  # whoever has the other shards deletes them when all have recovered
            return
        for session in self.dead_sessions:  # as the supervisor does, oldest first
            delete_session(self.disk, f"{self.disk.root}/log", session)
        self.marker.may_trim = True

    def id_of(self, name: str) -> bytes:
        return KEY.id_from_name(name)

    def call(self, name: str, method: str, *args: object) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self.loop.create_future()

        def answer(_call: Call, result: object) -> None:
            if not future.done():
                if isinstance(result, PerdureError):
                    future.set_exception(result)
                else:
                    future.set_result(unpack(result))

        self.residents.deliver(Call(KEY.unique, KEY.id_from_name(name), name, RPC, method, pack(list(args)), answer))
        return future

    async def tick(self, rng: random.Random) -> None:
        """What happens beside the calls: time passes, objects are evicted, marks are made."""
        self.clock.s += rng.choice([0.1, 5.0, 40.0])
        self.residents.now_s = self.clock.s
        if rng.random() < 0.5:
            await self.marker.cycle(everything=rng.random() < 0.3)
        if rng.random() < 0.3:
            for instance in list(self.residents._by_id.values()):
                if instance.quiet():
                    self.residents._evict(instance)

    def abandon(self, *, ended: bool = False) -> None:
        """The process is gone: nothing of it writes any more. `ended`: the log was closed before."""
        self.session.alarms.close()
        self.residents.stop()
        self.committer.close()
        self.marker.shut()
        for instance in list(self.residents._by_id.values()):
            database = instance.storage._database
            if database is not None:
                database.connection.close(True)
        self.archive.close()
        self.dead.close()
        if not ended:
            os.close(self.log._lock_fd)
        for fd in list(self.disk._open):
            self.disk.close(fd)
