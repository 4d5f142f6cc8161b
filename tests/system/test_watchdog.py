"""Programs that would stop their shard: they are broken, or it is; the others are served, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import perdure
import pytest
from perdure.engine.errors import EventRefused, MemoryExceeded, PerdureError, TurnTooLong
from perdure.router.client import Client

from .runtime import Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = os.path.join(os.path.dirname(__file__), "hazards.py")
BUDGET_S, GRACE_S = 1.0, 5.0
LATE_S = 0.5
"""How much later than the budget others may be served again."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watchdog")
    (folder / "perdure.toml").write_text("[limits]\nturn_ms_max = 1000\n[classes.Good]\nturn_ms_max = 2000\n")
    with serving(PROGRAM, str(folder / "data"), "--shards", "1", "--config", str(folder / "perdure.toml")) as found:
        yield found


def run(runtime: Runtime, body: Callable[[Client], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with perdure.connect(runtime.address, deadline_s=20) as client:
            async with asyncio.timeout(40):
                await body(client)

    asyncio.run(connected())


async def again(call: Callable[[], Awaitable[object]]) -> object:
    """The call's result, once its shard is back."""
    end = time.monotonic() + 15
    while True:
        try:
            return await call()
        except PerdureError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("method", "error", "phrase"),
    [
        ("spin", TurnTooLong, "exceeded its CPU time limit"),
        ("sleep", TurnTooLong, "exceeded its CPU time limit"),
        ("regex", TurnTooLong, "exceeded its CPU time limit"),
        ("swallow", TurnTooLong, "exceeded its CPU time limit"),
        ("swallow_once", TurnTooLong, "exceeded its CPU time limit"),
        ("store", TurnTooLong, "exceeded its CPU time limit"),
        ("hog", MemoryExceeded, "exceeded its memory limit and was reset"),
    ],
)
def test_a_turn_is_broken_and_the_others_go_on(runtime, method, error, phrase) -> None:
    async def body(client: Client) -> None:
        bad, good = client.namespace("Bad"), client.namespace("Good").getByName("g")
        before = await good.add()
        await bad.getByName(method).put("kept")

        async def other() -> float:
            await asyncio.sleep(0.1)
            began = time.monotonic()
            assert await good.add() == before + 1
            return time.monotonic() - began

        waits = asyncio.create_task(other())
        with pytest.raises(error) as caught:
            await getattr(bad.getByName(method), method)()
        assert phrase in caught.value.message
        assert f"Bad/{method}" in caught.value.message
        assert caught.value.durableObjectReset
        assert await waits < BUDGET_S + LATE_S
        assert await bad.getByName(method).value() == "kept"

    shard = runtime.pids("shard")
    run(runtime, body)
    assert runtime.pids("shard") == shard
    assert any("turn_broken" in line and f"method={method} " in line for line in runtime.log)


def test_memory_that_grows_over_many_calls_is_charged_to_its_object(runtime) -> None:
    async def body(client: Client) -> None:
        grows, good = client.namespace("Bad").getByName("grows"), client.namespace("Good").getByName("g")
        longest = 0
        for _ in range(40):
            try:
                longest = max(longest, await grows.grow())
            except MemoryExceeded:
                break
            await good.add()
        assert 12 < longest < 30

    run(runtime, body)
    assert any("object_reset" in line and "Bad/grows" in line and "memory limit" in line for line in runtime.log)


def test_a_turn_stuck_in_c_ends_its_shard_which_comes_back(runtime) -> None:
    async def body(client: Client) -> None:
        bad, good = client.namespace("Bad"), client.namespace("Good").getByName("stays")
        await bad.getByName("held").put("kept")
        count = await good.add()
        began = time.monotonic()
        with pytest.raises(PerdureError) as caught:
            await bad.getByName("held").hold()
        assert caught.value.retryable or caught.value.code == "shard_lost"
        assert time.monotonic() - began < 2 * BUDGET_S + GRACE_S + 2  # the longest budget of any class, and the grace
        assert int(str(await again(good.add))) > count
        assert await again(bad.getByName("held").value) == "kept"

    run(runtime, body)
    line = next(line for line in runtime.log if " stuck " in line)
    assert "Bad/held" in line
    assert "method=hold" in line


def test_c20_an_event_that_kills_its_shard_is_refused_the_third_time(runtime) -> None:
    async def body(client: Client) -> None:
        poison = client.namespace("Bad").getByName("poison")
        await poison.put("kept")
        for _ in range(3):
            with pytest.raises(PerdureError):
                await poison.crash()
            assert await again(poison.value) == "kept"
        with pytest.raises(EventRefused) as caught:
            await poison.crash()
        assert "Bad/poison.crash" in caught.value.message
        shard = runtime.pids("shard")
        assert await poison.value() == "kept"
        assert runtime.pids("shard") == shard

    run(runtime, body)
    assert any("event_refused" in line and "method=crash" in line for line in runtime.log)


def test_a_shard_past_its_hard_bound_of_memory_restarts_and_loses_nothing(tmp_path) -> None:
    (tmp_path / "perdure.toml").write_text("[limits]\nmemory_mb = 4000\nshard_memory_hard_mb = 300\n")
    with serving(
        PROGRAM, str(tmp_path / "data"), "--shards", "1", "--config", str(tmp_path / "perdure.toml")
    ) as runtime:

        async def body(client: Client) -> None:
            bad = client.namespace("Bad").getByName("hog")
            await bad.put("kept")
            with pytest.raises(PerdureError):
                await bad.hog()
            assert await again(bad.value) == "kept"

        run(runtime, body)
        assert any("out_of_memory" in line for line in runtime.log)


def test_a_shard_past_its_soft_bound_lets_the_largest_object_go(tmp_path) -> None:
    (tmp_path / "perdure.toml").write_text("[limits]\nmemory_mb = 4000\nshard_memory_soft_mb = 200\n")
    with serving(
        PROGRAM, str(tmp_path / "data"), "--shards", "1", "--config", str(tmp_path / "perdure.toml")
    ) as runtime:

        async def body(client: Client) -> None:
            grows = client.namespace("Bad").getByName("grows")
            for _ in range(60):
                try:
                    await grows.grow()
                except MemoryExceeded:
                    break
                await asyncio.sleep(0.02)

        shard = runtime.pids("shard")
        run(runtime, body)
        assert runtime.pids("shard") == shard
        assert any("memory_short" in line for line in runtime.log)


def test_an_alarm_that_spins_is_broken(runtime) -> None:
    async def body(client: Client) -> None:
        await client.namespace("Bad").getByName("armed").arm()
        end = time.monotonic() + 10
        while not _broken("armed") and time.monotonic() < end:
            await client.namespace("Good").getByName("g").add()
            await asyncio.sleep(0.05)

    def _broken(name: str) -> bool:
        return any("turn_broken" in line and f"object=Bad/{name} " in line for line in runtime.log)

    shard = runtime.pids("shard")
    run(runtime, body)
    assert _broken("armed")
    assert runtime.pids("shard") == shard


def test_in_development_a_module_global_that_is_written_is_told_once(tmp_path) -> None:
    with serving(PROGRAM, str(tmp_path / "data"), "--shards", "1", "--development") as runtime:

        def told() -> list[str]:
            return [line for line in runtime.log if "module_global_written" in line]

        async def body(client: Client) -> None:
            end = time.monotonic() + 10
            while not told() and time.monotonic() < end:
                await client.namespace("Bad").getByName("a").share()
                await asyncio.sleep(0.05)
            for _ in range(25):
                await client.namespace("Bad").getByName("a").share()
                await asyncio.sleep(0.05)

        run(runtime, body)
        assert len(told()) == 1
        assert "name=SHARED" in told()[0]
