"""Deadlines and cancellation through chains of objects in several processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import perdure
import pytest
from perdure.engine.errors import DeadlineExceeded

from .runtime import serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Link(DurableObject):
    ended = 0
    async def ask(self, path):
        try:
            if path:
                return await self.env.LINKS.getByName(path[0]).ask(path[1:])
            await asyncio.sleep(60)
        except BaseException:
            self.ended += 1
            raise
    async def count(self):
        return self.ended

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        await self.env.LINKS.getByName("a").ask(["b", "c"])
        return Response("never")
"""
CALLER = """
import asyncio, sys
import perdure
async def main():
    async with perdure.connect(sys.argv[1]) as client:
        print("calls", flush=True)
        await client.namespace("Link").getByName("a").ask(["b", "c"])
asyncio.run(main())
"""
CONFIG = """{"name": "links", "main": "entry.py", "compatibility_date": "2026-01-01",
"durable_objects": {"bindings": [{"name": "LINKS", "class_name": "Link"}]},
"migrations": [{"tag": "v1", "new_sqlite_classes": ["Link"]}]}"""


def begin(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def all_ended(client, times: int) -> None:
    for _ in range(60):
        counts = [await client.namespace("Link").getByName(name).count() for name in "abc"]
        if counts == [times] * 3:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{counts}, expected {times} each")


def test_the_chain_ends_with_its_caller(tmp_path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "entry.py").write_text(PROGRAM)
    (tmp_path / "p" / "wrangler.jsonc").write_text(CONFIG)
    with serving(str(tmp_path / "p"), str(tmp_path / "data"), "--shards", "2") as runtime:

        async def script() -> None:
            async with perdure.connect(runtime.address) as client:
                a = client.namespace("Link").getByName("a")
                began = time.monotonic()
                with pytest.raises(DeadlineExceeded, match="Link/a → Link/b → .*/c"):
                    await perdure.with_deadline(a, 3).ask(["b", "c"])
                assert 2 < time.monotonic() - began < 3.5
                await all_ended(client, 1)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(a.ask(["b", "c"]), 0.3)
                await all_ended(client, 2)
                caller = begin([sys.executable, "-c", CALLER, runtime.address])
                caller.stdout.readline()
                await asyncio.sleep(0.5)
                os.kill(caller.pid, signal.SIGKILL)
                caller.wait()
                caller.stdout.close()
                await all_ended(client, 3)
                browser = begin(["curl", "-s", "-m", "1", runtime.url])
                browser.wait()
                browser.stdout.close()
                await all_ended(client, 4)

        asyncio.run(script())
