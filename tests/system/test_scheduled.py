"""Crons and `perdure trigger` with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import httpx
import pytest

from .runtime import PERDURE, serving, wait_gone

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Log(DurableObject):
    async def add(self, entry):
        await self.ctx.storage.put("entries", (await self.ctx.storage.get("entries") or []) + [entry])
    async def entries(self):
        return await self.ctx.storage.get("entries") or []

class Default(WorkerEntrypoint):
    async def scheduled(self, controller, env, ctx):
        if controller.cron == "fail":
            raise ValueError("no bread")
        await self.env.LOG.getByName("all").add([controller.cron, controller.scheduledTime])
        if controller.cron == "slow":
            await asyncio.sleep(2)
            await self.env.LOG.getByName("all").add(["slow is done", 0])

    async def fetch(self, request):
        return Response.json(await self.env.LOG.getByName("all").entries())
"""


def program(folder, *crons: str) -> str:
    path = folder / "program"
    path.mkdir(exist_ok=True)
    config = {
        "name": "crons",
        "main": "entry.py",
        "triggers": {"crons": list(crons)},
        "durable_objects": {"bindings": [{"name": "LOG", "class_name": "Log"}]},
        "migrations": [{"tag": "v1", "new_sqlite_classes": ["Log"]}],
    }
    (path / "wrangler.json").write_text(json.dumps(config))
    (path / "entry.py").write_text(PROGRAM)
    return str(path)


def trigger(data: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PERDURE, "trigger", *arguments, "--data", data]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_one_is_run_by_hand(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(program(tmp_path, "0 5 31 1 *"), data, "--shards", "1") as runtime:
        done = trigger(data, "--at", "2027-01-31T05:00Z", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["outcome"], found["cron"], found["error"]) == ("ok", "0 5 31 1 *", None)
        assert found["scheduled_ms"] == 1_801_371_600_000
        assert trigger(data, "another").stdout.startswith("ok\tanother\t")
        entries = httpx.get(runtime.url).json()
        assert entries[0] == ["0 5 31 1 *", 1_801_371_600_000]
        assert entries[1][0] == "another"
        failed = trigger(data, "fail")
        assert failed.returncode == 1
        assert "error: ValueError: no bread" in failed.stderr
        assert "entry.py" in failed.stderr  # where it was raised
        failed = trigger(data, "fail", "--json")
        assert (failed.returncode, json.loads(failed.stdout)["outcome"]) == (1, "exception")
        assert any("scheduled_failed" in line for line in runtime.log)
        assert "is no time" in trigger(data, "--at", "soon").stderr

        # A drain waits for a run that has begun.
        slow = subprocess.Popen([PERDURE, "trigger", "slow", "--data", data], stdout=subprocess.PIPE, text=True)
        while not any(entry[0] == "slow" for entry in httpx.get(runtime.url).json()):
            time.sleep(0.02)
        assert runtime.stop() == 0
        assert slow.communicate(timeout=10)[0].startswith("ok\tslow") or slow.returncode == 1
    with serving(program(tmp_path), data, "--shards", "1") as runtime:
        assert httpx.get(runtime.url).json()[-1][0] == "slow is done"


def test_a_gateway_that_dies_loses_its_run_and_the_next_one_takes_the_next(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(program(tmp_path, "0 5 31 1 *"), data, "--shards", "1", "--gateways", "2") as runtime:
        slow = subprocess.Popen([PERDURE, "trigger", "slow", "--data", data], stderr=subprocess.PIPE, text=True)
        while not any(entry[0] == "slow" for entry in httpx.get(runtime.url).json()):
            time.sleep(0.02)
        first = runtime.pids("gateway 0")
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_gone(first)
        said = slow.communicate(timeout=10)[1]
        assert slow.returncode == 1
        assert "died while scheduled() ran" in said
        assert trigger(data, "next").returncode == 0


def test_a_run_outlives_a_reload_and_the_next_has_the_new_crons(tmp_path) -> None:
    data = str(tmp_path / "data")
    path = program(tmp_path, "0 5 31 1 *")
    with serving(path, data, "--shards", "1") as runtime:
        slow = subprocess.Popen([PERDURE, "trigger", "slow", "--data", data], stdout=subprocess.PIPE, text=True)
        while not any(entry[0] == "slow" for entry in httpx.get(runtime.url).json()):
            time.sleep(0.02)
        program(tmp_path, "0 6 31 1 *")
        done = subprocess.run(
            [PERDURE, "reload", "--data", data], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + runtime.text()
        assert slow.communicate(timeout=30)[0].startswith("ok\tslow")
        assert trigger(data).stdout.startswith("ok\t0 6 31 1 *")
        assert ["slow is done", 0] in httpx.get(runtime.url).json()


@pytest.mark.long
@pytest.mark.timeout(150)
def test_the_minute_comes(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(program(tmp_path, "* * * * *"), data, "--shards", "1") as runtime:
        began = time.time()
        while len(entries := httpx.get(runtime.url).json()) < 2:
            assert time.time() < began + 130
            time.sleep(1)
        assert [cron for cron, _ in entries] == ["* * * * *"] * 2
        first, second = (at for _, at in entries)
        assert first % 60_000 == 0
        assert second == first + 60_000
        assert began * 1000 < first < time.time() * 1000
