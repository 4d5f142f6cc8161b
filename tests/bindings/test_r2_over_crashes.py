"""R2 over crashes, lost power and delays at every point: an object is there whole, or not at all."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest
from perdure.bindings.r2_index import PIECE_BYTES, R2Index
from perdure.testing.simulation import Simulation

from .test_over_crashes import patient

PROGRAM = os.path.join(os.path.dirname(__file__), "storing")
VARIABLES = {"AI_BASE_URL": "http://models.test/v1"}


async def what_was_put_last_is_there_whole(world):
    r2 = world.env.FILES
    values = [b"a" * 10, b"b" * (PIECE_BYTES + 5), b"c" * 20]
    for before, value in zip([None, *values], values, strict=False):
        writing = asyncio.ensure_future(patient(partial(r2.put, "k", value)))
        found = await patient(lambda: r2.get("k"))
        body = None if found is None else await found.bytes()
        assert body in (before, value)
        await writing
        found = await patient(lambda: r2.get("k"))
        assert await found.bytes() == value
    room = world.namespace("Room").getByName("a")
    await patient(lambda: room.keep("own", 2 * PIECE_BYTES))  # its shard may die in the middle
    await patient(lambda: r2.delete("own"))
    await world.advance(seconds=4_000)  # what was left over is removed, and nothing else
    assert await (await patient(lambda: r2.get("k"))).bytes() == values[-1]
    assert len(r2._store.blobs) == 1


def simulation() -> Simulation:
    return Simulation(what_was_put_last_is_there_whole, PROGRAM, shards=2, env=VARIABLES)


def test_objects_are_whole_and_nothing_is_left_over():
    runs = simulation()
    for seed in range(25):
        run = runs.run(seed)
        assert run.error is None, f"seed {seed}: {run.error!r}\n{run.story}"


@pytest.mark.parametrize("forgets", ["reserve", "_retire"])
def test_an_index_that_forgets_what_is_left_over_is_caught(monkeypatch, forgets):
    async def nothing(self, *arguments):
        self._ready()

    monkeypatch.setattr(R2Index, forgets, nothing)
    monkeypatch.setattr(R2Index, "_taken", lambda self, version, size: True)
    runs = simulation()
    assert any(runs.run(seed).error is not None for seed in range(25))
