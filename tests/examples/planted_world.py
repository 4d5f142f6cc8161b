"""A small world for the planted programs: real objects on a folder, in virtual time, alarms by hand.

Orderly: one client after the other, nothing fails: what an ordinary test sees. With a seed: calls and answers are late by
chance (in order per stub), and at one answer everything that is in memory is lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any
from unittest import mock

from perdure.engine.calls import RPC, Call
from perdure.engine.commits import CommitRecord
from perdure.engine.context import GatedTransport
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import PerdureError, ShardLost
from perdure.engine.ids import ClassKey
from perdure.engine.limits import Limits
from perdure.engine.residents import Residents
from perdure.engine.stubs import Namespace
from perdure.engine.values import pack, unpack
from perdure.sdk.env import Env
from perdure.sdk.program import Program
from perdure.testing.virtual import Inline

from ..engine.shelf import FolderFiles, HandCommits

EPOCH_S = 1_800_000_000.0
RETRY_S = 2.0


class _Clock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return int((EPOCH_S + self._loop.time()) * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()


class _Records(list[CommitRecord]):
    """Where the group commit puts its records: tells what they say of alarms."""

    def __init__(self, world: PlantedWorld) -> None:
        self._world = world

    def __iadd__(self, records):
        for record in records:
            if record.alarm_ms is not None:
                self._world.on_alarm(record)
        return self


def _fires(cls: type) -> type:
    """The class with a method that runs its due alarm; until it has succeeded the world calls it again."""

    async def fire(self: Any) -> None:
        due = await self.ctx.storage.getAlarm()
        begun = await self.ctx.storage.get("planted world: fires")
        if not begun and (due is None or due > time.time() * 1000 + 1):
            return  # only the answer of its run was lost
        await self.ctx.storage.put("planted world: fires", True)  # the alarm is no longer set while it runs
        await self.ctx.storage.deleteAlarm()
        await self.alarm()
        await self.ctx.storage.delete("planted world: fires")

    return type(cls.__name__, (cls,), {"fire": fire})


class PlantedWorld:
    """What checks get. `async with`; `seed` None: orderly."""

    def __init__(self, program: Program, folder: object, seed: int | None = None) -> None:
        self._program = program
        self._folder = str(folder)
        self.orderly = asyncio.Lock() if seed is None else None
        self._chance = random.Random(seed)
        self._crash_at = self._chance.randrange(1, 12) if seed is not None else 0
        self._answers = 0
        self._lives = 0
        self._pending: dict[Call, asyncio.Future[object]] = {}
        self._last: dict[object, float] = {}
        self._armed: dict[bytes, tuple[int, str, str | None]] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> PlantedWorld:
        self._loop = asyncio.get_running_loop()
        self._time = mock.patch("time.time", self._now_s)
        self._time.start()
        self._live()
        self._firing = self._loop.create_task(self._fire_alarms())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._firing.cancel()
        self._residents.stop()
        self._residents.close_all()
        self._time.stop()

    def _now_s(self) -> float:
        return EPOCH_S + self._loop.time()

    def _live(self) -> None:
        """Begin with nothing in memory, on the files of this life's folder."""
        self._lives += 1
        process = _Process(self, self._lives)
        self._commits = HandCommits(self._loop)
        self._commits.records = _Records(self)
        disk = LocalDisk()
        transport = GatedTransport(process, self._loop)
        bound = {b.name: self._program.namespace(b.class_name, transport) for b in self._program.config.bindings}
        runtimes = self._program.runtimes(Env(bound))
        for runtime in runtimes.values():
            runtime.cls = _fires(runtime.cls)
        self._residents = Residents(
            runtimes,
            files=FolderFiles(f"{self._folder}/{self._lives}", disk),
            commits=self._commits,
            clock=_Clock(self._loop),
            disk=disk,
            limits=Limits(),
            transport=process,
            log=lambda level, event, fields: None,
            loop=self._loop,
            threads=Inline(),
        )
        self._residents.start()

    # ------------------------------------------------------------------ what checks use
    def namespace(self, name: str) -> Namespace:
        return Namespace(ClassKey(self._program.key(name)), _Client(self))

    async def advance(self, *, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # ------------------------------------------------------------------ calls
    def call(self, life, class_key, object_id, name, method, args, deadline_s=None, on_reset=None, extras=None):
        """A call that code of that life makes (0: a client, which outlives all)."""
        future: asyncio.Future[object] = self._loop.create_future()
        if life not in (0, self._lives):
            return future  # its process is gone, and so is whoever would hear of it
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear it
        call = Call(class_key, object_id, name, RPC, method, args, partial(self._answer, self._lives))
        self._pending[call] = future
        if self.orderly is None:
            stub = getattr(on_reset, "__self__", call)
            at = self._last[stub] = max(self._last.get(stub, 0.0), self._loop.time() + self._late())
            self._loop.call_at(at, self._deliver, call)
        else:
            self._deliver(call)
        return future

    def _late(self) -> float:
        return self._chance.choice((0.0, 0.0, 0.01, 0.1, 0.5)) * self._chance.random()

    def _deliver(self, call: Call) -> None:
        if call not in self._pending:
            if self._chance.random() < 0.5:
                return  # it was on its way when everything was lost: half of those come late, half never
            call.answer = partial(self._answer, self._lives)
        self._residents.deliver(call)

    def _answer(self, life: int, call: Call, result: object) -> None:
        if life != self._lives:
            return
        self._answers += 1
        if self._answers == self._crash_at:
            self._loop.call_soon(self._crash)
        elif self.orderly is None:
            self._loop.call_later(self._late(), self._settle, call, result)
        else:
            self._settle(call, result)

    def _settle(self, call: Call, result: object) -> None:
        future = self._pending.pop(call, None)
        if future is None or future.done():
            return
        if isinstance(result, PerdureError):
            future.set_exception(result)
        else:
            assert isinstance(result, bytes)
            future.set_result(unpack(result))

    def _crash(self) -> None:
        """Everything in memory is lost, what was committed is not; who waits for an answer is told so."""
        self._residents.stop()
        lost, commits, before = list(self._pending), self._commits, f"{self._folder}/{self._lives}"
        self._live()
        commits.commit()  # says what is armed; nothing of it leaves any more
        _take_over(before, f"{self._folder}/{self._lives}")
        for call in lost:
            self._settle(call, ShardLost("the process is gone"))

    # ------------------------------------------------------------------ alarms
    def on_alarm(self, record: CommitRecord) -> None:
        if record.alarm_ms:
            self._armed[record.object_id] = record.alarm_ms, record.class_key, record.name
        else:
            self._armed.pop(record.object_id, None)
        self._changed.set()

    async def _fire_alarms(self) -> None:
        while True:
            object_id, found = min(self._armed.items(), key=lambda item: item[1][0], default=(b"", None))
            self._changed.clear()
            due_s = None if found is None else found[0] / 1000 - time.time()
            if found is None or (due_s is not None and due_s > 0):
                try:
                    await asyncio.wait_for(self._changed.wait(), due_s)
                except TimeoutError:
                    pass
                continue
            _, class_key, name = found
            del self._armed[object_id]
            try:
                await self.call(0, class_key, object_id, name, "fire", pack([]))
            except PerdureError:
                again_ms = int((time.time() + RETRY_S) * 1000)
                self._armed.setdefault(object_id, (again_ms, class_key, name))


class _Process:
    """The transport of the objects of one life."""

    def __init__(self, world: PlantedWorld, life: int) -> None:
        self._world = world
        self._life = life

    def call(self, *args: Any) -> Awaitable[object]:
        return self._world.call(self._life, *args)

    fetch = call


class _Client:
    """The transport of the check's own stubs: in an orderly world one call at a time."""

    def __init__(self, world: PlantedWorld) -> None:
        self._world = world

    async def call(self, *args: Any) -> object:
        if self._world.orderly is None:
            return await self._world.call(0, *args)
        async with self._world.orderly:
            return await self._world.call(0, *args)

    fetch = call


def _take_over(before: str, after: str) -> None:
    """The files of one life as the next one finds them: every object's last commit, all of it in the main file."""
    os.makedirs(f"{after}/objects", exist_ok=True)
    for folder in ("objects", "live"):
        if os.path.isdir(f"{before}/{folder}"):
            shutil.copytree(f"{before}/{folder}", f"{after}/objects", dirs_exist_ok=True)
    for name in os.listdir(f"{after}/objects"):
        if name.endswith(".sqlite"):
            connection = sqlite3.connect(f"{after}/objects/{name}")
            connection.execute("pragma wal_checkpoint(truncate)").fetchall()
            connection.close()
    for name in os.listdir(f"{after}/objects"):
        if not name.endswith(".sqlite"):
            os.unlink(f"{after}/objects/{name}")
