"""A reload under load: ten generations of code in a row, every request counted, none may fail."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field

import perdure
from perdure.cli.door import ask
from perdure.engine.errors import PerdureError

from .report import Row
from .running import Runtime

NAMES = ("reload", "reload_p99")
P99_MS_MAX = 500.0
GENERATIONS = 10
_HTTP_USERS = 64
_EMBEDDED_USERS = 16
_OBJECTS = 40
_BEFORE_S = 0.25
_PROGRAM = """
from workers import DurableObject, Response, WorkerEntrypoint

VERSION = {version}


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return [VERSION, value]

    async def value(self):
        return await self.ctx.storage.get("value") or 0


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        counter = self.env.Counter.getByName(request.url.rsplit("/", 1)[1])
        version, value = await counter.increment()
        return Response(f"{{version}} {{value}}")
"""


@dataclass
class Seen:
    """What the users saw. Latencies in seconds, of requests that were under way during a hand-off."""

    sent: int = 0
    failed: int = 0
    versions: set[int] = field(default_factory=set)
    acked: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    reloading: bool = False
    first_error: str = ""

    def note(self, began: float, name: str, version: int) -> None:
        self.versions.add(version)
        self.acked[name] = self.acked.get(name, 0) + 1
        if self.reloading:
            self.latencies.append(time.perf_counter() - began)

    def fail(self, error: object) -> None:
        self.failed += 1
        self.first_error = self.first_error or repr(error)


async def _http_user(seen: Seen, port: int, number: int, stop: asyncio.Event) -> None:
    """One connection, kept as long as the server keeps it."""
    reader = writer = None
    while not stop.is_set():
        name, began = f"o{number % _OBJECTS}", time.perf_counter()
        seen.sent += 1
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert reader is not None, "they come together"
            writer.write(f"POST /{name} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise ValueError(head.split(b"\r\n")[0] + body)
            seen.note(began, name, int(body.split()[0]))
            if b"connection: close" in head.lower():
                writer.close()
                writer = None
        except (OSError, EOFError, ValueError, IndexError) as error:
            seen.fail(error)
            writer = None
    if writer is not None:
        writer.close()


async def _embedded_user(seen: Seen, client: perdure.Client, number: int, stop: asyncio.Event) -> None:
    counter = client.namespace("Counter").getByName(f"o{number % _OBJECTS}")
    while not stop.is_set():
        began = time.perf_counter()
        seen.sent += 1
        try:
            version, _ = await counter.increment()
            seen.note(began, f"o{number % _OBJECTS}", version)
        except PerdureError as error:
            seen.fail(error)


async def _run(runtime: Runtime, program: str, generations: int) -> tuple[Seen, list[int]]:
    seen, pauses, stop = Seen(), [], asyncio.Event()
    port = int(runtime.url.rsplit(":", 1)[1])

    def reload() -> None:
        pauses.extend(int(m["pause_ms"]) for m in ask(runtime.data, "reload") if "pause_ms" in m)  # type: ignore[call-overload]

    async with perdure.connect(runtime.address) as client:
        users = [asyncio.create_task(_http_user(seen, port, number, stop)) for number in range(_HTTP_USERS)]
        users += [asyncio.create_task(_embedded_user(seen, client, n, stop)) for n in range(_EMBEDDED_USERS)]
        for generation in range(2, generations + 2):
            await asyncio.sleep(_BEFORE_S)
            _write(program, generation)
            seen.reloading = True
            await asyncio.to_thread(reload)
            seen.reloading = False
        stop.set()
        await asyncio.gather(*users)
        counters = client.namespace("Counter")
        for name, acked in seen.acked.items():
            if await counters.getByName(name).value() != acked:
                seen.fail(f"{name}: lost or doubled")
    if seen.versions != set(range(1, generations + 2)):
        seen.fail(f"answers came from the generations {sorted(seen.versions)}")
    return seen, pauses


def _write(program: str, version: int) -> None:
    with open(f"{program}.new", "w") as file:
        file.write(_PROGRAM.format(version=version))
    os.rename(f"{program}.new", program)


def measure(_names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """Both rows come from one run."""
    generations = 2 if quick else GENERATIONS
    with Runtime(folder) as runtime:
        program = f"{runtime.folder}/reloaded.py"
        _write(program, 1)
        runtime.serve(program, shards=2)
        seen, pauses = asyncio.run(_run(runtime, program, generations))
        runtime.stop()
    if seen.first_error:
        print(f"bench: {seen.failed} failed, the first: {seen.first_error}", file=sys.stderr)
    latencies = sorted(seen.latencies)
    p99_ms = round(latencies[len(latencies) * 99 // 100] * 1e3, 1)
    pauses.sort()
    more = {"generations": float(generations), "pause_ms_median": float(pauses[len(pauses) // 2])}
    more |= {"pause_ms_max": float(pauses[-1]), "longest_ms": round(latencies[-1] * 1e3, 1)}
    ratio = 1.0 if seen.failed == 0 else 0.0
    return [
        Row(
            NAMES[0],
            1.0,
            float(seen.sent),
            float(seen.sent - seen.failed),
            ratio,
            "requests",
            {"failed": float(seen.failed), "p99_ms": p99_ms},
        ),
        Row(NAMES[1], 1.0, P99_MS_MAX, p99_ms, round(P99_MS_MAX / p99_ms, 3), "ms", more),
    ]
