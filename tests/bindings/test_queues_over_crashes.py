"""Queues over crashes, lost power and delays at every point: what was accepted is consumed, or dead-lettered."""

from __future__ import annotations

import os
from functools import partial

import pytest
from perdure.bindings.queue_shard import QueueShard
from perdure.testing.simulation import Simulation

from .test_over_crashes import patient

PROGRAM = os.path.join(os.path.dirname(__file__), "queueing")


async def all_is_consumed(world):
    bodies = ["a", "b", "bad", "c", "d", "e"]
    for body in bodies:
        await patient(partial(world.env.JOBS.send, body))
    await world.advance(seconds=60)
    found = await patient(lambda: world.namespace("Ledger").getByName("all").noted())
    assert sorted(found) == sorted(bodies)
    assert "dead" in found["bad"]
    left = world.storage(world.env.JOBS._shards.getByName("jobs/0"))
    assert await left.sql("select body from messages") == []


def test_what_was_accepted_is_consumed():
    simulation = Simulation(all_is_consumed, PROGRAM, shards=2)
    for seed in range(60):
        run = simulation.run(seed)
        assert run.error is None, f"seed {seed}: {run.error!r}\n{run.story}"


def test_a_queue_that_forgets_what_it_hands_out_is_caught(monkeypatch):
    claim = QueueShard._claim

    def forgetful(self, consumer, now_ms):
        rows = claim(self, consumer, now_ms)
        for row in rows:
            self._sql.exec("delete from messages where seq = ?", row[0])
        return rows

    monkeypatch.setattr(QueueShard, "_claim", forgetful)
    simulation = Simulation(all_is_consumed, PROGRAM, shards=2)
    assert any(simulation.run(seed).error is not None for seed in range(1, 60))


@pytest.mark.parametrize("seed", [3, 17])
def test_runs_are_the_same_again(seed):
    digests = {Simulation(all_is_consumed, PROGRAM, shards=2).run(seed).digest for _ in range(2)}
    assert len(digests) == 1
