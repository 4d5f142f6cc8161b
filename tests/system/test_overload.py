"""Retries and keys while the shard is killed again and again; what an operator sees of an object that is called too often."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from collections.abc import Awaitable, Callable

import perdure
import pytest
from perdure.engine.errors import PerdureError

from .runtime import EXAMPLES, Runtime, serving

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"
INCREMENTS = 2_000
USERS = 16
KILL_EVERY_S = 0.2


class Kills:
    """Kills the only shard 200 ms after it has begun to serve, until it is stopped."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.count = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        async with perdure.connect(self._runtime.address, retry=perdure.Retry(1_000, 20, 50)) as client:
            probe = client.namespace("Counter").getByName("probe")
            while not self.stop.is_set():
                await asyncio.sleep(KILL_EVERY_S)
                for pid in self._runtime.pids("shard"):
                    os.kill(pid, signal.SIGKILL)
                    self.count += 1
                await perdure.with_retry(probe, perdure.Retry(1_000, 20, 50, even_if_it_may_have_run=True)).value()


async def increments(
    runtime: Runtime, retry: perdure.Retry | None, one: Callable[[object, int], Awaitable[object]]
) -> tuple[int, int, list[PerdureError], int]:
    """(the counter afterwards, kills, errors, answers that were given)"""
    kills, errors, left = Kills(runtime), [], iter(range(INCREMENTS))
    answered = 0
    async with perdure.connect(runtime.address, retry=retry) as client:
        namespace = client.namespace("Counter")
        killing = asyncio.create_task(kills.run())

        async def user() -> None:
            nonlocal answered
            for number in left:
                try:
                    await one(namespace.getByName("c"), number)
                    answered += 1
                except PerdureError as error:
                    errors.append(error)
                await asyncio.sleep(0.01)

        await asyncio.gather(*[user() for _ in range(USERS)])
        kills.stop.set()
        await killing
        return await namespace.getByName("c").value(), kills.count, errors, answered


@pytest.mark.timeout(120)
def test_increments_with_keys_are_exact_over_kills(tmp_path) -> None:
    retry = perdure.Retry(attempts=1_000, base_ms=20, cap_ms=200)

    async def one(stub, number: int) -> object:
        return await perdure.with_key(stub, f"increment {number}").increment()

    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1") as runtime:
        value, kills, errors, answered = asyncio.run(increments(runtime, retry, one))
        assert kills >= 3
        assert errors == []
        assert (value, answered) == (INCREMENTS, INCREMENTS)
        assert runtime.stop() == 0, runtime.text()


@pytest.mark.timeout(120)
def test_without_keys_the_same_fails(tmp_path) -> None:
    """The broken twin: nobody may repeat what may have run, so callers see errors and cannot tell what counted."""

    async def one(stub, _number: int) -> object:
        return await stub.increment()

    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1") as runtime:
        retry = perdure.Retry(attempts=1_000, base_ms=20, cap_ms=200)
        value, kills, errors, answered = asyncio.run(increments(runtime, retry, one))
        assert kills >= 3
        assert errors
        assert {type(error).__name__ for error in errors} == {"ShardLost"}
        assert answered <= value <= INCREMENTS


def test_the_blocking_client_and_the_relay_take_keys_and_policies(tmp_path) -> None:
    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1") as runtime:
        for relay in (False, True):
            with perdure.connect_blocking(runtime.address, relay=relay, retry=perdure.Retry()) as client:
                counter = client.namespace("Counter").getByName(f"c {relay}")
                assert perdure.with_key(counter, "k").increment() == 1
                assert perdure.with_key(perdure.with_retry(counter, None), "k").increment() == 1
                assert counter.value() == 1


def test_the_hot_list_and_an_enforced_limit(tmp_path) -> None:
    config = tmp_path / "perdure.toml"
    config.write_text("[limits]\nsoft_limit_rps = 20\n[classes.Counter]\nsoft_limit_enforce = true\n")

    async def script(address: str) -> None:
        async with perdure.connect(address) as client:
            hot = client.namespace("Counter").getByName("hot")
            outcomes = await asyncio.gather(*[hot.value() for _ in range(250)], return_exceptions=True)
            refused = [found for found in outcomes if isinstance(found, PerdureError)]
            assert len(refused) == 50
            assert all(error.overloaded and "within a 10 second window" in error.message for error in refused)
            for _ in range(60):
                (found,) = await asyncio.gather(*[client.operate(shard, "hot", count=5) for shard in client.shards])
                if found:
                    break
                await asyncio.sleep(0.1)
            assert found[0]["name"] == "hot"
            assert found[0]["class"] == "Counter"
            assert found[0]["id"] == str(hot.id)
            assert found[0]["requests_per_s"] == 20.0
            assert found[0]["above_soft_limit"] is True

    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1", "--config", str(config)) as runtime:
        asyncio.run(script(runtime.address))
        assert "above_soft_limit" in runtime.text()
        assert "object=Counter/hot" in runtime.text()


WORKER = """
import perdure
from workers import DurableObject, Response, WorkerEntrypoint


class Counter(DurableObject):
    async def add(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        counter = perdure.with_retry(self.env.Counter, perdure.Retry()).getByName("a")
        key = request.headers.get("Idempotency-Key")
        if key is not None and request.url.endswith("/keyed"):
            counter = perdure.with_key(counter, key)
        return Response(str(await counter.add()))
"""


def test_a_worker_passes_the_header_on_if_it_wants_to(tmp_path) -> None:
    program = tmp_path / "keyed.py"
    program.write_text(WORKER)

    def ask(url: str) -> str:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Idempotency-Key": "k"}), timeout=10
        ) as answer:
            return answer.read().decode()

    with serving(str(program), str(tmp_path / "data"), "--shards", "1") as runtime:
        assert [ask(f"{runtime.url}/keyed") for _ in range(2)] == ["1", "1"]
        assert [ask(f"{runtime.url}/plain") for _ in range(2)] == ["2", "3"], "by itself nothing takes it"
