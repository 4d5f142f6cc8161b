"""Plain functions that wait, in real processes: under uvloop, the watchdog, kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request

import perdure
import pytest
from perdure.engine.errors import PerdureError, TurnTooLong

from .runtime import Runtime, serving
from .test_watchdog import again

pytestmark = pytest.mark.system
PROGRAM = os.path.join(os.path.dirname(__file__), "blocking_program.py")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocking")
    (folder / "perdure.toml").write_text("[limits]\nturn_ms_max = 1000\n")
    with serving(PROGRAM, str(folder / "data"), "--shards", "1", "--config", str(folder / "perdure.toml")) as found:
        yield found


def test_plain_functions_wait_in_real_processes(runtime: Runtime):
    async def work() -> None:
        async with perdure.connect(runtime.address, deadline_s=20) as client, asyncio.timeout(40):
            plain = client.namespace("Plain")
            one = plain.getByName("a")
            assert await one.add(2) == 2
            assert await one.ask("b", 5) == 5
            assert await one.digest() == "2d711642"
            assert sorted(await asyncio.gather(*(one.together() for _ in range(3)))) == [1, 2, 3]
            await one.later()
            while await one.add(0) != 102:
                await asyncio.sleep(0.02)
            for method in ("spin", "spin_in_awaited"):
                with pytest.raises(TurnTooLong, match="exceeded its CPU time limit"):
                    await getattr(plain.getByName("spinner"), method)()
            assert await plain.getByName("spinner").add(1) == 1
            hanging = [asyncio.ensure_future(plain.getByName(str(n)).together()) for n in range(5)]
            await asyncio.sleep(0.1)
            (shard,) = runtime.pids("shard 0")
            os.kill(shard, signal.SIGKILL)
            for call in hanging:
                with pytest.raises(PerdureError):
                    await call
            assert await again(lambda: plain.getByName("a").add(0)) == 102

    asyncio.run(work())
    assert any("console" in line and "it is true" in line for line in runtime.log), runtime.text()


def test_the_worker_waits_in_a_gateway(runtime: Runtime):
    with urllib.request.urlopen(f"{runtime.url}/", timeout=20) as response:
        assert response.read() == b"[1, 2]"
