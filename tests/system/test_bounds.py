"""Memory and file descriptors with many objects; a large log and the time until the shard is back."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import perdure
import pytest

from .runtime import EXAMPLES, serving

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


async def increment_all(address: str, first: int, last: int) -> None:
    async with perdure.connect(address) as client:
        counters = client.namespace("Counter")
        for start in range(first, last, 250):
            await asyncio.gather(
                *[counters.getByName(f"m{n}").increment() for n in range(start, min(start + 250, last))]
            )


@pytest.mark.timeout(180)
def test_ten_thousand_residents_are_small_and_files_are_bounded(tmp_path) -> None:
    config = tmp_path / "perdure.toml"
    config.write_text("[limits]\nidle_hibernate_ms = 600000\n")
    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1", "--config", str(config)) as runtime:
        (pid,) = runtime.pids("shard")
        asyncio.run(increment_all(runtime.address, 0, 100))
        before = resident_kib(pid)
        asyncio.run(increment_all(runtime.address, 100, 10_100))
        each = (resident_kib(pid) - before) / 10_000
        files = len(os.listdir(f"/proc/{pid}/fd"))
        print(f"{each:.1f} KiB an object, {files} descriptors")
        assert each < 40
        assert files < 2_000 * 4 + 200

        async def count() -> int:
            async with perdure.connect(runtime.address) as client:
                return await client.namespace("Counter").getByName("m50").value()

        assert asyncio.run(count()) == 1  # its database was closed in between


def log_bytes(data: str) -> int:
    return sum(os.path.getsize(f"{folder}/{name}") for folder, _, names in os.walk(f"{data}/log") for name in names)


def test_the_log_stays_bounded_under_load(tmp_path) -> None:
    config = tmp_path / "perdure.toml"
    config.write_text(
        "[limits]\nsegment_bytes = 262144\nlog_bytes_max = 2097152\nlog_page_images_max = 20000\nlog_live_objects_max = 200\n"
    )
    data = str(tmp_path / "data")
    with serving(COUNTER, data, "--shards", "1", "--config", str(config)) as runtime:

        async def load() -> int:
            async with perdure.connect(runtime.address) as client:
                counters = client.namespace("Counter")
                stop, calls, highest = time.monotonic() + 6, 0, 0

                async def user(number: int) -> None:
                    nonlocal calls
                    while time.monotonic() < stop:
                        await counters.getByName(f"m{(number + calls) % 500}").increment()
                        calls += 1

                async def watch() -> None:
                    nonlocal highest
                    while time.monotonic() < stop:
                        highest = max(highest, log_bytes(data))
                        await asyncio.sleep(0.1)

                await asyncio.gather(watch(), *[user(n) for n in range(64)])
                assert calls > 2_000
                return highest

        assert asyncio.run(load()) < 3 * 2_097_152
        assert runtime.stop() == 0, runtime.text()
    assert os.listdir(f"{data}/objects")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_back_within_two_seconds_whatever_the_log_holds(tmp_path) -> None:
    """A log near its bound in bytes and in live objects, then kill -9."""
    config = tmp_path / "perdure.toml"
    config.write_text("[limits]\nidle_hibernate_ms = 600000\n")
    with serving(COUNTER, str(tmp_path / "data"), "--shards", "1", "--config", str(config)) as runtime:

        async def fill() -> None:
            async with perdure.connect(runtime.address) as client:
                counters = client.namespace("Counter")
                stop = time.monotonic() + 25

                async def user(number: int) -> None:
                    while time.monotonic() < stop:
                        await counters.getByName(f"m{number}").increment()
                        number = (number + 64) % 8_000

                await asyncio.gather(*[user(n) for n in range(64)])

        asyncio.run(fill())
        (pid,) = runtime.pids("shard")
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()

        async def back() -> None:
            async with perdure.connect(runtime.address) as client:
                for number in range(0, 8_000, 400):
                    await client.namespace("Counter").getByName(f"m{number}").value()

        asyncio.run(back())
        took = time.monotonic() - began
        print(f"back after {took:.2f} s")
        assert took < 2.5  # of which the supervisor's and the client's own start are a part
