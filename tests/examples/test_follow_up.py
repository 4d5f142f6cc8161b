"""follow-up: later, once, whatever crashes in between."""

from __future__ import annotations

import json

import pytest

from .stage import LATE, ask, example, now_ms

HELLO = json.dumps({"to": "ann", "text": "How was it?", "after_s": 3600})


async def mail(world, name: str = "ann") -> list[str]:
    status, found = await ask(world, f"GET /mailbox/{name}")
    assert status == 200
    return [row["text"] for row in found]


async def state(world, order: str = "7") -> str:
    return (await ask(world, f"GET /follow-up/{order}"))[1]["state"]


@example("follow-up")
async def test_it_happens_when_it_was_planned(world) -> None:
    assert (await ask(world, "PUT /follow-up/7", HELLO))[0] == 201
    assert (await ask(world, "GET /follow-up/7"))[1] == {
        "order": "7",
        "to": "ann",
        "text": "How was it?",
        "at_ms": now_ms(world) + 3_600_000,
        "state": "waiting",
    }
    await world.advance(milliseconds=3_599_999)
    assert await mail(world) == []
    await world.advance(milliseconds=1)
    await world.advance(**LATE)
    assert await mail(world) == ["How was it?"]
    assert await state(world) == "sent"
    await world.advance(days=3)
    assert await mail(world) == ["How was it?"]
    assert await world.storage(world.namespace("FollowUp").getByName("7")).alarm() is None


@example("follow-up")
async def test_planning_the_same_again_changes_nothing(world) -> None:
    assert (await ask(world, "PUT /follow-up/7", HELLO))[0] == 201
    await world.advance(minutes=30)
    assert (await ask(world, "PUT /follow-up/7", HELLO))[0] == 200
    assert (await ask(world, "PUT /follow-up/7", HELLO.replace("How", "Who")))[0] == 409
    await world.advance(minutes=30)
    await world.advance(**LATE)
    assert await mail(world) == ["How was it?"]
    assert (await ask(world, "PUT /follow-up/7", HELLO))[0] == 200
    await world.advance(hours=2)
    assert await mail(world) == ["How was it?"]


@example("follow-up")
async def test_cancelled_is_cancelled_and_too_late_is_too_late(world) -> None:
    assert (await ask(world, "DELETE /follow-up/7"))[0] == 404
    await ask(world, "PUT /follow-up/7", HELLO)
    await world.advance(milliseconds=3_599_999)
    assert (await ask(world, "DELETE /follow-up/7"))[0] == 200
    assert (await ask(world, "DELETE /follow-up/7"))[0] == 200
    await world.advance(hours=2)
    assert (await mail(world), await state(world)) == ([], "cancelled")
    await ask(world, "PUT /follow-up/8", HELLO)
    await world.advance(hours=1)
    await world.advance(**LATE)
    assert (await ask(world, "DELETE /follow-up/8"))[0] == 409
    assert await mail(world) == ["How was it?"]


@example("follow-up")
async def test_restarts_between_plan_and_effect(world) -> None:
    for order in range(10):
        assert (await ask(world, f"PUT /follow-up/{order}", HELLO.replace("How", f"{order}: how")))[0] == 201
    await world.lose_power()
    await world.advance(minutes=59)
    await world.restart()
    for shard in (0, 1):
        await world.crash(shard, restart=False)
    await world.advance(minutes=10)  # it was due while nothing ran
    for shard in (0, 1):
        await world.restart(shard)
    await world.advance(minutes=2)
    assert sorted(await mail(world)) == [f"{order}: how was it?" for order in range(10)]


@pytest.mark.parametrize("delay_ms", [0, 20, 50, 70, 100])
@pytest.mark.parametrize("who", ["FollowUp", "Mailbox", "both"])
@example("follow-up")
async def test_a_crash_while_it_is_sent(world, delay_ms: int, who: str) -> None:
    """Twice, around the moment at which it is due."""
    await ask(world, "PUT /follow-up/7", HELLO)
    await world.advance(milliseconds=3_600_000 - 50)
    stubs = {
        "FollowUp": world.namespace("FollowUp").getByName("7"),
        "Mailbox": world.namespace("Mailbox").getByName("ann"),
    }
    victims = [stub for name, stub in stubs.items() if who in (name, "both")]
    for stub in victims:
        await world.crash(stub)  # is there again after 100 ms
    await world.advance(milliseconds=delay_ms)
    for stub in victims:
        await world.crash(stub)
    await world.advance(minutes=5)
    assert await mail(world) == ["How was it?"]
    assert await state(world) == "sent"


@example("follow-up")
async def test_sent_and_not_noted(world) -> None:
    """The alarm runs again after the mailbox has taken the message: it is refused the second time."""
    await ask(world, "PUT /follow-up/7", HELLO)
    await world.namespace("Mailbox").getByName("ann").take("7", "How was it?")
    await world.advance(hours=1)
    await world.advance(**LATE)
    assert await mail(world) == ["How was it?"]
    assert await state(world) == "sent"


@example("follow-up")
async def test_a_mailbox_that_is_down_for_a_day(world) -> None:
    """Longer than an alarm that raises is tried: it has set itself again."""
    follow_up = world.namespace("FollowUp").getByName("7")
    name = next(
        n for n in "abcdefgh" if world.shard_of(world.namespace("Mailbox").getByName(n)) != world.shard_of(follow_up)
    )
    await ask(world, "PUT /follow-up/7", HELLO.replace("ann", name))
    await world.crash(world.namespace("Mailbox").getByName(name), restart=False)
    await world.advance(days=1)
    await world.restart(world.namespace("Mailbox").getByName(name))
    await world.advance(minutes=5)
    assert await mail(world, name) == ["How was it?"]
    assert await state(world) == "sent"


@example("follow-up")
async def test_a_mailbox_that_refuses_for_hours(world) -> None:
    """An alarm that raises is given up after seven runs: the one that it has set beside is not."""
    mailbox = world.namespace("Mailbox").getByName("ann")
    await mail(world)
    await world.storage(mailbox).sql(
        "CREATE TRIGGER full BEFORE INSERT ON mail BEGIN SELECT RAISE(ABORT, 'the mailbox is full'); END"
    )
    await ask(world, "PUT /follow-up/7", HELLO)
    await world.advance(hours=5)
    assert (await mail(world), await state(world)) == ([], "sending")
    await world.storage(mailbox).sql("DROP TRIGGER full")
    await world.advance(minutes=2)
    assert (await mail(world), await state(world)) == (["How was it?"], "sent")


@example("follow-up")
async def test_what_is_no_plan(world) -> None:
    plan = '{"to": "ann", "text": "x", "after_s": %s}'
    no_times = [plan % after_s for after_s in ("-1", '"soon"', "NaN", "Infinity", "1e300", "[]", "null")]
    for body in ("", "[]", "{", '{"to": "ann"}', '{"to": "", "text": "x", "after_s": 1}', *no_times):
        assert (await ask(world, "PUT /follow-up/7", body))[0] == 400, body
    assert await ask(world, "GET /follow-up/7") == (404, None)
    assert await mail(world, "nobody") == []
