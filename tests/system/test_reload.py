"""New code while everything serves: no request fails, none is lost or doubled, and who dies in the middle is recovered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import perdure
import pytest
from perdure.cli.door import ask
from perdure.router.control import Message

from .load import Ledger
from .runtime import Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

VERSION = 1


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value

    async def value(self):
        return await self.ctx.storage.get("value") or 0

    def version(self):
        return VERSION

    async def slow(self, seconds, then):
        await asyncio.sleep(seconds)
        if then == "storage":
            await self.ctx.storage.put("value", 1000)
        return VERSION

    async def through(self, other, seconds):
        '''Call the other object, which calls back into this one, after a while.'''
        stub = self.env.Counter.getByName(other)
        return await stub.back(self.ctx.id.name, seconds)

    async def back(self, first, seconds):
        await asyncio.sleep(seconds)
        return await self.env.Counter.getByName(first).increment()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.rsplit("/", 1)[1]
        counter = self.env.Counter.getByName(name)
        if request.method == "POST":
            body = await request.text()
            value = await counter.increment()
            return Response(f"{VERSION} {await counter.version()} {value} {len(body)}")
        return Response(f"{VERSION} {await counter.version()} {await counter.value()}")
"""


def write(program: Path, version: int, text: str = PROGRAM) -> None:
    program.write_text(text.replace("VERSION = 1", f"VERSION = {version}"))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    write(path, 1)
    return path


@pytest.fixture
def runtime(tmp_path: Path, program: Path) -> Iterator[Runtime]:
    with serving(str(program), str(tmp_path / "data"), "--shards", "2", "--gateways", "2") as found:
        yield found


def reload(runtime: Runtime) -> list[Message]:
    return list(ask(runtime.data, "reload"))


class HttpUsers:
    """Clients with keep-alive connections that count: what was answered, and by which code."""

    def __init__(self, url: str, users: int) -> None:
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.acked: dict[str, int] = {}
        self.versions: set[tuple[str, str]] = set()
        self.longest_s = 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(url, f"h{number}")) for number in range(users)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, name: str) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            while not self.stop.is_set():
                began = time.monotonic()
                try:
                    response = client.post(f"/{name}", content=b"x" * 100)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                took = time.monotonic() - began
                with self._lock:
                    self.longest_s = max(self.longest_s, took)
                    if response.status_code != 200:
                        self.failures.append(f"{response.status_code} {response.text}")
                        continue
                    worker, version, value, length = response.text.split()
                    assert length == "100"
                    self.versions.add((worker, version))
                    self.acked[name] = self.acked.get(name, 0) + 1
                    if int(value) != self.acked[name]:
                        self.failures.append(f"{name}: {value} answered, {self.acked[name]} expected")

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)


def test_a_reload_under_load_fails_no_request_and_loses_and_doubles_nothing(runtime: Runtime, program: Path) -> None:
    ledger = Ledger(12)
    told: list[Message] = []

    async def embedded() -> None:
        stop = asyncio.Event()
        async with perdure.connect(runtime.address) as client, perdure.connect(runtime.address, relay=True) as relayed:
            users = [
                asyncio.create_task(ledger.user(client if seed % 2 else relayed, stop, seed)) for seed in range(12)
            ]
            await asyncio.sleep(0.5)
            for version in (2, 3):
                write(program, version)
                told.extend(await asyncio.to_thread(reload, runtime))
                assert await client.namespace("Counter").getByName("a").version() == version
            stop.set()
            await asyncio.gather(*users)
        await ledger.check(runtime.address)

    http = HttpUsers(runtime.url, 8)
    try:
        asyncio.run(embedded())
    finally:
        http.end()
    assert http.failures == []
    assert ledger.errors == [], [str(error) for error in ledger.errors[:5]]
    assert ledger.acked == ledger.sent
    assert httpx.get(f"{runtime.url}/h0").text.startswith("3 3 ")
    assert {version for _, version in http.versions} == {"1", "2", "3"}
    ends = [message for message in told if message["type"] == "done"]
    assert [(end["shards"], end["gateways"]) for end in ends] == [(2, 2), (2, 2)]
    stages = [(message["process"], message["stage"]) for message in told[:6]]
    assert stages == [
        *[(f"shard {index}", "stands by") for index in (0, 1)],
        *[(f"shard {index}", "serves") for index in (0, 1)],
        *[(f"gateway {index}", "serves") for index in (0, 1)],
    ]
    print(
        "pauses", [m.get("pause_ms") for m in told], "longest http", http.longest_s, "embedded", ledger.longest_wait_s
    )
    assert runtime.stop() == 0, runtime.text()
