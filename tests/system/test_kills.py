"""kill -9 under load, of shards and of everything: nothing acknowledged is lost, callers are told, it is back in time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import perdure
import pytest
from perdure.engine.errors import PerdureError

from .load import Ledger
from .runtime import EXAMPLES, Runtime, serving, wait_gone

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"
BACK_S = 2.0


async def back(address: str, names: list[str]) -> None:
    """Wait until every shard answers; fails when that takes more than two seconds."""
    end = time.monotonic() + BACK_S
    async with perdure.connect(address) as client:
        for name in names:
            while True:
                try:
                    await asyncio.wait_for(
                        client.namespace("Counter").getByName(name).value(), max(end - time.monotonic(), 0.01)
                    )
                    break
                except (PerdureError, TimeoutError):
                    assert time.monotonic() < end, f"not back within {BACK_S} s"


async def kill_shards(runtime: Runtime, ledger: Ledger, kills: int, rng: random.Random) -> None:
    stop = asyncio.Event()
    async with perdure.connect(runtime.address) as client:
        users = [asyncio.create_task(ledger.user(client, stop, seed)) for seed in range(32)]
        for _ in range(kills):
            await asyncio.sleep(rng.uniform(0.05, 0.4))
            pids = runtime.pids("shard")
            if pids:
                os.kill(rng.choice(pids), signal.SIGKILL)
            await back(runtime.address, ledger.names)
        stop.set()
        await asyncio.gather(*users)
    await ledger.check(runtime.address)


def kill_rounds(tmp_path, kills: int, seed: int) -> Ledger:
    ledger = Ledger(20)
    with serving(COUNTER, str(tmp_path / "data"), "--shards", "2") as runtime:
        asyncio.run(kill_shards(runtime, ledger, kills, random.Random(seed)))
        assert runtime.stop() == 0, runtime.text()
    assert ledger.slowest_error_s < 2.0
    assert sum(ledger.acked.values()) > 100
    return ledger


def test_shards_are_killed_at_random_moments(tmp_path) -> None:
    ledger = kill_rounds(tmp_path, 12, 1)
    assert ledger.errors, "no caller was in flight at any kill: the test shows nothing"
    assert {type(error).__name__ for error in ledger.errors} == {"ShardLost"}
    assert all(error.retryable for error in ledger.errors)


def kill_everything(tmp_path, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    ledger = Ledger(20)
    data = str(tmp_path / "data")

    async def work(address: str, seconds: float) -> None:
        stop = asyncio.Event()
        async with perdure.connect(address, deadline_s=3.0) as client:
            users = [asyncio.create_task(ledger.user(client, stop, seed)) for seed in range(16)]
            await asyncio.sleep(seconds)
            runtime.kill()
            stop.set()
            await asyncio.gather(*users)

    for _ in range(rounds):
        with serving(COUNTER, data, "--shards", rng.choice(["1", "2", "3"])) as runtime:
            asyncio.run(ledger.check(runtime.address))
            asyncio.run(work(runtime.address, rng.uniform(0.1, 0.8)))
    with serving(COUNTER, data) as runtime:
        asyncio.run(ledger.check(runtime.address))
        assert runtime.stop() == 0


def test_everything_is_killed_at_once(tmp_path) -> None:
    kill_everything(tmp_path, 4, 3)


def test_a_gateway_and_the_router_may_be_killed_at_any_time(tmp_path) -> None:
    import httpx

    with serving(COUNTER, str(tmp_path / "data"), "--gateways", "2") as runtime:
        with httpx.Client(base_url=runtime.url, transport=httpx.HTTPTransport(retries=3)) as client:
            assert client.post("/counter/a/increment").text == "1\n"
        for name in ("gateway 0", "router"):
            (pid,) = runtime.pids(name)
            os.kill(pid, signal.SIGKILL)
            wait_gone([pid])
        for expected in ("2\n", "3\n"):
            assert httpx.post(f"{runtime.url}/counter/a/increment").text == expected
        end = time.monotonic() + 5
        while not (runtime.pids("gateway 0") and runtime.pids("router")):
            assert time.monotonic() < end
            time.sleep(0.05)
        asyncio.run(asyncio.wait_for(back(runtime.address, ["a"]), 10))
        assert runtime.stop() == 0


def test_an_outside_program_that_opens_a_file_after_a_kill_brings_nothing_back(tmp_path) -> None:
    """The sqlite3 shell opens and closes an object's file between a kill and the recovery."""
    import glob
    import sqlite3

    data = str(tmp_path / "data")
    ledger = Ledger(5)

    async def work(runtime: Runtime) -> None:
        stop = asyncio.Event()
        async with perdure.connect(runtime.address, deadline_s=3.0) as client:
            users = [asyncio.create_task(ledger.user(client, stop, seed, "sql_increment")) for seed in range(16)]
            await asyncio.sleep(0.7)
            runtime.kill()
            stop.set()
            await asyncio.gather(*users)

    with serving(COUNTER, data) as runtime:
        asyncio.run(work(runtime))
    paths = glob.glob(f"{data}/objects/*/*/*.sqlite")
    assert paths
    for path in paths:
        assert not os.path.exists(path + "-wal")
        connection = sqlite3.connect(path)
        connection.execute("select count(*) from sqlite_master").fetchall()
        connection.close()
    with serving(COUNTER, data) as runtime:

        async def check() -> None:
            async with perdure.connect(runtime.address) as client:
                for name in ledger.names:
                    value = await client.namespace("Counter").getByName(name).sql_increment() - 1
                    assert ledger.acked[name] <= value <= ledger.sent[name]

        asyncio.run(check())
        assert runtime.stop() == 0
    for path in glob.glob(f"{data}/objects/*/*/*.sqlite"):
        connection = sqlite3.connect(path)
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        connection.close()
