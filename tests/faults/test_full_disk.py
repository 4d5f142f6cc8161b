"""A disk that is really full, during everything that needs room: typed errors, reads go on, nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import sqlite3
import subprocess
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from perdure.engine.errors import PerdureError, StorageFull

from ..system.runtime import Runtime, serving
from .scene import Scene, expected, scene, write_program

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system"),
]
ROWS = 128
"""8 MiB."""


@pytest.fixture
def small(tmp_path) -> Generator[Path]:
    """A file system of 160 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


class Filler:
    """Takes the room of a file system, but for some bytes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"
        self._folder = folder

    def fill(self, left: int = 0) -> None:
        """All but `left` bytes."""
        with open(self._path, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                found = os.statvfs(self._folder)
                room = found.f_bavail * found.f_frsize - left
                if room <= 0:
                    return
                file.write(bytes(min(room, 1 << 20)))

    def free(self) -> None:
        self._path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def stage(runtime: Runtime, small: Path) -> AsyncGenerator[tuple[Scene, Filler]]:
    """The object is at version 1, its -wal folded."""
    async with scene(runtime) as place:
        await place.stub("large").fill(1, ROWS)
        await place.operate("large", "export", path=str(small / "folded"))
        os.unlink(small / "folded")
        yield place, Filler(small)


@contextlib.contextmanager
def runtime_on(small: Path, tmp_path: Path, more: str = "") -> Generator[Runtime]:
    program, config = write_program(tmp_path, more)
    with serving(program, str(small / "data"), "--shards", "1", "--config", config) as runtime:
        yield runtime
        assert len([line for line in runtime.log if "stopped" in line]) == 0, runtime.text()[-3000:]
        assert runtime.stop() == 0, runtime.text()[-3000:]
    assert not glob.glob(f"{small}/data/**/*.new", recursive=True)
    for path in glob.glob(f"{small}/data/objects/*/*/*.sqlite"):
        connection = sqlite3.connect(path)
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        connection.close()


async def again(work, seconds: float = 10.0):
    """Writing goes on by itself when there is room."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await work()
        except PerdureError:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


def change(name: str, place: Scene, folder: Path):
    """What needs room, as a function that may be called again; and what the object's state is after it."""
    if name == "transaction":  # each with a stub of its own: one stays broken when the object was reset
        return lambda: place.stub("large").fill(2, ROWS * 2), expected(2, ROWS * 2)
    if name == "deleteAll":
        return lambda: place.stub("large").wipe(), expected(None, 0)
    if name == "vacuum":
        return lambda: place.operate("large", "vacuum"), expected(1, ROWS)
    if name == "export":
        return lambda: place.export("large", str(folder / "export")), expected(1, ROWS)
    if name == "restore":

        async def restore() -> None:
            await place.operate("large", "restore", at=place.bookmark)

        return restore, expected(3, ROWS)
    assert name == "import"
    return lambda: place.operate("large", "import", path=str(folder.parent / "source"), replace=True), expected(5, 32)


async def prepare(name: str, place: Scene, folder: Path) -> None:
    if name == "restore":
        await place.stub("large").fill(3, ROWS)
        place.bookmark = await place.stub("large").bookmark()
        await place.stub("large").fill(1, ROWS)
    if name == "import":
        await place.stub("source").fill(5, 32)
        await place.export("source", str(folder.parent / "source"))


@pytest.mark.parametrize("name", ["transaction", "deleteAll", "vacuum", "export", "import", "restore"])
def test_full_during(tmp_path, small: Path, name: str) -> None:
    async def body(runtime: Runtime) -> None:
        async with stage(runtime, small) as (place, filler):
            await prepare(name, place, small)
            act, after = change(name, place, small)
            await asyncio.sleep(1)  # what is being folded takes its room before
            refused = 0
            for left in (0, 300_000, 3_000_000):
                filler.fill(left)
                try:
                    await act()
                except StorageFull as error:
                    refused += 1
                    assert "full" in error.message
                    assert await place.stub("large").state() == expected(1, ROWS), "unchanged, and answers"
                    assert "export" not in os.listdir(small)
                else:
                    break
                filler.free()
            assert refused or name == "deleteAll"  # which makes free pages of what it has
            filler.free()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(small / "export")
            await again(act)
            assert await place.stub("large").state() == after
            assert await place.stub("other").increment() == 1

    with runtime_on(small, tmp_path) as runtime:
        asyncio.run(body(runtime))


def test_full_during_a_checkpoint(tmp_path, small: Path) -> None:
    """There is room for the log and the -wal of a transaction, and not for its pages in the file."""

    async def body(runtime: Runtime) -> None:
        async with stage(runtime, small) as (place, filler):
            filler.fill(ROWS * 2 * 65536 * 2 + (14 << 20))
            rest = asyncio.ensure_future(place.stub("large").fill(2, ROWS * 3))
            refused = 0
            try:
                await rest
                state = expected(2, ROWS * 3)
            except StorageFull:
                refused, state = 1, expected(1, ROWS)
            filler.fill()
            for _ in range(20):
                assert await place.stub("large").state() == state
                await asyncio.sleep(0.1)
            filler.free()
            await again(lambda: place.stub("large").fill(3, ROWS))
            assert await place.stub("large").state() == expected(3, ROWS)
            print("refused" if refused else "committed")

    with runtime_on(small, tmp_path) as runtime:
        asyncio.run(body(runtime))


def test_history_goes_before_a_write_is_refused(tmp_path, small: Path) -> None:
    async def body(runtime: Runtime) -> None:
        async with stage(runtime, small) as (place, filler):
            for version in range(2, 6):
                await place.stub("large").fill(version, ROWS // 2)
            await place.operate("large", "history")  # folds
            history = glob.glob(f"{small}/data/history/*.sqlite")
            assert sum(map(os.path.getsize, history)) > 4 << 20
            filler.fill(700_000)  # for the object's own files, and too little for a segment
            end, number = time.monotonic() + 30, 0
            while not any("history_dropped" in line for line in runtime.log):
                number += 1
                assert await place.stub("other").increment() == number, "no write is refused"
                assert time.monotonic() < end, runtime.text()[-2000:]
            filler.free()

    with runtime_on(small, tmp_path, "wal_bytes_checkpoint = 65536\n") as runtime:
        asyncio.run(body(runtime))
