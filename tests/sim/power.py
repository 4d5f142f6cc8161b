"""One run: workload, crash, recovery, workload, crash, …, and at the end the check of everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from typing import Any

import apsw
from perdure.engine import database
from perdure.engine.bookmarks import read_bookmark
from perdure.engine.errors import HistoryGone, ObjectNotFound, PerdureError
from perdure.engine.limits import Limits
from perdure.shards import committer
from perdure.testing.disk import SimDisk

from .machine import KEY, OBJECTS, Machine, Stopped, expected

LIMITS = Limits(segment_bytes=48 << 10, log_bytes_max=400 << 10, log_page_images_max=400, wal_bytes_checkpoint=64 << 10)


class Lost(AssertionError):
    """The check found something that must not be."""


class Run:
    """`crashes` crashes with this seed, then a check."""

    def __init__(
        self,
        seed: int,
        folder: str,
        disk: type[SimDisk] = SimDisk,
        alternate: bool = False,
        travels: int = 0,
        calm: bool = False,
    ) -> None:
        self.alternate = alternate
        self.travels = travels
        self.calm = calm
        self.rng = random.Random(seed)
        self.deaths = (0.15 if travels else 0.05) if seed % 4 == 3 and not calm else 0.0
        """Part of the archivist's jobs during which it is killed."""
        self.folder = folder
        self.disk = disk(f"{folder}/0")
        self.disk.make_folder(f"{folder}/0")
        self.acked = dict.fromkeys(range(OBJECTS), 0)
        self.sent = dict.fromkeys(range(OBJECTS), 0)
        self.instead: dict[int, int] = {}
        """Object → the state that a change of its whole file, or deleteAll, under way would give it."""
        self.bookmarks: dict[int, list[tuple[int, str]]] = {number: [] for number in range(OBJECTS)}
        self.found: dict[int, int] = {}
        """Object → its state, as far as this session has looked."""
        self.gaps = False
        """History was given up at some time, so that what a bookmark names may be gone."""
        self.number = 0
        self.after: SimDisk | None = None
        self.stopped = 0

    def crash(self) -> None:
        """At the chosen event: take the disk as the next start will find it. What happens later has never happened."""
        if self.after is None:
            self.number += 1
            power = self.number % 2 == 0 if self.alternate else self.rng.random() < 0.6
            self.after = self.disk.crash(f"{self.folder}/{self.number}", self.rng, power=power)
            for name in ("history", "catalogue"):  # SQLite files, synced by SQLite: what is written is there
                if os.path.isdir(f"{self.disk.root}/{name}"):
                    shutil.copytree(f"{self.disk.root}/{name}", f"{self.folder}/{self.number}/{name}")

    async def phase(self, steps: int, events: int) -> None:
        """Start, work, and be cut after about `events` writes and syncs; sometimes there is no room for a while."""
        self.after = None
        self.found = {}
        self.disk.cut_at = self.disk.events + self.rng.randrange(1, events)
        self.disk.on_cut = self.crash
        if not self.calm and self.rng.random() < 0.4:
            begin = self.disk.events + self.rng.randrange(events)
            self.disk.full = range(begin, begin + self.rng.randrange(5, 80))
        machine: Machine | None = None
        try:
            machine = Machine(self.disk, self.number + 1, LIMITS, self.rng, self.deaths)
            for _ in range(steps):
                if self.after is not None:
                    break
                await self.step(machine)
        except (PerdureError, OSError, Stopped):
            if self.after is None and not self.disk.refused:
                raise
            self.stopped += 1
        if self.after is None:
            self.crash()
        assert self.after is not None
        if machine is not None:
            self.gaps = self.gaps or machine.in_trouble()
            machine.abandon()
        else:
            for fd in list(self.disk._open):
                self.disk.close(fd)
        shutil.rmtree(self.disk.root)
        self.disk.close_vfs()
        self.disk = self.after

    async def ask(self, machine: Machine, number: int, method: str, *arguments: object) -> Any:
        return await machine.done(machine.call(f"o{number}", method, *arguments))

    def forgive(self, machine: Machine, number: int, error: PerdureError) -> None:
        """A call has failed: that is right when there was trouble, or after the cut. Look at the object anew."""
        if self.after is None and not machine.in_trouble():
            raise error
        self.found.pop(number, None)

    async def look(self, machine: Machine, number: int) -> bool:
        """Know the object's state. False: it cannot be read now."""
        if number in self.found:
            return True
        try:
            self.found[number] = await self.check(machine, number)
        except PerdureError as error:
            self.forgive(machine, number, error)
            return False
        if self.after is None:
            self.acked[number] = self.sent[number] = self.found[number]
        return True

    async def step(self, machine: Machine) -> None:
        """A few writes at once to a few objects; then what happens in between."""
        futures: list[tuple[int, int, asyncio.Future[object]]] = []
        for number in self.rng.sample(range(OBJECTS), self.rng.randrange(1, 4)):
            if not await self.look(machine, number):
                continue
            for _ in range(self.rng.randrange(1, 4)):
                self.found[number] += 1
                if self.after is None:
                    self.sent[number] = self.found[number]
                futures.append((number, self.found[number], machine.call(f"o{number}", "write", self.found[number])))
        for number, write, future in futures:
            try:
                await machine.done(future)
            except PerdureError as error:
                self.forgive(machine, number, error)
                continue
            if self.after is None:
                self.acked[number] = max(self.acked[number], write)
        for _ in range(0 if self.calm else self.travels or self.rng.random() < 0.6):
            await self.travel(machine, self.rng.randrange(OBJECTS))
        await self.tick(machine)

    async def tick(self, machine: Machine) -> None:
        try:
            await machine.done(machine.tick(self.rng))
        except PerdureError:  # the marker ends the shard then
            if self.after is None and not machine.in_trouble():
                raise
            raise Stopped from None

    async def travel(self, machine: Machine, number: int) -> None:
        """Note where an object is, or change it as a whole."""
        if self.after is not None or not await self.look(machine, number) or self.after is not None:
            return
        marks = self.bookmarks[number]
        kinds = [self.restore, self.restore_now, self.delete, self.wipe, self.vacuum, self.fork]
        weights = [3, 2, 1, 1, 1, 2] if marks else [0, 0, 1, 1, 1, 2]
        beside: asyncio.Future[object] | None = None
        try:
            if self.rng.random() < 0.4:
                bookmark = await self.ask(machine, number, "mark")
                if self.after is None:
                    marks.append(tuple(bookmark))
                return
            change = self.rng.choices(kinds, weights)[0](machine, number)
            if self.rng.random() < 0.3:  # somebody calls it meanwhile, and waits or is told to try again
                beside = machine.call(f"o{number}", "mark")
            await machine.done(change)
            self.found.pop(number, None)
        except HistoryGone:
            if self.after is None and not self.gaps and not machine.in_trouble():
                raise
            marks.clear()
            self.found.pop(number, None)
        except PerdureError as error:
            self.forgive(machine, number, error)
        finally:
            if beside is not None:
                with contextlib.suppress(PerdureError):
                    await machine.done(beside)

    async def restore(self, machine: Machine, number: int) -> None:
        """By the program, at its next start."""
        state, bookmark = self.rng.choice(self.bookmarks[number])
        self.instead[number] = state
        await self.ask(machine, number, "restore", bookmark)
        with contextlib.suppress(PerdureError):
            await self.ask(machine, number, "abort")
        now = await self.check(machine, number)
        if now != state and self.after is None and not machine.in_trouble():  # else it may fail, and go on as it was
            raise Lost(f"object {number} is at write {now}, and not at {state}, which was to be restored")

    async def restore_now(self, machine: Machine, number: int) -> None:
        """By an operator."""
        state, bookmark = self.rng.choice(self.bookmarks[number])
        self.instead[number] = state
        object_id = KEY.id_from_name(f"o{number}")
        await machine.timeline.restore_now(KEY, object_id, f"o{number}", read_bookmark(object_id, bookmark))
        self.settled(number, state)

    async def delete(self, machine: Machine, number: int) -> None:
        self.instead[number] = 0
        await machine.timeline.delete(KEY, KEY.id_from_name(f"o{number}"))
        self.settled(number, 0)
        if self.after is None:
            self.bookmarks[number].clear()

    async def wipe(self, machine: Machine, number: int) -> None:
        self.instead[number] = 0
        await self.ask(machine, number, "wipe")
        self.settled(number, 0)

    async def vacuum(self, machine: Machine, number: int) -> None:
        with contextlib.suppress(ObjectNotFound):
            await machine.timeline.vacuum(KEY, KEY.id_from_name(f"o{number}"), f"o{number}")

    async def fork(self, machine: Machine, number: int) -> None:
        """Copy another object out, and put the copy in the place of this one."""
        source = (number + 1) % OBJECTS
        if not await self.look(machine, source) or not self.found[source]:
            return
        state, position = self.found[source], None
        if self.bookmarks[source] and self.rng.random() < 0.5:
            state, bookmark = self.rng.choice(self.bookmarks[source])
            position = read_bookmark(KEY.id_from_name(f"o{source}"), bookmark)
        path = f"{machine.disk.root}/exports/{number}.sqlite"
        try:
            machine.disk.make_folder(os.path.dirname(path))
            machine.disk.unlink(path, missing_ok=True)  # of a command that was killed
            await machine.timeline.export(KEY, KEY.id_from_name(f"o{source}"), path, position)
            self.instead[number] = state
            await machine.timeline.import_file(KEY, KEY.id_from_name(f"o{number}"), f"o{number}", path, replace=True)
            self.settled(number, state)
        except OSError:
            if not machine.in_trouble():
                raise
        finally:
            machine.disk.unlink(path, missing_ok=True)

    def settled(self, number: int, state: int) -> None:
        """It was acknowledged: that is its state, unless the power was cut before."""
        if self.after is None:
            self.acked[number] = self.sent[number] = state
            self.instead.pop(number, None)

    async def check(self, machine: Machine, number: int) -> int:
        """The object's state is one that it had, at or after the last acknowledged write; which."""
        values, rows, large, check = await self.ask(machine, number, "dump")
        state = values.get("n", 0)
        if self.after is not None:
            return state
        if number in self.instead and state == self.instead[number]:
            self.acked[number] = self.sent[number] = state
        if self.instead.pop(number, None) == 0:  # perhaps deleted, with its past
            self.bookmarks[number].clear()
        if not self.acked[number] <= state <= self.sent[number]:
            raise Lost(
                f"object {number} is at write {state}, acknowledged {self.acked[number]}, sent {self.sent[number]}"
            )
        if [dict(values), rows, large, check] != expected(state):
            raise Lost(f"object {number} at write {state} is not what it was then")
        return state

    async def verify(self) -> None:
        """A last start without a cut: every object is right and can be written, and nothing is left over."""
        self.disk.cut_at = -1
        machine = Machine(self.disk, self.number + 1, LIMITS, self.rng)
        self.after = None
        for number in range(OBJECTS):
            state = await self.check(machine, number)
            self.acked[number] = self.sent[number] = state
            await self.ask(machine, number, "write", state + 1)
        machine.residents.close_all()
        assert await machine.done(machine.marker.close()), "everything can be completed"
        for path in [path for path in self.disk.names if path.endswith(".sqlite") and "/objects/" in path]:
            connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
            if connection.pragma("integrity_check") != "ok":
                raise Lost(f"{path}: integrity_check")
            connection.close()
        left = [path for path in self.disk.names if path.endswith(".new")]
        assert not left, f"left over: {left}"
        machine.abandon()
        shutil.rmtree(self.disk.root)
        self.disk.close_vfs()


async def run_seed(
    seed: int,
    folder: str,
    disk: type[SimDisk] = SimDisk,
    crashes: int = 4,
    steps: int = 30,
    alternate: bool = False,
    travels: int = 0,
    calm: bool = False,
) -> None:
    """Raises Lost, LogDamaged or AssertionError when anything acknowledged is not there, or is not whole.

    With odd seeds most commits are large ones, written in pieces.

    `travels`: how many whole files are changed in each step, instead of now and then one.

    `calm`: none is, and there is always room: writes, marks and crashes only.

    `alternate`: kills and power cuts take turns, the cuts soon after the start, so that they fall into recoveries.
    """
    database.CAPTURE_FRAMES_MAX = 2 if seed % 2 else 256
    committer._AGAIN_S = 0.0
    run = Run(seed, folder, disk, alternate, travels, calm)
    for number in range(crashes):
        events = (120 if number % 2 == 0 else 60) if alternate else run.rng.choice([30, 120, 600])
        await run.phase(steps, events=events)
    await run.verify()
