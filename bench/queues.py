"""Messages a second through a queue, from the first send until the consumer had the last: by shard processes and storage shards.

The ceiling is the figure of one shard process with one storage shard; the row is that of two processes with four. 64 messages are
on their way at once, each sent by itself, so each is one durable write of its own; the consumer takes batches of 100.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import uuid

import perdure
import uvloop
from perdure.bindings.queue_shard import shard_name
from perdure.bindings.system_classes import key_of
from perdure.engine.stubs import Namespace
from perdure.sdk.adapter import fetch_through

from .report import Row
from .rigs import ROOT
from .running import Runtime

NAMES = ("queues",)
PROGRAM = f"{ROOT}/bench/queueing"
_IN_FLIGHT = 64
_CONSUMED_S_MAX = 20.0
_SETUPS = ((1, 1), (1, 4), (2, 4))
"""(Shard processes, storage shards)."""


async def _through(address: str, storage_shards: int, seconds: float) -> float:
    """Messages a second."""
    body = b'{"work": "a little"}'
    async with perdure.connect(address) as client:
        counter = client.namespace("Counter").getByName("all")
        queue = Namespace(key_of("queue"), counter._transport, fetch_through)  # pyright: ignore[reportPrivateUsage]
        stubs = [queue.getByName(shard_name("jobs", number)) for number in range(storage_shards)]
        turn = itertools.cycle(stubs)
        began_s, sent = time.monotonic(), 0

        async def user() -> None:
            nonlocal sent
            while time.monotonic() - began_s < seconds:
                await next(turn).accept([[uuid.uuid4().hex, "json", body, 0, 0]])
                sent += 1

        await asyncio.gather(*[user() for _ in range(_IN_FLIGHT)])
        while await counter.add(0) < sent:
            if time.monotonic() - began_s > seconds + _CONSUMED_S_MAX:
                raise TimeoutError(f"the consumer had {await counter.add(0)} of {sent} messages")
            await asyncio.sleep(0.02)
        return sent / (time.monotonic() - began_s)


def measure(names: list[str], folder: str | None, *, quick: bool) -> list[Row]:
    """The row `queues`."""
    del names  # there is one
    rates: dict[tuple[int, int], float] = {}
    for shards, storage_shards in _SETUPS:
        print(f"bench: queues, {shards} shard processes, {storage_shards} storage shards", file=sys.stderr)
        with Runtime(folder) as runtime, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runtime.serve(PROGRAM, shards)
            rates[shards, storage_shards] = runner.run(_through(runtime.address, storage_shards, 0.5 if quick else 5.0))
            runtime.stop()
    one, most = rates[1, 1], rates[2, 4]
    details = {"one_process_four_storage_shards": float(round(rates[1, 4])), "in flight": float(_IN_FLIGHT)}
    return [Row("queues", None, round(one), round(most), round(most / one, 3), "/s", details)]


if __name__ == "__main__":
    from .report import show

    show(measure(list(NAMES), None, quick="--quick" in sys.argv))
