"""A map grows in real processes that are killed meanwhile: no acknowledged count is lost, none counts twice."""

from __future__ import annotations

import asyncio
import os
import signal

import perdure
import pytest
from perdure.engine.errors import PerdureError
from perdure.sharding import ByMap

from .runtime import EXAMPLES, serving

pytestmark = pytest.mark.system
KEYS = [f"key {number}" for number in range(40)]


async def insist(call):
    for _ in range(200):
        try:
            return await call()
        except PerdureError:
            await asyncio.sleep(0.1)
    raise AssertionError("nobody answers")


def test_counts_over_kills_in_the_middle_of_a_split(tmp_path) -> None:
    with serving(f"{EXAMPLES}/sharded-counter", str(tmp_path / "data"), "--shards", "2") as runtime:

        async def script() -> None:
            async with perdure.connect(runtime.address, deadline_s=5) as client:
                space = client.namespace("Counts")
                counts = ByMap(space, client.namespace("CountMap").getByName("counts"))
                asked, heard = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
                for key in KEYS:
                    asked[key] += 1
                    heard[key] += 1
                    await counts.at(key).add(1)
                ended = asyncio.Event()

                async def write(keys: list[str]) -> None:
                    while not ended.is_set():
                        for key in keys:
                            asked[key] += 1
                            try:
                                await counts.at(key).add(1)
                            except PerdureError:
                                await asyncio.sleep(0.05)
                            else:
                                heard[key] += 1

                writers = [asyncio.ensure_future(write(KEYS[at::4])) for at in range(4)]
                await insist(lambda: counts.map.grow(16))
                for _ in range(2):
                    await asyncio.sleep(0.1)
                    for pid in runtime.pids("shard")[:1]:
                        os.kill(pid, signal.SIGKILL)
                    await asyncio.sleep(1.5)
                while (await insist(counts.map.status))["splits"]:
                    await asyncio.sleep(0.2)
                ended.set()
                await asyncio.gather(*writers)
                fresh = ByMap(space, counts.map)
                found = {key: await insist(lambda key=key: fresh.at(key).get()) for key in KEYS}
                wrong = {
                    key: (heard[key], found[key], asked[key])
                    for key in KEYS
                    if not heard[key] <= found[key] <= asked[key]
                }
                assert wrong == {}
                parts = await insist(lambda: fresh.gather("sizes"))
                assert len(parts) == 16
                assert sum(part["total"] for part in parts) == sum(found.values())
                assert sum(part["keys"] for part in parts) == len(KEYS)

        asyncio.run(script())
