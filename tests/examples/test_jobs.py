"""jobs: at least once, in order of urgency, never by two workers that both count."""

from __future__ import annotations

import asyncio

from .stage import LATE, ask, example, now_ms


async def add(world, job: str, query: str = "") -> int:
    status, number = await ask(world, f"POST /queue/q{query}", job)
    assert status == 200
    return number


async def take(world) -> tuple[int, str, int] | None:
    status, found = await ask(world, "POST /queue/q/take")
    assert status == (200 if found else 404)
    return (found["id"], found["job"], found["attempt"]) if found else None


async def end(world, number: int, attempt: int, how: str = "done", body: str = "") -> int:
    return (await ask(world, f"POST /queue/q/{number}/{how}?attempt={attempt}", body))[0]


async def look(world, number: int) -> tuple[str, int, str | None]:
    _, found = await ask(world, f"GET /queue/q/{number}")
    return found[0]["state"], found[0]["attempt"], found[0]["outcome"]


@example("jobs")
async def test_a_job_is_taken_done_and_its_result_kept_for_a_day(world) -> None:
    assert await add(world, "paint") == 1
    assert await take(world) == (1, "paint", 1)
    assert await take(world) is None
    assert await end(world, 1, 1, body="blue") == 200
    assert await end(world, 1, 1, body="green") == 409  # it is done
    assert await look(world, 1) == ("done", 1, "blue")
    await world.advance(milliseconds=86_399_999)
    assert await look(world, 1) == ("done", 1, "blue")
    await world.advance(milliseconds=1)
    await world.advance(**LATE)
    assert await ask(world, "GET /queue/q/1") == (404, None)


@example("jobs")
async def test_the_most_urgent_first_and_none_before_it_is_due(world) -> None:
    for job, query in (("c", ""), ("a", "?priority=9"), ("later", "?priority=99&delay_s=60"), ("b", "?priority=9")):
        await add(world, job, query)
    assert [(await take(world))[1] for _ in range(3)] == ["a", "b", "c"]
    assert await take(world) is None
    await world.advance(milliseconds=29_999)
    for number in (1, 2, 4):
        await end(world, number, 1)
    await world.advance(milliseconds=30_000)
    assert await take(world) is None
    await world.advance(milliseconds=1)
    assert (await take(world))[1] == "later"


@example("jobs")
async def test_two_workers_never_have_the_same_job(world) -> None:
    for number in range(20):
        await add(world, f"j{number}")
    taken = await asyncio.gather(*[take(world) for _ in range(30)])
    assert sorted(job for _, job, _ in filter(None, taken)) == sorted(f"j{number}" for number in range(20))


@example("jobs")
async def test_retries_back_off_and_then_it_is_dead(world) -> None:
    await add(world, "fragile")
    for attempt, wait_s in enumerate((10, 20, 40, 80), 1):
        assert await take(world) == (1, "fragile", attempt)
        assert await end(world, 1, attempt, "failed", f"broke {attempt}") == 200
        assert await look(world, 1) == ("waiting", attempt, f"broke {attempt}")
        await world.advance(milliseconds=wait_s * 1000 - 1)
        assert await take(world) is None
        await world.advance(milliseconds=1)
    assert await take(world) == (1, "fragile", 5)
    assert await end(world, 1, 5, "failed", "broke for good") == 200
    assert await look(world, 1) == ("dead", 5, "broke for good")
    await world.advance(hours=23)
    assert await take(world) is None
    assert [row["id"] for row in (await ask(world, "GET /queue/q/dead"))[1]] == [1]
    assert (await ask(world, "POST /queue/q/1/retry"))[0] == 200
    assert (await ask(world, "POST /queue/q/1/retry"))[0] == 409
    assert await take(world) == (1, "fragile", 1)
    await end(world, 1, 1)
    await world.advance(hours=2)  # the alarm that would have erased the dead one
    assert await look(world, 1) == ("done", 1, "")


@example("jobs")
async def test_a_worker_that_crashes_loses_the_job(world) -> None:
    """Visible again when its lease is over, plus the back-off; what the lost worker says then does not count."""
    await add(world, "paint")
    assert await take(world) == (1, "paint", 1)
    await world.advance(milliseconds=29_999)
    assert await look(world, 1) == ("taken", 1, None)
    await world.advance(milliseconds=1)
    await world.advance(**LATE)
    assert await look(world, 1) == ("waiting", 1, "the worker said nothing")
    await world.advance(seconds=10)
    assert await take(world) == (1, "paint", 2)
    assert await end(world, 1, 1, body="too late") == 409
    assert await end(world, 1, 2, body="in time") == 200
    assert await look(world, 1) == ("done", 2, "in time")


@example("jobs")
async def test_a_job_that_kills_its_workers_dies(world) -> None:
    await add(world, "poison")
    await add(world, "good", "?priority=1")
    number, _, attempt = await take(world)
    await end(world, number, attempt)
    taken = 0
    for _ in range(100):
        taken += await take(world) is not None
        await world.advance(seconds=10)
    assert taken == 5
    assert await look(world, 1) == ("dead", 5, "the worker said nothing")


@example("jobs")
async def test_the_queue_itself_crashes(world) -> None:
    queue = world.namespace("Queue").getByName("q")
    for number in range(5):
        await add(world, f"j{number}")
    taken = [await take(world) for _ in range(3)]
    await world.crash(queue)
    assert await end(world, *taken[0][::2], body="done over a crash") == 200
    await world.lose_power()
    await world.crash(queue, restart=False)
    await world.advance(minutes=1)  # the leases end while nothing runs
    await world.restart(queue)
    await world.advance(seconds=20)
    done: set[str] = set()
    while (job := await take(world)) is not None:
        done.add(job[1])
        assert await end(world, job[0], job[2]) == 200
    assert done == {"j1", "j2", "j3", "j4"}
    assert await world.storage(queue).alarm() is not None


@example("jobs")
async def test_what_is_refused(world) -> None:
    await add(world, "x")
    assert (await ask(world, "POST /queue/q/1/done"))[0] == 409
    assert (await ask(world, "POST /queue/q/1/done?attempt=1"))[0] == 409  # nobody has taken it
    assert (await ask(world, "POST /queue/q/1/failed?attempt=999999999"))[0] == 409
    assert (await ask(world, "POST /queue/q/7/done?attempt=1"))[0] == 409
    assert (await ask(world, "GET /queue/q/7"))[0] == 404
    assert (await ask(world, f"GET /queue/q/{'9' * 5000}"))[0] == 404
    assert (await ask(world, f"POST /queue/q/{'9' * 5000}/done?attempt=1"))[0] == 404
    assert (await ask(world, "GET /queue"))[0] == 404
    assert (await ask(world, "POST /queue/q/take/x"))[0] == 404
    status, found = await ask(world, "GET /queue/q/waiting")
    assert (status, [row["at_ms"] for row in found]) == (200, [now_ms(world)])
