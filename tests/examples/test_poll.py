"""poll: one vote a voter, whatever they try; everybody sees the result change."""

from __future__ import annotations

import asyncio
import json

from .stage import ask, example

TEA = json.dumps({"question": "Tea?", "options": ["yes", "no", "later"]})


def votes(result: object) -> list[int]:
    assert isinstance(result, dict)
    assert result["total"] == sum(option["votes"] for option in result["options"])
    return [option["votes"] for option in result["options"]]


@example("poll")
async def test_one_vote_a_voter(world) -> None:
    assert (await ask(world, "POST /poll/tea", TEA))[0] == 201
    status, result = await ask(world, "POST /poll/tea/vote?option=1", Cookie="voter=ann")
    assert (status, votes(result), result["mine"]) == (200, [0, 1, 0], 1)
    for option in (1, 0):  # again, and something else
        status, result = await ask(world, f"POST /poll/tea/vote?option={option}", Cookie="voter=ann")
        assert (status, votes(result), result["mine"]) == (409, [0, 1, 0], 1)
    answers = await asyncio.gather(*[ask(world, "POST /poll/tea/vote?option=0", Cookie="voter=ben") for _ in range(10)])
    assert sorted(status for status, _ in answers) == [200] + [409] * 9  # a double click
    poll = world.namespace("Poll").getByName("tea")
    await world.crash(poll)
    assert (await ask(world, "POST /poll/tea/vote?option=0", Cookie="voter=ann"))[0] == 409
    status, result = await ask(world, "GET /poll/tea/result", Cookie="voter=eve")
    assert (status, votes(result), result["mine"], result["question"]) == (200, [1, 1, 0], None, "Tea?")


@example("poll")
async def test_a_voter_without_a_cookie_gets_one(world) -> None:
    await ask(world, "POST /poll/tea", TEA)
    page = await world.fetch("/poll/tea")
    assert "<h1" in await page.text()
    first = await world.fetch("/poll/tea/vote?option=2", method="POST")
    voter = first.headers["set-cookie"].partition(";")[0]
    assert "HttpOnly" in first.headers["set-cookie"]
    assert voter != page.headers["set-cookie"].partition(";")[0]
    assert (await ask(world, "POST /poll/tea/vote?option=2", Cookie=voter))[0] == 409


@example("poll")
async def test_what_is_refused(world) -> None:
    assert await ask(world, "GET /poll/tea/result") == (404, None)
    assert (await ask(world, "POST /poll/tea/vote?option=0"))[0] == 404
    for body in (
        "",
        "{",
        "[]",
        '{"question": "Tea?"}',
        '{"question": "", "options": ["a", "b"]}',
        '{"question": "Tea?", "options": ["yes"]}',
        '{"question": "Tea?", "options": ["yes", " "]}',
    ):
        assert (await ask(world, "POST /poll/tea", body))[0] == 400, body
    assert (await ask(world, "POST /poll/tea", TEA))[0] == 201
    assert (await ask(world, "POST /poll/tea", TEA))[0] == 409
    for option in ("3", "-1", "x", "", "999999999999"):
        assert (await ask(world, f"POST /poll/tea/vote?option={option}"))[0] == 404, option
    assert votes((await ask(world, "GET /poll/tea/result"))[1]) == [0, 0, 0]


@example("poll")
async def test_the_result_is_streamed_as_it_changes(world) -> None:
    await ask(world, "POST /poll/tea", TEA)
    poll = world.namespace("Poll").getByName("tea")
    live = await poll.fetch("http://poll/live")
    events = aiter(live.body)

    async def seen() -> list[int]:
        event = (await anext(events)).decode()
        assert event.startswith("data: ")
        assert event.endswith("\n\n")
        return votes(json.loads(event[6:]))

    assert await seen() == [0, 0, 0]
    waiting = asyncio.ensure_future(seen())
    await world.advance(minutes=5)
    assert not waiting.done()
    await ask(world, "POST /poll/tea/vote?option=2", Cookie="voter=ann")
    assert await waiting == [0, 0, 1]
    await ask(world, "POST /poll/tea/vote?option=2", Cookie="voter=ann")  # refused: nothing changes
    waiting = asyncio.ensure_future(seen())
    await world.settle()
    assert not waiting.done()
    waiting.cancel()
