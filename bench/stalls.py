"""How long an object waits while another of its shard does something large.

Two users call two objects: `echo` shows when the loop of the shard stands still, `increment` also when the disk is busy. What
is counted is the longest time that a call waited inside the span of what goes on, less the time in which the threads that a
call passes through (main and network, the caller's and the shard's) could have run and had no processor: on a small machine
that is shared everybody waits for a turn on one. `as_seen_ms` is with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import apsw
import perdure
import uvloop
from perdure.sdk.program import load

from .report import Row
from .running import PROGRAM, Runtime, forget_memory_peak, memory_peak_kib

STALL_MS_MAX = 50.0
MEMORY_MIB_MAX = 400.0
_EVERY_S = 0.002
_DEADLINE_S = 400.0
NAMES = (
    "stall_idle",
    "stall_import",
    "stall_commit",
    "stall_checkpoint",
    "stall_fold",
    "stall_export",
    "stall_restore",
    "stall_vacuum",
    "memory_shard",
    "memory_archivist",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it."""

    object_mib: int
    commit_mib: int
    log_mib: int
    """The bound of the log: two of the commits are more than half of it."""


FULL = Size(2_048, 100, 256)
QUICK = Size(200, 20, 56)


@dataclass(frozen=True, slots=True)
class Span:
    """Something that went on, in seconds since the epoch."""

    name: str
    began_s: float
    ended_s: float


@dataclass(slots=True)
class Waits:
    """(from, to, seconds without a processor) of every call of a user, or of every wake-up of a clock."""

    found: list[tuple[float, float, float]] = field(default_factory=list[tuple[float, float, float]])

    def longest_ms(self, span: Span, *, as_seen: bool = False) -> float:
        """The longest part of one that lies inside."""
        inside = [
            min(end, span.ended_s) - max(start, span.began_s) - (0.0 if as_seen else starved)
            for start, end, starved in self.found
            if end > span.began_s and start < span.ended_s
        ]
        return max(inside, default=0.0) * 1e3


class Processor:
    """How long the main and network threads of some processes could have run and had no processor, since they began."""

    def __init__(self, pids: list[int]) -> None:
        self._fds = [
            os.open(f"/proc/{pid}/task/{thread}/schedstat", os.O_RDONLY)
            for pid in pids
            for thread in os.listdir(f"/proc/{pid}/task")
            if int(thread) == pid or _name(pid, thread).startswith("ZMQ")
        ]

    def waited_s(self) -> float:
        return sum(int(os.pread(fd, 100, 0).split()[1]) for fd in self._fds) / 1e9

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


class Users:
    """Calls that go on all the time."""

    def __init__(self, client: perdure.Client, shard: int) -> None:
        self._processor = Processor([shard, os.getpid()])
        self.loop, self.durable, self.clock = Waits(), Waits(), Waits()
        probes = client.namespace("Probe")
        self._echo, self._increment = probes.getByName("echo").echo, probes.getByName("durable").increment

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Users]:
        await self._echo()
        await self._increment()
        tasks = [
            asyncio.create_task(self._call(self.loop, self._echo)),
            asyncio.create_task(self._call(self.durable, self._increment)),
            asyncio.create_task(self._tick()),
        ]
        try:
            yield self
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._processor.close()

    async def _call(self, waits: Waits, method: object) -> None:
        while True:
            before, began = self._processor.waited_s(), time.time()
            await method()  # type: ignore[operator]
            ended = time.time()
            waits.found.append((began, ended, self._processor.waited_s() - before))
            await asyncio.sleep(max(began + _EVERY_S - ended, 0))

    async def _tick(self) -> None:
        """How late this process itself is."""
        while True:
            due = time.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.clock.found.append((due, time.time(), 0.0))


def _name(pid: int, thread: str) -> str:
    with open(f"/proc/{pid}/task/{thread}/comm") as file:
        return file.read()


def make_source(path: str, mebibytes: int) -> None:
    """A SQLite file of that size with the program's tables; every second kilobyte of it can be compressed."""
    connection = apsw.Connection(path)
    connection.execute(
        "pragma page_size=4096;pragma journal_mode=off;pragma synchronous=off;pragma locking_mode=exclusive;begin;"
        "create table blobs(id integer primary key, data blob);"
        "create table entries(id integer primary key, name text, amount integer)"
    ).fetchall()
    insert = "insert into blobs(data) values(?)"
    random, zeros = os.urandom(64 * 1024), bytes(2_000)
    for number in range(mebibytes * 256 + mebibytes * 6):
        at = number * 977 % 60_000
        connection.execute(insert, (random[at : at + 1_900] + zeros,))
    connection.execute("commit")
    connection.close()


def quick_check(path: str) -> tuple[str, int, int]:
    """SQLite's verdict on a file, its blobs and entries."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        verdict = str(connection.pragma("quick_check"))
        found = connection.execute("select (select count(*) from blobs), (select count(*) from entries)").fetchall()
        return verdict, int(str(found[0][0])), int(str(found[0][1]))
    finally:
        connection.close()


class Stalls:
    """One run: everything in turn, on one shard."""

    def __init__(self, runtime: Runtime, client: perdure.Client, size: Size) -> None:
        self._runtime, self._client, self._size = runtime, client, size
        self._namespace = client.namespace("Writer")
        self._class_key = load(PROGRAM, None).keys()["Writer"]
        self._large = self._namespace.idFromName("large")
        (self._shard,) = runtime.pids("shard")
        self._users = Users(client, self._shard)
        self.spans: list[Span] = []
        self.peaks: dict[str, float] = {}

    async def _during(self, name: str, work: Awaitable[object]) -> object:
        print(f"bench: stall_{name}", file=sys.stderr)
        began = time.time()
        found = await work
        self.spans.append(Span(name, began, time.time()))
        return found

    async def _operate(self, operation: str, **arguments: object) -> object:
        id_bytes = bytes.fromhex(str(self._large))
        return await self._client.operate(
            id_bytes, operation, deadline_s=_DEADLINE_S, class_key=self._class_key, **arguments
        )

    async def run(self) -> None:
        """Raises AssertionError when a result is wrong."""
        source, copy = f"{self._runtime.folder}/source.sqlite", f"{self._runtime.folder}/copy.sqlite"
        await asyncio.to_thread(make_source, source, self._size.object_mib)
        await asyncio.to_thread(_flush, self._runtime.folder)
        large = self._namespace.get(self._large)
        async with self._users.calling():
            await asyncio.sleep(0.5)
            await self._during("idle", asyncio.sleep(3))
            before = forget_memory_peak(self._shard)
            await self._during("import", self._operate("import", path=source, name="large"))
            await self._commit_and_fold()
            blobs, _ = await large.state()
            await large.insert(10)
            bookmark = await large.bookmark()
            await large.insert(5)
            await self._during("export", self._operate("export", path=copy))
            await self._during("restore", self._operate("restore", at=bookmark, name="large"))
            assert await large.state() == [blobs, 10], "the restored state"
            await self._during("vacuum", self._operate("vacuum", name="large"))
            assert await large.state() == [blobs, 10], "the state after vacuum"
            self.peaks["shard"] = (memory_peak_kib(self._shard) - before) / 1024
            self.peaks["archivist"] = max(memory_peak_kib(pid) for pid in self._runtime.pids("archivist")) / 1024
        assert await asyncio.to_thread(quick_check, copy) == ("ok", blobs, 15), "the exported file"

    async def _commit_and_fold(self) -> None:
        writer = self._namespace.getByName("writer")
        mebibytes = self._size.commit_mib
        for _ in range(2):
            print("bench: stall_commit", file=sys.stderr)
            ended = await writer.fill(mebibytes)
            replied = time.time()
            self.spans.append(Span("commit", ended, replied))
            await self._until(lambda: self._scratch_bytes() < (4 << 20))
            await asyncio.sleep(0.2)
            self.spans.append(Span("checkpoint", replied, time.time()))
        first = min(name for _, _, names in os.walk(f"{self._runtime.data}/log") for name in names if "segment" in name)
        await self._during("fold", self._until(lambda: not self._has_segment(first)))

    async def _until(self, true: object) -> None:
        end = time.monotonic() + 90
        while not true():  # type: ignore[operator]
            if time.monotonic() > end:
                raise TimeoutError("what was waited for did not happen")
            await asyncio.sleep(0.02)

    def _scratch_bytes(self) -> int:
        live = f"{self._runtime.data}/live"
        walls = [f"{path}/{name}" for path, _, names in os.walk(live) for name in names if name.endswith("-wal")]
        return sum(os.path.getsize(path) for path in walls if os.path.exists(path))

    def _has_segment(self, name: str) -> bool:
        return any(name in names for _, _, names in os.walk(f"{self._runtime.data}/log"))

    def rows(self) -> list[Row]:
        """One a kind of span, the worst of its spans counts; and the memory."""
        rows: list[Row] = []
        for name in dict.fromkeys(span.name for span in self.spans):
            spans = [span for span in self.spans if span.name == name]
            stall = round(max(self._users.loop.longest_ms(span) for span in spans), 1)
            details = {
                "as_seen_ms": round(max(self._users.loop.longest_ms(span, as_seen=True) for span in spans), 1),
                "durable_ms": round(max(self._users.durable.longest_ms(span) for span in spans), 1),
                "client_late_ms": round(max(self._users.clock.longest_ms(span) for span in spans), 1),
                "took_s": round(max(span.ended_s - span.began_s for span in spans), 2),
            }
            goal = None if name == "idle" else 1.0
            rows.append(
                Row(f"stall_{name}", goal, STALL_MS_MAX, stall, round(STALL_MS_MAX / max(stall, 0.1), 3), "ms", details)
            )
        for name, peak in self.peaks.items():
            ratio = round(MEMORY_MIB_MAX / max(peak, 1), 3)
            rows.append(Row(f"memory_{name}", 1.0, MEMORY_MIB_MAX, round(peak, 1), ratio, "MiB", {}))
        return rows


def _flush(folder: str) -> None:
    """What was written to make the input must not be written while it is measured."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.sync()
    finally:
        os.close(fd)


def measure(_names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """All rows of `NAMES`, in one run on a runtime of its own: they follow from each other."""
    size = QUICK if quick else FULL
    limits = {"log_bytes_max": size.log_mib << 20}
    if quick:
        limits["segment_bytes"] = 4 << 20

    async def run(runtime: Runtime) -> list[Row]:
        async with perdure.connect(runtime.address) as client:
            stalls = Stalls(runtime, client, size)
            await stalls.run()
            return stalls.rows()

    with Runtime(folder, limits) as runtime:
        runtime.serve()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(run(runtime))
        except Exception:
            print(runtime.said()[-4000:], file=sys.stderr)
            raise


if __name__ == "__main__":
    from .report import show

    show(measure([], None, quick="--quick" in sys.argv))
