"""Alarms of real processes: kill -9 of shards and of everything, slots dealt anew, a lost catalogue, a poison alarm."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time

import perdure
import pytest
from perdure.engine.errors import PerdureError

from .runtime import Runtime, serving

pytestmark = pytest.mark.system
PROGRAM = """
import os
import signal
import time

from workers import DurableObject, Response, WorkerEntrypoint


class Bell(DurableObject):
    async def arm(self, when):
        await self.ctx.storage.setAlarm(when)

    async def poison(self, when, path):
        await self.ctx.storage.put("poison", path)
        await self.ctx.storage.setAlarm(when)

    async def state(self):
        rang = await self.ctx.storage.get("rang") or []
        return [rang, await self.ctx.storage.getAlarm()]

    async def alarm(self, info):
        storage = self.ctx.storage
        path = await storage.get("poison")
        if path:
            with open(path, "a") as file:
                print(time.time(), file=file)
            with open(path) as file:
                if len(file.readlines()) < 3:
                    os.kill(os.getpid(), signal.SIGKILL)
        rang = await storage.get("rang") or []
        await storage.put("rang", [*rang, [info.scheduledTime, int(time.time() * 1000), self.ctx.id.name]])


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("bells")
"""
NAMES = [f"bell{number}" for number in range(24)]


def written(tmp_path) -> str:
    path = tmp_path / "bells.py"
    path.write_text(PROGRAM)
    return str(path)


def lines(path: str) -> list[str]:
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.readlines()


async def arm_all(address: str, first_s: float, last_s: float) -> dict[str, int]:
    """When each bell is due: from `first_s` to `last_s` from now."""
    now_ms = time.time() * 1000
    due: dict[str, int] = {}
    async with perdure.connect(address, deadline_s=5.0) as client:
        bells = client.namespace("Bell")
        for number, name in enumerate(NAMES):
            due[name] = int(now_ms + 1000 * (first_s + (last_s - first_s) * number / len(NAMES)))
            await bells.getByName(name).arm(due[name])
    return due


async def states(address: str) -> dict[str, list[object]]:
    async with perdure.connect(address, deadline_s=10.0) as client:
        bells = client.namespace("Bell")
        found: dict[str, list[object]] = {}
        for name in NAMES:
            for _ in range(20):
                try:
                    found[name] = await bells.getByName(name).state()
                    break
                except PerdureError as error:
                    assert error.retryable, error
        return found


async def until_all_rang(runtime: Runtime, seconds: float) -> dict[str, list[object]]:
    end = time.monotonic() + seconds
    while True:
        found = await states(runtime.address)
        if all(rang and alarm is None for rang, alarm in found.values()):
            return found
        assert time.monotonic() < end, (
            f"{ {name: state for name, state in found.items() if not state[0]} }\n{runtime.text()}"
        )
        await asyncio.sleep(0.1)


def test_none_is_lost_and_none_is_early(tmp_path) -> None:
    program, data = written(tmp_path), str(tmp_path / "data")
    with serving(program, data, "--shards", "2") as runtime:
        due = asyncio.run(arm_all(runtime.address, 2.0, 8.0))
        os.kill(runtime.pids("shard")[0], signal.SIGKILL)
        time.sleep(1.5)  # some ring
        runtime.kill()
    shutil.rmtree(f"{data}/catalogue")
    with serving(program, data, "--shards", "3") as runtime:
        time.sleep(1.5)
        runtime.kill()
    with serving(program, data, "--shards", "1") as runtime:
        found = asyncio.run(until_all_rang(runtime, 15.0))
        assert runtime.stop() == 0
    for name, (rang, _) in found.items():
        for scheduled_ms, at_ms, seen in rang:
            assert (scheduled_ms, seen) == (due[name], name)
            assert at_ms >= scheduled_ms


def test_an_alarm_that_kills_its_shard_is_named_and_waits(tmp_path) -> None:
    program, data, path = written(tmp_path), str(tmp_path / "data"), str(tmp_path / "runs")

    async def arm(address: str) -> None:
        async with perdure.connect(address, deadline_s=5.0) as client:
            await client.namespace("Bell").getByName(NAMES[0]).poison(int(time.time() * 1000) + 300, path)

    with serving(program, data, "--shards", "1") as runtime:
        asyncio.run(arm(runtime.address))
        due = asyncio.run(arm_all_but_first(runtime.address))
        end = time.monotonic() + 20
        while len(lines(path)) < 3:
            assert time.monotonic() < end, runtime.text()
            time.sleep(0.1)
        found = asyncio.run(until_all_rang(runtime, 10.0))
        assert runtime.stop() == 0, runtime.text()
    assert all(at_ms >= due.get(name, 0) for name, (rang, _) in found.items() for _, at_ms, _ in rang)
    first, second, third = (float(line) for line in lines(path))
    assert second - first >= 2.0
    assert third - second >= 4.0
    assert "alarm_run_lost" in runtime.text()
    assert f"Bell/{NAMES[0]}" in next(line for line in runtime.log if "alarm_failed" in line)


async def arm_all_but_first(address: str) -> dict[str, int]:
    due: dict[str, int] = {}
    async with perdure.connect(address, deadline_s=10.0) as client:
        for name in NAMES[1:]:
            due[name] = int(time.time() * 1000) + 1_000
            for _ in range(20):
                try:
                    await client.namespace("Bell").getByName(name).arm(due[name])
                    break
                except PerdureError as error:
                    assert error.retryable, error
    return due
