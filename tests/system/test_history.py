"""The past on a real runtime: restores over kills and numbers of shards, bounds, and deletions that leave no trace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import perdure
import pytest
from perdure.engine.errors import HistoryGone, PerdureError, ShardLost

from .runtime import PERDURE, Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
import os
from workers import DurableObject

class Room(DurableObject):
    async def write(self, value, size=0):
        await self.ctx.storage.put("value", value)
        sql = self.ctx.storage.sql
        sql.exec("create table if not exists said(id integer primary key, value, filling)")
        sql.exec("insert or replace into said values(?, ?, ?)", len(str(value)), value, os.urandom(size))
        return await self.ctx.storage.getCurrentBookmark()

    async def read(self):
        return await self.ctx.storage.get("value")

    async def at(self, ms):
        return await self.ctx.storage.getBookmarkForTime(ms)

    async def ask(self, bookmark):
        return await self.ctx.storage.onNextSessionRestoreBookmark(bookmark)

    async def begin_anew(self):
        self.ctx.abort("as asked")

    async def wipe(self):
        await self.ctx.storage.deleteAll()

class Brief(Room):
    pass
"""
SECRET = "Wer nur den lieben Gott laesst walten"
LIMITS = """
[limits]
segment_bytes = 262_144
log_live_objects_max = 1
idle_hibernate_ms = 300
"""


@pytest.fixture
def program(tmp_path) -> str:
    (tmp_path / "perdure.toml").write_text(LIMITS)
    path = tmp_path / "past.py"
    path.write_text(PROGRAM)
    return str(path)


@contextlib.contextmanager
def start(program: str, shards: int = 1) -> Iterator[Runtime]:
    """Serve it, with a client."""
    folder = os.path.dirname(program)
    flags = ("--shards", str(shards), "--config", f"{folder}/perdure.toml")
    with serving(program, f"{folder}/data", *flags) as runtime, perdure.connect_blocking(runtime.address) as client:
        runtime.client = client  # type: ignore[attr-defined]
        yield runtime


def ask(runtime: Runtime, method: str, *arguments: object, name: str = "a", kind: str = "Room"):
    """One call; again while its shard is restarted."""
    for _ in range(100):
        try:
            return getattr(runtime.client.namespace(kind).getByName(name), method)(*arguments)  # type: ignore[attr-defined]
        except ShardLost:
            time.sleep(0.05)
    raise AssertionError("the shard does not come back")


def restored(runtime: Runtime, bookmark: str, **where: str) -> str:
    undo = ask(runtime, "ask", bookmark, **where)
    with pytest.raises(PerdureError, match="as asked"):
        ask(runtime, "begin_anew", **where)
    return undo


def fill(runtime: Runtime, count: int, name: str = "filler") -> list[str]:
    """Write until segments roll and go."""
    return [ask(runtime, "write", number, 60_000, name=name) for number in range(count)]


def command(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    line = [PERDURE, "objects", *words, "--data", runtime.data]
    return subprocess.run(line, check=True, capture_output=True, text=True)


def until(condition, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.1)


def segments(runtime: Runtime) -> set[str]:
    return {
        f"{path}/{name}"
        for path, _, names in os.walk(f"{runtime.data}/log")
        for name in names
        if name.endswith(".segment")
    }


def files_with(folder: str, text: str) -> list[str]:
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                with open(f"{path}/{name}", "rb") as file:
                    if text.encode() in file.read():
                        found.append(f"{path}/{name}")
            except (FileNotFoundError, OSError):  # sockets; what is being deleted
                continue
    return found


def test_restores_over_kills_and_numbers_of_shards(program: str) -> None:
    names = [f"n{number}" for number in range(4)]
    with start(program, 1) as runtime:
        first = {name: ask(runtime, "write", "one", name=name) for name in names}
        time.sleep(0.05)
        between = time.time() * 1000
        time.sleep(0.05)
        marks = {name: ask(runtime, "write", "two", name=name) for name in names}
        assert all(first[name] < marks[name] for name in names)
        assert ask(runtime, "at", between, name="n0") > first["n0"]
        undo = restored(runtime, ask(runtime, "at", between, name="n0"), name="n0")
        assert ask(runtime, "read", name="n0") == "one"
        restored(runtime, undo, name="n0")
        assert ask(runtime, "read", name="n0") == "two"
        asked = ask(runtime, "ask", first["n1"], name="n1")
        (shard,) = runtime.pids("shard")
        os.kill(shard, signal.SIGKILL)
        assert ask(runtime, "read", name="n1") == "one", "asked for before the kill, done after it"
        restored(runtime, asked, name="n1")
        assert ask(runtime, "read", name="n1") == "two"
        before = segments(runtime)
        fill(runtime, 30)
        until(lambda: not before & segments(runtime))  # what was written so far is in history only
        ask(runtime, "ask", first["n2"], name="n2")
        runtime.kill()
    with start(program, 3) as runtime:
        assert ask(runtime, "read", name="n2") == "one"
        for name in names:
            restored(runtime, first[name], name=name)
            assert ask(runtime, "read", name=name) == "one"
        later = {name: ask(runtime, "write", "three", name=name) for name in names}
        assert all(marks[name] < later[name] for name in names)
        runtime.kill()  # history folds what the dead logs leave
    with start(program, 2) as runtime:
        for name in names:
            assert ask(runtime, "read", name=name) == "three"
            restored(runtime, marks[name], name=name)
            assert ask(runtime, "read", name=name) == "two"
            restored(runtime, later[name], name=name)
            assert ask(runtime, "read", name=name) == "three"
        assert runtime.stop() == 0


def test_the_bound_of_the_folder_thins_history(program: str) -> None:
    folder = os.path.dirname(program)
    with open(f"{folder}/perdure.toml", "a") as file:
        file.write("history_bytes_max = 1_048_576\n")
    with start(program) as runtime:
        marks = fill(runtime, 60, name="big")

        def gone() -> bool:
            fill(runtime, 8)
            try:
                ask(runtime, "ask", marks[0], name="big")
            except HistoryGone:
                return True
            return False

        until(gone)
        used = sum(os.stat(f"{runtime.data}/history/{name}").st_size for name in os.listdir(f"{runtime.data}/history"))
        assert used < 12 << 20, "of more than 5 MB an object that would be kept"
        assert ask(runtime, "read", name="big") == 59


def test_bounds_of_a_class_that_the_program_has_not(program: str) -> None:
    folder = os.path.dirname(program)
    with open(f"{folder}/perdure.toml", "a") as file:
        file.write("[classes.Breif]\nhistory_days = 7\n")
    done = subprocess.run(
        [PERDURE, "run", program, "--port", "0", "--data", f"{folder}/data", "--config", f"{folder}/perdure.toml"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "the program has no class 'Breif'" in done.stderr
    assert "did you mean Brief?" in done.stderr


def test_bytes_of_an_object_by_class(program: str) -> None:
    folder = os.path.dirname(program)
    with open(f"{folder}/perdure.toml", "a") as file:
        file.write("[classes.Brief]\nobject_bytes_max = 100_000\n")
    with start(program) as runtime:
        ask(runtime, "write", "large", 300_000)
        with pytest.raises(PerdureError, match="database or disk is full"):
            ask(runtime, "write", "large", 300_000, kind="Brief")
        ask(runtime, "write", "small", 10_000, kind="Brief")
        assert ask(runtime, "read", kind="Brief") == "small"


def test_a_deletion_leaves_no_trace(program: str) -> None:
    with start(program) as runtime:
        ask(runtime, "write", SECRET, name=f"deleted {SECRET}")
        mark = ask(runtime, "write", SECRET, name="wiped")
        ask(runtime, "write", SECRET, name="lives")
        before = segments(runtime)
        fill(runtime, 30)
        until(lambda: not before & segments(runtime))
        assert command(runtime, "restore", "Room/lives", "--at", ask(runtime, "write", SECRET, name="lives")).stdout
        assert {path.removeprefix(runtime.data).split("/")[1] for path in files_with(runtime.data, SECRET)} >= {
            "objects"
        }

        ask(runtime, "wipe", name="wiped")
        until(lambda: "wiped" not in command(runtime, "list", "Room").stdout)
        wiped = perdure.engine.ids.ClassKey("past-Room").id_from_name("wiped").hex()
        assert [path for path in files_with(f"{runtime.data}/objects", SECRET) if wiped in path] == []
        restored(runtime, mark, name="wiped")
        assert ask(runtime, "read", name="wiped") == SECRET, "its past is kept"

        for name in (f"deleted {SECRET}", "wiped", "lives"):
            command(runtime, "delete", f"Room/{name}", "--yes")
        before = segments(runtime)
        fill(runtime, 30)
        until(lambda: not before & segments(runtime))
        until(lambda: files_with(runtime.data, SECRET) == [], 5.0)
        with pytest.raises(HistoryGone):
            ask(runtime, "ask", mark, name="wiped")
