"""kill -9 of a shard, and of its archivist, in the middle of everything that changes much: before or after, never half."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Awaitable
from pathlib import Path

import pytest
from perdure.engine.errors import PerdureError

from ..system.load import Ledger
from ..system.runtime import serving
from .scene import Scene, State, expected, scene, write_program

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
NAME = "large"


class Kind:
    """One kind of operation. Its object goes from the state `before` to `after`, or to none of both."""

    def __init__(self, place: Scene, folder: Path, rows: int) -> None:
        self.place, self.folder, self.rows = place, folder, rows
        self.version = 0
        self.name = NAME
        self.before: State = []
        self.after: State = []

    async def fill(self, rows: int | None = None) -> State:
        self.version += 1
        rows = self.rows if rows is None else rows
        await self.place.stub(self.name).fill(self.version, rows)
        return expected(self.version, rows)

    async def prepare(self) -> None:
        """Acknowledged: `before`."""
        self.before = self.after = await self.fill()

    def act(self) -> Awaitable[object]:
        """What is killed."""
        raise NotImplementedError

    async def check(self, acknowledged: bool) -> None:
        found = await self.place.state(self.name)
        assert found in ([self.after] if acknowledged else [self.before, self.after])


class Transaction(Kind):
    """One large transaction."""

    async def prepare(self) -> None:
        self.before = await self.fill()
        self.after = expected(self.version + 1, self.rows)

    def act(self) -> Awaitable[object]:
        return self.fill()


class Checkpoint(Kind):
    """The large -wal of an acknowledged transaction is folded into the file."""

    def act(self) -> Awaitable[object]:
        return asyncio.sleep(0.3)


class DeleteAll(Kind):
    async def prepare(self) -> None:
        self.before = await self.fill()
        self.after = expected(None, 0)

    def act(self) -> Awaitable[object]:
        return self.place.stub(self.name).wipe()


class Vacuum(Kind):
    """Of a file that is mostly free pages."""

    async def prepare(self) -> None:
        await self.fill()
        self.before = self.after = await self.fill(self.rows // 3)

    def act(self) -> Awaitable[object]:
        return self.place.operate(self.name, "vacuum")


class RestoreByProgram(Kind):
    """A bookmark, abort, and the next start."""

    async def prepare(self) -> None:
        self.after = await self.fill()
        self.bookmark = await self.place.stub(self.name).bookmark()
        self.before = await self.fill()

    async def act(self) -> None:
        try:
            await self.place.stub(self.name).back(self.bookmark)
        except PerdureError as error:
            if "as asked" not in error.message:
                raise
        await self.place.stub(self.name).state()


class Restore(RestoreByProgram):
    """`perdure objects restore`."""

    async def act(self) -> None:
        await self.place.operate(self.name, "restore", at=self.bookmark)


class Import(Kind):
    """A new object."""

    replace = False
    imported: State | None = None

    async def prepare(self) -> None:
        self.name, self.source = NAME, str(self.folder / "source.sqlite")
        if self.imported is None:
            self.imported = await self.fill()
            await self.place.export(NAME, self.source)
        self.version += 1
        self.name = f"new{self.version}"
        self.before, self.after = expected(None, 0), self.imported

    async def act(self) -> None:
        await self.place.operate(self.name, "import", path=self.source, name=self.name, replace=self.replace)


class ImportReplacing(Import):
    replace = True

    async def prepare(self) -> None:
        await super().prepare()
        self.name = NAME
        self.before = await self.fill()


class Export(Kind):
    async def prepare(self) -> None:
        await super().prepare()
        self.path = str(self.folder / f"export{self.version}.sqlite")

    async def act(self) -> None:
        await self.place.operate(self.name, "export", path=self.path)

    async def check(self, acknowledged: bool) -> None:
        await super().check(acknowledged)
        if acknowledged:
            with sqlite3.connect(self.path) as connection:
                assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
                assert connection.execute("select count(*) from t").fetchall() == [(self.rows,)]
            connection.close()


async def perform(kind: Kind, what: str, kills: int, rng: random.Random) -> int:
    """Kill in the middle again and again; how many operations ended before."""
    place, acknowledged = kind.place, 0
    await kind.prepare()
    began = time.monotonic()
    await kind.act()
    took = time.monotonic() - began
    await kind.check(acknowledged=True)
    for _ in range(kills):
        await kind.prepare()
        task = asyncio.ensure_future(kind.act())
        await asyncio.sleep(rng.uniform(0, took * 1.1))
        place.kill(what)
        await place.back()
        try:
            await task
            done = True
        except PerdureError:
            done = False
        acknowledged += done
        await kind.check(done)
    return acknowledged


def left_over(data: str) -> list[str]:
    """Files that were made to replace others and did not."""
    return [f"{folder}/{name}" for folder, _, names in os.walk(data) for name in names if name.endswith(".new")]


def run(kind: type[Kind], tmp_path: Path, kills: int, mib: int, what: str = "shard", seed: int = 1) -> None:
    program, config = write_program(tmp_path)
    data = str(tmp_path / "data")

    async def body(place: Scene) -> None:
        found = kind(place, tmp_path, mib * 16)
        print(kind.__name__, what, await perform(found, what, kills, random.Random(seed)), "of", kills, "were done")
        await found.check(acknowledged=False)

    async def whole() -> None:
        async with scene(runtime) as place:
            await body(place)

    with serving(program, data, "--shards", "1", "--config", config) as runtime:
        asyncio.run(whole())
        assert runtime.stop() == 0, runtime.text()[-3000:]
    assert not left_over(data)
    for folder, _, names in os.walk(f"{data}/objects"):
        for name in names:
            connection = sqlite3.connect(f"{folder}/{name}")
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
            connection.close()


SHARD = [Transaction, Checkpoint, DeleteAll, Vacuum, RestoreByProgram, Restore, Import, ImportReplacing, Export]
ARCHIVIST = [Vacuum, RestoreByProgram, Restore, Import, ImportReplacing, Export]


def _id(kind: type[Kind]) -> str:
    return kind.__name__


@pytest.mark.parametrize("kind", SHARD, ids=_id)
def test_a_shard_is_killed_during(tmp_path, kind: type[Kind]) -> None:
    run(kind, tmp_path, 3, 20 if kind is Transaction else 8)


@pytest.mark.parametrize("kind", ARCHIVIST, ids=_id)
def test_the_archivist_is_killed_during(tmp_path, kind: type[Kind]) -> None:
    run(kind, tmp_path, 3, 8, "archivist")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", SHARD, ids=_id)
def test_long_a_shard_is_killed_thirty_times_during(tmp_path, kind: type[Kind]) -> None:
    run(kind, tmp_path, 30, 100 if kind is Transaction else 20, seed=2)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ARCHIVIST, ids=_id)
def test_long_the_archivist_is_killed_thirty_times_during(tmp_path, kind: type[Kind]) -> None:
    run(kind, tmp_path, 30, 20, "archivist", seed=2)


def rotation(tmp_path: Path, what: str, kills: int, seed: int) -> None:
    """Small segments under load: a new one every few milliseconds, folded and dropped by marks that hurry."""
    limits = "log_bytes_max = 4194304\nlog_page_images_max = 4000\n"
    program, config = write_program(tmp_path, limits)
    data, rng = str(tmp_path / "data"), random.Random(seed)
    ledger = Ledger(20)

    async def body() -> None:
        async with scene(runtime) as place:
            stop = asyncio.Event()

            async def user(number: int) -> None:
                mine = random.Random(number)
                while not stop.is_set():
                    name = mine.choice(ledger.names)
                    ledger.sent[name] += 1
                    try:
                        await place.stub(name).increment()
                        ledger.acked[name] += 1
                    except PerdureError:
                        pass

            users = [asyncio.create_task(user(number)) for number in range(32)]
            for _ in range(kills):
                await asyncio.sleep(rng.uniform(0.2, 0.8))
                place.kill(what)
                await place.back()
            stop.set()
            await asyncio.gather(*users)
            for name in ledger.names:
                assert ledger.acked[name] <= await place.stub(name).value() <= ledger.sent[name]

    with serving(program, data, "--shards", "1", "--config", config) as runtime:
        asyncio.run(body())
        assert runtime.stop() == 0, runtime.text()[-3000:]


@pytest.mark.parametrize("what", ["shard", "archivist"])
def test_killed_during_log_rotation_under_load(tmp_path, what: str) -> None:
    rotation(tmp_path, what, 5, 1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["shard", "archivist"])
def test_long_killed_thirty_times_during_log_rotation(tmp_path, what: str) -> None:
    rotation(tmp_path, what, 30, 2)
