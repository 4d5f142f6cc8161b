"""Idempotency keys over power cuts at any write and any sync: every key counts once, and its answer stays what it was."""

from __future__ import annotations

import asyncio
import random
import shutil

import pytest
from perdure.engine.calls import RPC, Call
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.values import pack, unpack
from perdure.testing import virtual
from perdure.testing.disk import SimDisk

from .machine import KEY, Machine, Stopped
from .power import LIMITS

PHASES = 6
NEW_KEYS = 12


class Count(DurableObject):
    async def add(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value

    async def value(self):
        return await self.ctx.storage.get("value") or 0


class Story:
    """Adds with keys; after each cut those that got no answer are made again. `keyed` False: the broken twin."""

    def __init__(self, seed: int, folder: str, keyed: bool) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.keyed = keyed
        self.disk = SimDisk(f"{folder}/0")
        self.disk.make_folder(f"{folder}/0")
        self.after: SimDisk | None = None
        self.number = 0
        self.answers: dict[str, object] = {}
        self.keys: list[str] = []

    def crash(self) -> None:
        if self.after is None:
            self.number += 1
            self.after = self.disk.crash(f"{self.folder}/{self.number}", self.rng, power=self.rng.random() < 0.6)

    async def one(self, machine: Machine, method: str, key: str | None) -> object:
        future: asyncio.Future[object] = machine.loop.create_future()

        def answer(_call: Call, result: object) -> None:
            if not future.done():
                if isinstance(result, PerdureError):
                    future.set_exception(result)
                else:
                    future.set_result(unpack(result))

        call = Call(KEY.unique, KEY.id_from_name("a"), "a", RPC, method, pack([]), answer)
        call.key = key if self.keyed else None
        machine.residents.deliver(call)
        return await machine.done(future)

    async def add(self, machine: Machine, key: str) -> None:
        try:
            found = await self.one(machine, "add", key)
        except PerdureError:
            assert self.after is not None, "before the cut nothing fails"
            return
        if self.after is None:
            known = self.answers.setdefault(key, found)
            assert known == found, f"{key} was answered with {known}, now with {found}"

    async def phase(self, cut: bool) -> None:
        self.after = None
        if cut:
            self.disk.cut_at = self.disk.events + self.rng.randrange(1, 120)
            self.disk.on_cut = self.crash
        machine = Machine(self.disk, self.number + 1, LIMITS, self.rng, cls=Count)
        try:
            open_keys = [key for key in self.keys if key not in self.answers]
            repeats = self.rng.sample(sorted(self.answers), min(len(self.answers), 4)) if self.keyed else []
            new = [f"{self.number}.{count}" for count in range(NEW_KEYS)]
            work = [*open_keys, *repeats, *new]
            while work and self.after is None:
                group, work = work[:3], work[3:]
                self.keys += [key for key in group if key not in self.keys]
                await asyncio.gather(*[self.add(machine, key) for key in group])
                await machine.done(machine.tick(self.rng))
            if not cut:
                value = await self.one(machine, "value", None)
                assert value == len(self.keys) == len(self.answers), f"{value} for {len(self.keys)} keys"
                assert sorted(self.answers.values()) == list(range(1, len(self.keys) + 1))
        except (PerdureError, OSError, Stopped):
            assert self.after is not None
        if self.after is None:
            self.crash()
        machine.abandon()
        shutil.rmtree(self.disk.root)
        self.disk.close_vfs()
        self.disk = self.after


async def tell(seed: int, folder: str, keyed: bool = True) -> None:
    story = Story(seed, folder, keyed)
    try:
        for _ in range(PHASES):
            await story.phase(cut=True)
        await story.phase(cut=False)
    finally:
        story.disk.close_vfs()


@pytest.mark.parametrize("block", range(2))
def test_every_key_counts_once_over_power_cuts(tmp_path, block: int) -> None:
    for seed in range(block * 12, block * 12 + 12):
        folder = tmp_path / str(seed)
        folder.mkdir()
        virtual.run(tell(seed, str(folder)))


def test_without_keys_repeats_are_caught(tmp_path) -> None:
    for seed in range(24):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            virtual.run(tell(seed, str(folder), keyed=False))
        except AssertionError:
            return
    pytest.fail("no seed has counted twice: the check shows nothing")
