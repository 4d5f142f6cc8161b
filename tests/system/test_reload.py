"""New code while everything serves: no request fails, none is lost or doubled, and who dies in the middle is recovered."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import perdure
import pytest
from perdure.cli.door import ask
from perdure.engine.errors import ConfigError, PerdureError, ShardLost, StorageUnavailable
from perdure.router.control import Message

from .load import Ledger
from .runtime import PERDURE, Runtime, serving, wait_gone

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
import os
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

    async def preShutdown(self, info):
        await self.ctx.storage.put("told", info.reason)

    async def told(self):
        return await self.ctx.storage.get("told")

    async def slow(self, go_on, then):
        await self.ctx.storage.put("slow", then)
        while not os.path.exists(go_on):
            await asyncio.sleep(0.01)
        if then == "storage":
            await self.ctx.storage.put("value", 1000)
        return VERSION

    async def begun(self):
        return await self.ctx.storage.get("slow")

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
    until(lambda: httpx.get(f"{runtime.url}/h0").text.startswith("3 3 "))
    assert {version for _, version in http.versions} == {"1", "2", "3"}
    ends = [message for message in told if message["type"] == "done"]
    assert [(end["shards"], end["gateways"]) for end in ends] == [(2, 2), (2, 2)]
    stages = [(message["process"], message["stage"]) for message in told[:6]]
    assert stages == [
        *[(f"shard {index}", "stands by") for index in (0, 1)],
        *[(f"shard {index}", "serves") for index in (0, 1)],
        *[(f"gateway {index}", "serves") for index in (0, 1)],
    ]
    assert runtime.stop() == 0, runtime.text()


def test_a_program_that_cannot_be_imported_changes_nothing(runtime: Runtime, program: Path) -> None:
    assert httpx.post(f"{runtime.url}/a").text == "1 1 1 0"
    pids = sorted(runtime.pids("shard") + runtime.pids("gateway"))
    program.write_text("import nothing_of_that_name\n")
    with pytest.raises(ConfigError, match="nothing_of_that_name") as raised:
        reload(runtime)
    assert "Traceback" in raised.value.message
    assert "fix the program" in raised.value.hint
    until(lambda: "reload_failed" in runtime.text())
    assert httpx.post(f"{runtime.url}/a").text == "1 1 2 0"
    assert sorted(runtime.pids("shard") + runtime.pids("gateway")) == pids
    done = subprocess.run([PERDURE, "reload", "--data", runtime.data], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing_of_that_name" in done.stderr
    assert "hint: fix the program" in done.stderr
    write(program, 2)
    os.kill(runtime.process.pid, signal.SIGHUP)
    end = time.monotonic() + 30
    while httpx.get(f"{runtime.url}/a").text != "2 2 2":
        assert time.monotonic() < end, runtime.text()
        time.sleep(0.1)
    write(program, 3)
    done = subprocess.run([PERDURE, "reload", "--data", runtime.data], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        "shard 0",
        "shard 1",
        "shard 0",
        "shard 1",
        "gateway 0",
        "gateway 1",
    ]
    until(lambda: httpx.get(f"{runtime.url}/a").text == "3 3 2")  # the old gateway may just take a last connection


def test_who_runs_long_loses_storage_and_is_answered_all_the_same(runtime: Runtime, program: Path) -> None:
    async def work() -> None:
        go_on = program.parent / "go on"
        async with perdure.connect(runtime.address, deadline_s=120) as client:
            counters = client.namespace("Counter")
            assert await counters.getByName("a").increment() == 1
            plain = asyncio.ensure_future(counters.getByName("a").slow(str(go_on), "nothing"))
            stores = asyncio.ensure_future(counters.getByName("a").slow(str(go_on), "storage"))
            while await counters.getByName("a").begun() != "storage":
                await asyncio.sleep(0.01)
            write(program, 2)
            reloading = asyncio.create_task(asyncio.to_thread(reload, runtime))
            while await counters.getByName("a").version() != 2:
                await asyncio.sleep(0.02)
            assert not plain.done(), "the hand-off waited for it"
            assert await counters.getByName("a").increment() == 2
            go_on.touch()
            assert await plain == 1, "the old code answers what it has begun"
            with pytest.raises(StorageUnavailable, match="storage is no longer accessible") as raised:
                await stores
            assert raised.value.retryable
            assert "its code was updated" in raised.value.message
            await reloading
            assert await counters.getByName("a").value() == 2

    asyncio.run(work())


def test_a_chain_through_a_shard_that_is_handed_off_ends(runtime: Runtime, program: Path) -> None:
    """a calls b, b calls a: a's shard lets the inner call in while it waits for the outer one."""

    async def work() -> None:
        async with perdure.connect(runtime.address) as client:
            stop = asyncio.Event()
            errors: list[PerdureError] = []
            values: list[object] = []

            async def chains(number: int) -> None:
                while not stop.is_set():
                    try:
                        values.append(
                            await client.namespace("Counter").getByName(f"x{number}").through(f"y{number}", 0.05)
                        )
                    except PerdureError as error:
                        errors.append(error)

            users = [asyncio.create_task(chains(number)) for number in range(6)]
            await asyncio.sleep(0.3)
            write(program, 2)
            began = time.monotonic()
            await asyncio.to_thread(reload, runtime)
            assert time.monotonic() - began < 30
            stop.set()
            await asyncio.gather(*users)
            assert errors == [], [str(error) for error in errors]
            totals = [await client.namespace("Counter").getByName(f"x{number}").value() for number in range(6)]
            assert sum(totals) == len(values)

    asyncio.run(work())


@pytest.mark.parametrize("victim", ["old", "new", "leaving"])
def test_who_is_killed_in_the_middle_is_recovered(runtime: Runtime, program: Path, victim: str) -> None:
    ledger = Ledger(12)

    def killer() -> None:
        """Kill -9 one process at its moment of the hand-off of shard 0."""
        end = time.monotonic() + 30
        before = set(runtime.pids("shard 0"))
        while time.monotonic() < end:
            if victim == "old" and runtime.pids("standby shard 1"):
                found = runtime.pids("shard 0")
            elif victim == "leaving":
                found = runtime.pids("leaving shard 0")
            else:
                found = [pid for pid in runtime.pids("shard 0") if pid not in before] if victim == "new" else []
            if found:
                os.kill(found[0], signal.SIGKILL)
                return
            time.sleep(0.005)

    async def work() -> None:
        stop = asyncio.Event()
        async with perdure.connect(runtime.address) as client:
            users = [asyncio.create_task(ledger.user(client, stop, seed)) for seed in range(12)]
            await asyncio.sleep(0.3)
            write(program, 2)
            killing = asyncio.create_task(asyncio.to_thread(killer))
            told = await asyncio.to_thread(reload, runtime)
            await killing
            assert told[-1]["type"] == "done"
            assert await client.namespace("Counter").getByName("a").version() == 2
            await asyncio.sleep(0.3)
            stop.set()
            await asyncio.gather(*users)
        await ledger.check(runtime.address)

    asyncio.run(work())
    assert all(isinstance(error, ShardLost) and error.retryable for error in ledger.errors)
    assert sum(ledger.acked.values()) > 50
    assert runtime.stop() == 0, runtime.text()


def test_the_supervisor_is_killed_in_the_middle(tmp_path: Path, program: Path) -> None:
    ledger = Ledger(8)
    data = str(tmp_path / "data")
    with serving(str(program), data, "--shards", "2") as runtime:

        async def work() -> None:
            stop = asyncio.Event()
            async with perdure.connect(runtime.address, deadline_s=3) as client:
                users = [asyncio.create_task(ledger.user(client, stop, seed)) for seed in range(8)]
                await asyncio.sleep(0.3)
                write(program, 2)
                reloading = asyncio.create_task(asyncio.to_thread(reload, runtime))
                while not runtime.pids("leaving"):
                    await asyncio.sleep(0.005)
                runtime.kill()
                stop.set()
                with pytest.raises(PerdureError):
                    await reloading
                await asyncio.gather(*users)

        asyncio.run(work())
    with serving(str(program), data, "--shards", "2") as runtime:
        asyncio.run(ledger.check(runtime.address))
        assert httpx.get(f"{runtime.url}/a").text == "2 2 0"
        assert runtime.stop() == 0


def test_a_connection_that_is_kept_alive_is_told_to_close_and_never_reset(tmp_path: Path, program: Path) -> None:
    with serving(str(program), str(tmp_path / "data"), "--shards", "1") as runtime:
        kept = httpx.Limits(keepalive_expiry=60)
        with httpx.Client(base_url=runtime.url, timeout=20, limits=kept) as client:
            assert client.get("/a").headers.get("connection") != "close"
            write(program, 2)
            reload(runtime)
            end = time.monotonic() + 8  # less than what idle ones are left
            while (response := client.get("/a")).headers.get("connection") != "close":
                assert response.status_code == 200
                assert time.monotonic() < end
            assert response.text == "1 2 0", "the old Worker answers on its connection, and says goodbye"
            assert client.get("/a").text == "2 2 0"
        wait_gone(runtime.pids("leaving gateway"), 20)


def test_a_stop_in_the_middle_of_a_reload_is_clean(runtime: Runtime, program: Path) -> None:
    ledger = Ledger(8)

    async def work() -> None:
        stop = asyncio.Event()
        async with perdure.connect(runtime.address, deadline_s=5) as client:
            users = [asyncio.create_task(ledger.user(client, stop, seed)) for seed in range(8)]
            await asyncio.sleep(0.3)
            write(program, 2)
            reloading = asyncio.create_task(asyncio.to_thread(reload, runtime))
            while not runtime.pids("leaving"):
                await asyncio.sleep(0.005)
            assert await asyncio.to_thread(runtime.stop) == 0, runtime.text()
            stop.set()
            with pytest.raises(PerdureError, match="ended before it had answered"):
                await reloading
            await asyncio.gather(*users)

    asyncio.run(work())
    with serving(str(program), runtime.data, "--shards", "2") as again:
        asyncio.run(ledger.check(again.address))
        assert again.stop() == 0


def test_objects_are_told_before_their_storage_goes(runtime: Runtime, program: Path) -> None:
    async def work() -> None:
        async with perdure.connect(runtime.address) as client:
            counter = client.namespace("Counter").getByName("a")
            assert await counter.told() is None
            write(program, 2)
            await asyncio.to_thread(reload, runtime)
            assert (await counter.version(), await counter.told()) == (2, "codeUpdated")

    asyncio.run(work())


def test_dev_reloads_on_a_change_and_shows_what_cannot_be_imported(tmp_path: Path, program: Path) -> None:
    command = [PERDURE, "dev", str(program), "--port", "0", "--data", str(tmp_path / "data"), "--shards", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    errors = process.stderr
    reader = threading.Thread(target=lambda: said.extend(errors), daemon=True)
    reader.start()
    try:
        url = process.stdout.readline().split()[1]
        assert httpx.get(f"{url}/a").text == "1 1 0"
        program.write_text("import nothing_of_that_name\n")
        until(lambda: "goes on serving" in "".join(said))
        assert "nothing_of_that_name" in "".join(said)
        assert httpx.get(f"{url}/a").text == "1 1 0"
        write(program, 2)
        until(lambda: httpx.get(f"{url}/a").text == "2 2 0")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        reader.join(5)
        process.stdout.close()
        errors.close()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
