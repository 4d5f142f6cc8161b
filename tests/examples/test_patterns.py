"""patterns: objects that work together, with a process killed in the middle of each."""

from __future__ import annotations

import asyncio
import json

import pytest
from perdure.testing import simulate

from .stage import EXAMPLES, ask, example
from .test_over_crashes import insist

TEXTS = ["one", "two words", "a third text", "and a fourth one"]


def named(world, space: str, name: str):
    return world.namespace(space).getByName(name)


async def crash_both(world) -> None:
    for index in (0, 1):
        await world.crash(index)


@example("patterns")
async def test_a_coordinator_and_its_tasks(world) -> None:
    assert (await ask(world, "POST /tasks/job", json.dumps(TEXTS)))[0] == 202
    await world.advance(milliseconds=250)  # they work
    await world.crash(named(world, "Coordinator", "job"))
    assert (await ask(world, "GET /tasks/job"))[1] == dict.fromkeys(TEXTS)
    await world.advance(milliseconds=250)
    await crash_both(world)
    await world.advance(seconds=10)
    assert (await ask(world, "GET /tasks/job"))[1] == {
        "one": 1,
        "two words": 2,
        "a third text": 3,
        "and a fourth one": 4,
    }
    for text in TEXTS:
        assert await world.storage(named(world, "Task", f"job/{text}")).get("runs") == 1
    assert await world.storage(named(world, "Coordinator", "job")).alarm() is None
    for body in ("{}", "[1]", json.dumps(["x"] * 101)):
        assert (await ask(world, "POST /tasks/other", body))[0] == 400


@example("patterns")
async def test_fan_out_and_fan_in(world) -> None:
    await ask(world, "POST /tasks/job", json.dumps(TEXTS))
    await world.advance(seconds=5)
    assert (await ask(world, "GET /words/job"))[1] == {"words": 10, "away": []}
    survey = named(world, "Survey", "job")
    asked = asyncio.ensure_future(survey.words([f"job/{text}" for text in TEXTS]))
    away = [text for text in TEXTS if world.shard_of(named(world, "Task", f"job/{text}")) != world.shard_of(survey)]
    assert away, "both shards have some"
    await world.crash(1 - world.shard_of(survey), restart=False)
    words = sum(len(text.split()) for text in TEXTS if text not in away)
    found = await asked
    assert found in ({"words": words, "away": [f"job/{text}" for text in away]}, {"words": 10, "away": []})
    found = await survey.words([f"job/{text}" for text in TEXTS])
    assert found == {"words": words, "away": [f"job/{text}" for text in away]}
    await world.restart()
    assert (await survey.words([f"job/{text}" for text in TEXTS])) == {"words": 10, "away": []}


@example("patterns")
async def test_a_chain_passes_everything_on_once_and_in_order(world) -> None:
    for number in range(5):
        assert (await ask(world, f"POST /chain/c?text=t{number}"))[0] == 202
        if number == 2:
            await world.crash(named(world, "Step", "c/1"))
        if number == 3:
            await crash_both(world)
    await world.advance(seconds=20)
    assert (await ask(world, "GET /chain/c"))[1] == [[f"t{number}", "c/0", "c/1", "c/2", "c/3"] for number in range(5)]
    for at in range(4):
        assert await world.storage(named(world, "Step", f"c/{at}")).alarm() is None


@example("patterns")
async def test_a_parent_replaces_the_child_that_fails(world) -> None:
    assert (await ask(world, "POST /family/f?children=3"))[0] == 202
    await world.advance(seconds=5)
    before = (await ask(world, "GET /family/f"))[1]
    assert all(child["beats"] >= 4 and child["born"] == 1 for child in before.values())
    await ask(world, "POST /family/f/break?child=1")
    await world.advance(seconds=1.5)
    await world.crash(named(world, "Parent", "f"))
    await world.advance(seconds=10)
    after = (await ask(world, "GET /family/f"))[1]
    assert [child["born"] for child in after.values()] == [1, 2, 1]
    assert all(child["failures"] == 0 for child in after.values())
    assert after["0"]["beats"] > before["0"]["beats"]
    assert await world.storage(named(world, "Child", "f/1.1")).list() == {}
    assert (await ask(world, "POST /family/f/break?child=9"))[0] == 404


@simulate(program=f"{EXAMPLES}/patterns", shards=2, seeds=25)
async def test_whatever_dies_tasks_are_done_and_chains_are_whole(world) -> None:
    assert (await insist(world, "POST /tasks/job", json.dumps(TEXTS)))[0] == 202
    said = [text for text in ("a", "b", "c") if (await ask(world, f"POST /chain/c?text={text}"))[0] == 202]
    await world.advance(minutes=5)
    assert sum((await insist(world, "GET /tasks/job"))[1].values()) == 10
    found = [way[0] for way in (await insist(world, "GET /chain/c"))[1]]
    assert [text for text in found if text in said] == said
    assert len(found) == len(set(found))


@pytest.mark.parametrize("method", ["GET", "PUT"])
@example("patterns")
async def test_other_requests_are_refused(world, method: str) -> None:
    assert (await ask(world, f"{method} /nothing"))[0] == 404
