"""A shard that sleeps and is larger than it began gets a new process, while a few objects are called; nobody notices."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import perdure
import pytest
from perdure.shards.machine_memory import resident_bytes

from .runtime import Runtime, serving, wait_gone

pytestmark = pytest.mark.system

PROGRAM = """
import os
from workers import DurableObject, WorkerEntrypoint

if os.path.exists(os.environ["BROKEN"]):
    raise RuntimeError("this program cannot be imported any more")
HELD = []


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value

    async def value(self):
        return await self.ctx.storage.get("value") or 0

    async def hold(self, mib):
        HELD.append(bytearray(mib << 20))


class Default(WorkerEntrypoint):
    pass
"""
LIMITS = "[limits]\nidle_hibernate_ms = 500\nlog_live_objects_max = 100\nshard_renew_growth_mb = 8\n"
OBJECTS = 2_000
GROWN_MIB = 30


def start(tmp_path: Path):
    program, config = tmp_path / "program.py", tmp_path / "perdure.toml"
    program.write_text(PROGRAM)
    config.write_text(LIMITS)
    flags = ("--config", str(config), "--shards", "1", "--gateways", "1")
    return serving(str(program), str(tmp_path / "data"), *flags, env={"BROKEN": str(tmp_path / "broken")})


class Trickle:
    """Four users, each with a counter of its own, five calls a second each."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.acked = [0] * 4
        self.longest_s = 0.0

    async def run(self) -> None:
        """Until cancelled. Raises at a call that fails, is lost or runs twice."""
        async with perdure.connect(self._runtime.address) as client:
            await asyncio.gather(*[self._user(client, number) for number in range(4)])

    async def _user(self, client, number: int) -> None:
        counter = client.namespace("Counter").getByName(f"trickle {number}")
        while True:
            began = time.monotonic()
            value = await counter.increment()
            self.acked[number] += 1
            assert value == self.acked[number]
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            await asyncio.sleep(0.2)


async def grow(runtime: Runtime) -> None:
    """Many objects are called once, and the process holds more than before for good."""
    async with perdure.connect(runtime.address) as client:
        counters = client.namespace("Counter")
        numbers = iter(range(OBJECTS))

        async def user() -> None:
            for number in numbers:
                assert await counters.getByName(f"cold {number}").increment() == 1

        await asyncio.gather(*[user() for _ in range(64)])
        await counters.getByName("cold 0").hold(GROWN_MIB)


async def until_said(runtime: Runtime, event: str, seconds: float) -> str:
    end = time.monotonic() + seconds
    while not (lines := [line for line in list(runtime.log) if f" {event} " in line]):
        assert time.monotonic() < end, runtime.text()[-3000:]
        await asyncio.sleep(0.1)
    return lines[0]


async def grow_and_trickle(runtime: Runtime, event: str) -> Trickle:
    """Until that was said, and a moment longer."""
    trickle = Trickle(runtime)
    calling = asyncio.ensure_future(trickle.run())
    await grow(runtime)
    said = asyncio.ensure_future(until_said(runtime, event, 40))
    done, _ = await asyncio.wait((calling, said), return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    await asyncio.sleep(1)
    assert not calling.done(), calling
    calling.cancel()
    await asyncio.wait([calling])
    return trickle


def test_a_shard_that_sleeps_is_renewed_under_a_trickle_of_calls(tmp_path: Path) -> None:
    async def values(runtime: Runtime, names: list[str]) -> list[int]:
        async with perdure.connect(runtime.address) as client:
            counters = client.namespace("Counter")
            return list(await asyncio.gather(*[counters.getByName(name).value() for name in names]))

    with start(tmp_path) as runtime:
        (old,) = runtime.pids("shard")
        began = resident_bytes(old)
        trickle = asyncio.run(grow_and_trickle(runtime, "shard_renewed"))
        (new,) = runtime.pids("shard")
        assert new != old
        assert resident_bytes(new) < began + (GROWN_MIB << 19), "the new one holds nothing of what the old one held"
        assert min(trickle.acked) > 0
        assert trickle.longest_s < 10
        names = [f"cold {number}" for number in range(0, OBJECTS, 50)]
        assert asyncio.run(values(runtime, names)) == [1] * len(names)
        assert asyncio.run(values(runtime, [f"trickle {number}" for number in range(4)])) == trickle.acked
        wait_gone([old])
        assert runtime.text().count("shard_renewed") == 1
        assert not any(word in runtime.text() for word in ("not_released", "died", "error "))
        assert runtime.stop() == 0


def test_a_successor_that_cannot_be_imported_leaves_the_shard_serving(tmp_path: Path) -> None:
    with start(tmp_path) as runtime:
        (old,) = runtime.pids("shard")
        (tmp_path / "broken").touch()
        trickle = asyncio.run(grow_and_trickle(runtime, "renewal_failed"))
        assert runtime.pids("shard") == [old]
        assert min(trickle.acked) > 0
        assert "this program cannot be imported any more" in runtime.text()
        assert not [pid for pid in runtime.pids("standby") if os.path.exists(f"/proc/{pid}")]
        assert runtime.stop() == 0
