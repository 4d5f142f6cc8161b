"""What the small programs promise, with deaths, lost power and delays at any moment: each seed another story."""

from __future__ import annotations

import asyncio
import json

from perdure.testing import simulate

from .stage import EXAMPLES, ask

SEEDS = 30
TRIES_MAX = 200


async def insist(world, what: str, body: str | None = None, **headers: str) -> tuple[int, object]:
    """Ask again, as clients do, until somebody is there to answer."""
    for _ in range(TRIES_MAX):
        status, found = await ask(world, what, body, **headers)
        if status < 500:
            return status, found
        await asyncio.sleep(1)
    raise AssertionError(f"{what}: nobody answers")


@simulate(program=f"{EXAMPLES}/follow-up", shards=2, seeds=SEEDS)
async def test_a_follow_up_happens_once(world) -> None:
    texts = [f"order {number}" for number in range(3)]
    for text in texts:
        body = json.dumps({"to": "ann", "text": text, "after_s": 60})
        assert (await insist(world, f"PUT /follow-up/{text.replace(' ', '-')}", body))[0] in (200, 201)
    await world.advance(minutes=20)
    _, mail = await insist(world, "GET /mailbox/ann")
    assert sorted(row["text"] for row in mail) == texts
    for text in texts:
        assert (await insist(world, f"GET /follow-up/{text.replace(' ', '-')}"))[1]["state"] == "sent"


@simulate(program=f"{EXAMPLES}/jobs", shards=2, seeds=SEEDS // 2, env={"ATTEMPTS": 50})
async def test_each_job_is_done_and_one_result_counts(world) -> None:
    added = [(await insist(world, "POST /queue/q", f"job {number}"))[1] for number in range(4)]
    accepted: dict[int, list[str]] = {}

    async def work(name: str) -> None:
        for _ in range(25):
            status, job = await ask(world, "POST /queue/q/take")
            if status != 200:
                await asyncio.sleep(7)
                continue
            result = f"{name}: {job['job']}"
            ended, _ = await ask(world, f"POST /queue/q/{job['id']}/done?attempt={job['attempt']}", result)
            if ended == 200:
                accepted.setdefault(job["id"], []).append(result)

    await asyncio.gather(work("ann"), work("ben"))
    for number in added:
        _, rows = await insist(world, f"GET /queue/q/{number}")
        assert rows[0]["state"] == "done"
        # An answer may be lost after the result was taken; that it was taken from two workers may not be.
        assert accepted.get(number, [rows[0]["outcome"]]) == [rows[0]["outcome"]]


@simulate(program=f"{EXAMPLES}/poll", shards=2, seeds=SEEDS)
async def test_each_voter_counts_once(world) -> None:
    poll = json.dumps({"question": "Tea?", "options": ["yes", "no"]})
    assert (await insist(world, "POST /poll/tea", poll))[0] in (201, 409)
    voters = [f"voter={name}" for name in ("ann", "ben", "eve")]
    votes = [insist(world, f"POST /poll/tea/vote?option={at % 2}", Cookie=voter) for at, voter in enumerate(voters * 2)]
    assert {status for status, _ in await asyncio.gather(*votes)} <= {200, 409}
    _, found = await insist(world, "GET /poll/tea/result")
    assert found["total"] == len(voters)


@simulate(
    program=f"{EXAMPLES}/limiter", shards=2, seeds=SEEDS, env={"LIMITS": {"user": {"capacity": 5, "per_second": 0.001}}}
)
async def test_never_more_than_the_bucket_holds(world) -> None:
    answers = await asyncio.gather(*[ask(world, "POST /take/user/ann") for _ in range(9)])
    assert [status for status, _ in answers].count(200) <= 5
    later = [(await insist(world, "POST /take/user/ann"))[0] for _ in range(6)]
    assert ([status for status, _ in answers] + later).count(200) <= 5
    assert later[-1] == 429


@simulate(program=f"{EXAMPLES}/room-timeout", shards=2, seeds=SEEDS)
async def test_a_room_keeps_what_it_said_and_then_nothing(world) -> None:
    await insist(world, "POST /room/x")
    said = [text for text in ("one", "two", "three") if (await ask(world, "POST /room/x/say?by=ann", text))[0] == 200]
    _, found = await insist(world, "GET /room/x")
    texts = [row["text"] for row in found["messages"]]
    assert [text for text in texts if text in said] == said
    await world.advance(minutes=11)
    assert (await insist(world, "GET /room/x"))[0] == 410
    room = world.storage(world.namespace("Room").getByName("x"))
    assert await room.list() == {}
