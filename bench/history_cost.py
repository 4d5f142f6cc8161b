"""What history costs: bytes on the disk for each commit by kind of write, how fast commits are folded, how long a restore takes.

Bytes of the log and of history are read from the files that a killed runtime left; bytes of the disk are what the kernel counted
for the shard, with everything in them that a commit makes it write.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import perdure
import uvloop
from perdure.engine.database import PAGE
from perdure.engine.disk import LocalDisk
from perdure.sdk.program import load
from perdure.shards.archivist import Archivist
from perdure.shards.records import COMMIT, PART
from perdure.shards.segment import SegmentReader

from .report import Row
from .running import PROGRAM, Runtime, written_bytes
from .stalls import make_source

_KEYS = 1_000
_USERS = 64
NAMES = ("history_counter", "history_kv_1_KB", "history_sql_insert", "history_fold", "restore_10_MB", "restore_100_MB")


@dataclass(slots=True)
class Kind:
    """One kind of write: `payload_bytes` are what the program gave, for each commit."""

    name: str
    payload_bytes: int
    commits: int = 0
    images: int = 0
    log_bytes: int = 0
    disk_bytes: int = 0
    ids: set[bytes] = field(default_factory=set[bytes])


def _kinds() -> dict[str, Kind]:
    found = (Kind("history_counter", 8), Kind("history_kv_1_KB", 1_024), Kind("history_sql_insert", 24))
    return {kind.name: kind for kind in found}


class Writes:
    """The writes of one run."""

    def __init__(self, runtime: Runtime, client: perdure.Client, commits: int) -> None:
        self._shard = runtime.pids("shard")[0]
        self._client = client
        self._commits = commits
        self.kinds = _kinds()
        self.rate = 0.0

    async def run(self) -> None:
        """Each kind alone, a call after the other; then counters as fast as they go."""
        counters = self._client.namespace("Probe")
        writers = self._client.namespace("Writer")
        counter, values, rows = counters.getByName("one"), writers.getByName("values"), writers.getByName("rows")
        await rows.insert(1)
        await values.put("key 0", 1_024)
        await self._one("history_counter", counters.idFromName("one"), lambda _: counter.increment())
        put = lambda number: values.put(f"key {number * 7919 % _KEYS}", 1_024)  # noqa: E731
        await self._one("history_kv_1_KB", writers.idFromName("values"), put)
        await self._one("history_sql_insert", writers.idFromName("rows"), lambda _: rows.insert(1))
        await self._together()

    async def _one(self, name: str, object_id: object, write: Callable[[int], Awaitable[object]]) -> None:
        kind = self.kinds[name]
        kind.ids.add(bytes.fromhex(str(object_id)))
        before = written_bytes(self._shard)
        for number in range(self._commits):
            await write(number)
        kind.disk_bytes = (written_bytes(self._shard) - before) // self._commits

    async def _together(self) -> None:
        counters = self._client.namespace("Probe")
        count = self._commits * 4

        async def user(number: int) -> None:
            counter = counters.getByName(f"together {number}")
            for _ in range(count // _USERS):
                await counter.increment()

        began = time.perf_counter()
        await asyncio.gather(*[user(number) for number in range(_USERS)])
        self.rate = count / (time.perf_counter() - began)


def _segments(runtime: Runtime) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    for session in sorted(os.listdir(f"{runtime.data}/log")):
        folder = f"{runtime.data}/log/{session}"
        names = sorted(name for name in os.listdir(folder) if name.endswith(".segment"))
        found += [(f"{folder}/{name}", session, int(name.split(".")[0])) for name in names]
    return found


def _count_log(kinds: dict[str, Kind], segments: list[tuple[str, str, int]]) -> None:
    for path, session, number in segments:
        reader = SegmentReader(LocalDisk(), path, session, number)
        try:
            if reader.header() is None:  # made ahead of time
                continue
            for header, heads, _ in reader.batches(None):
                commits = [head for head in heads if head.kind in (COMMIT, PART)]
                kind = next((k for k in kinds.values() if commits and commits[0].object_id in k.ids), None)
                if kind is not None:
                    kind.commits += len(commits)
                    kind.images += sum(len(head.pages) for head in commits)
                    kind.log_bytes += header.length
        finally:
            reader.close()


def _fold(folder: str, segments: list[tuple[str, str, int]], kinds: dict[str, Kind], rate: float) -> list[Row]:
    """Fold everything in this process, as the archivist does."""
    archivist = Archivist(LocalDisk(), folder)
    commits, began = 0, time.perf_counter()
    for path, session, number in segments:
        reader = SegmentReader(LocalDisk(), path, session, number)
        empty = reader.header() is None
        reader.close()
        if not empty:
            job = {"kind": "fold", "path": path, "session": session, "number": number, "end": None, "index_at": 0}
            bounds = [30, 64 << 20, 8 << 30]
            found = archivist.work(
                {**job, "groups": list(range(64)), "bounds": bounds, "now_ms": int(time.time() * 1000)}
            )
            commits += int(str(found["commits"]))
    folds = commits / (time.perf_counter() - began)
    rows = [_cost(kind, archivist) for kind in kinds.values()]
    archivist.close()
    return [*rows, Row("history_fold", None, round(rate), round(folds), round(folds / rate, 3), "/s")]


def _cost(kind: Kind, archivist: Archivist) -> Row:
    kept = 0
    for object_id in kind.ids:
        kept += int(str(archivist.work({"kind": "moments", "object": object_id.hex(), "limit": 1})["bytes"]))
    each = max(kind.commits, 1)
    history, log = round(kept / each), round(kind.log_bytes / each)
    details = {
        "image_bytes": float(round(kind.images * PAGE / each)),
        "log_bytes": float(log),
        "disk_bytes": float(kind.disk_bytes),
        "amplification": round((kind.disk_bytes + history) / kind.payload_bytes, 1),
    }
    return Row(
        kind.name, None, kind.payload_bytes, history, round(kind.payload_bytes / max(history, 1), 3), "B", details
    )


def costs(folder: str | None, *, quick: bool) -> list[Row]:
    """Bytes by kind of write, and how fast they are folded."""
    limits = {"log_bytes_max": 1 << 30, "log_page_images_max": 4 << 20}

    async def run(runtime: Runtime) -> Writes:
        async with perdure.connect(runtime.address) as client:
            writes = Writes(runtime, client, 300 if quick else 5_000)
            await writes.run()
            return writes

    with Runtime(folder, limits) as runtime:
        print("bench: history", file=sys.stderr)
        runtime.serve()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            writes = runner.run(run(runtime))
        runtime.kill()
        segments = _segments(runtime)
        _count_log(writes.kinds, segments)
        return _fold(f"{runtime.folder}/history", segments, writes.kinds, writes.rate)


def _copy(source: str, target: str) -> float:
    """Seconds for a copy that is durable."""
    began = time.perf_counter()
    with open(source, "rb") as read, open(target, "wb") as write:
        while data := read.read(1 << 20):
            write.write(data)
        write.flush()
        os.fdatasync(write.fileno())
    return time.perf_counter() - began


async def _restore(runtime: Runtime, mebibytes: int) -> Row:
    name, source = f"restore_{mebibytes}_MB", f"{runtime.folder}/{mebibytes}.sqlite"
    print(f"bench: {name}", file=sys.stderr)
    make_source(source, mebibytes)
    copied = _copy(source, f"{runtime.folder}/copied.sqlite")
    class_key = load(PROGRAM, None).keys()["Writer"]
    async with perdure.connect(runtime.address) as client:
        writers = client.namespace("Writer")
        object_id = bytes.fromhex(str(writers.idFromName(name)))
        await client.operate(object_id, "import", class_key=class_key, path=source, name=name, deadline_s=120)
        writer = writers.getByName(name)
        await writer.insert(10)
        bookmark = await writer.bookmark()
        await writer.insert(5)
        began = time.perf_counter()
        await client.operate(object_id, "restore", class_key=class_key, at=bookmark, name=name, deadline_s=120)
        took = time.perf_counter() - began
        assert (await writer.state())[1] == 10, "the restored state"
    return Row(name, None, round(copied, 3), round(took, 3), round(copied / took, 3), "s")


def restores(sizes: list[int], folder: str | None) -> list[Row]:
    """Seconds to bring back an object of that many MB, beside a durable copy of its file."""
    with Runtime(folder) as runtime:
        runtime.serve()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return [runner.run(_restore(runtime, size)) for size in sizes]


def measure(names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """The rows of those names, and what is measured with them."""
    rows: list[Row] = []
    if any(name.startswith("history") for name in names):
        rows += costs(folder, quick=quick)
    sizes = [size for size in (10, 100) if f"restore_{size}_MB" in names and not (quick and size > 10)]
    return rows + (restores(sizes, folder) if sizes else [])


if __name__ == "__main__":
    from .report import show

    show(measure(list(NAMES), None, quick="--quick" in sys.argv))
