"""One run: workload, crash, recovery, workload, crash, …, and at the end the check of everything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil

import apsw
from perdure.engine import database
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits

from .disk import SimDisk
from .machine import KEY, OBJECTS, Machine, expected

LIMITS = Limits(segment_bytes=48 << 10, log_bytes_max=400 << 10, log_page_images_max=400, wal_bytes_checkpoint=64 << 10)


class Lost(AssertionError):
    """The check found something that must not be."""


class Run:
    """`crashes` crashes with this seed, then a check."""

    def __init__(self, seed: int, folder: str, disk: type[SimDisk] = SimDisk, alternate: bool = False) -> None:
        self.alternate = alternate
        self.rng = random.Random(seed)
        self.folder = folder
        self.disk = disk(f"{folder}/0")
        self.disk.make_folder(f"{folder}/0")
        self.acked = dict.fromkeys(range(OBJECTS), 0)
        self.sent = dict.fromkeys(range(OBJECTS), 0)
        self.instead: dict[int, int] = {}
        """Object → the state that a restore or a deletion under way would give it."""
        self.bookmarks: dict[int, list[tuple[int, str]]] = {number: [] for number in range(OBJECTS)}
        self.number = 0
        self.after: SimDisk | None = None

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
        """Start, work, and be cut after about `events` writes and syncs."""
        self.after = None
        self.disk.cut_at = self.disk.events + self.rng.randrange(1, events)
        self.disk.on_cut = self.crash
        found: dict[int, int] = {}
        machine: Machine | None = None
        try:
            machine = Machine(self.disk, self.number + 1, LIMITS)
            for _ in range(steps):
                if self.after is not None:
                    break
                await self.step(machine, found)
        except PerdureError:
            if self.after is None:
                raise
        if self.after is None:
            self.crash()
        assert self.after is not None
        if machine is not None:
            machine.abandon()
        else:
            for fd in list(self.disk._open):
                self.disk.close(fd)
        shutil.rmtree(self.disk.root)
        self.disk.close_vfs()
        self.disk = self.after

    async def step(self, machine: Machine, found: dict[int, int]) -> None:
        """A few writes at once to a few objects; then what happens in between."""
        futures: list[tuple[int, int, asyncio.Future[object]]] = []
        for number in self.rng.sample(range(OBJECTS), self.rng.randrange(1, 4)):
            if number not in found:
                found[number] = await self.check(machine, number)
                if self.after is None:
                    self.acked[number] = self.sent[number] = found[number]
            for _ in range(self.rng.randrange(1, 4)):
                found[number] += 1
                if self.after is None:
                    self.sent[number] = found[number]
                futures.append((number, found[number], machine.call(f"o{number}", "write", found[number])))
        for number, write, future in futures:
            try:
                await future
            except PerdureError:
                if self.after is None:
                    raise
                continue
            if self.after is None:
                self.acked[number] = max(self.acked[number], write)
        if self.rng.random() < 0.5:
            await self.travel(machine, found, self.rng.randrange(OBJECTS))
        await machine.tick(self.rng)

    async def travel(self, machine: Machine, found: dict[int, int], number: int) -> None:
        """Note where an object is, or take it back to where it was, or empty it, or delete it."""
        if number not in found or self.after is not None:
            return
        choice = self.rng.random()
        marks = self.bookmarks[number]
        if choice < 0.45 or not marks:
            state, bookmark = await machine.call(f"o{number}", "mark")  # pyright: ignore[reportGeneralTypeIssues]
            if self.after is None:
                marks.append((state, bookmark))
        elif choice < (0.88 if self.alternate else 0.8):
            state, bookmark = self.rng.choice(marks)
            self.instead[number] = state
            await machine.call(f"o{number}", "restore", bookmark)
            self.settled(number, state)
            with contextlib.suppress(PerdureError):
                await machine.call(f"o{number}", "abort")
            del found[number]
        elif choice < 0.92 and not self.alternate:  # its file goes when it is evicted, its past stays
            self.instead[number] = 0
            await machine.call(f"o{number}", "wipe")
            self.settled(number, 0)
            del found[number]
        else:
            self.instead[number] = 0
            await machine.timeline.delete(KEY, KEY.id_from_name(f"o{number}"))
            self.settled(number, 0)
            if self.after is None:
                marks.clear()
            del found[number]

    def settled(self, number: int, state: int) -> None:
        """It was acknowledged: that is its state, unless the power was cut before."""
        if self.after is None:
            self.acked[number] = self.sent[number] = state
            self.instead.pop(number, None)

    async def check(self, machine: Machine, number: int) -> int:
        """The object's state is one that it had, at or after the last acknowledged write; which."""
        values, rows, check = await machine.call(f"o{number}", "dump")  # pyright: ignore[reportGeneralTypeIssues]
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
        if [dict(values), rows, check] != expected(state):
            raise Lost(f"object {number} at write {state} is not what it was then")
        return state

    async def verify(self) -> None:
        """A last start without a cut: every object is right."""
        self.disk.cut_at = -1
        machine = Machine(self.disk, self.number + 1, LIMITS)
        self.after = None
        for number in range(OBJECTS):
            await self.check(machine, number)
        machine.residents.close_all()
        assert await machine.marker.close(), "everything can be completed"
        for path in [path for path in self.disk.names if path.endswith(".sqlite") and "/objects/" in path]:
            connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
            if connection.pragma("integrity_check") != "ok":
                raise Lost(f"{path}: integrity_check")
            connection.close()
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
) -> None:
    """Raises Lost, LogDamaged or AssertionError when anything acknowledged is not there, or is not whole.

    With odd seeds most commits are large ones, written in pieces.

    `alternate`: kills and power cuts take turns, the cuts soon after the start, so that they fall into recoveries.
    """
    database.CAPTURE_FRAMES_MAX = 2 if seed % 2 else 256
    run = Run(seed, folder, disk, alternate)
    for number in range(crashes):
        events = (120 if number % 2 == 0 else 60) if alternate else run.rng.choice([30, 120, 600])
        await run.phase(steps, events=events)
    await run.verify()
