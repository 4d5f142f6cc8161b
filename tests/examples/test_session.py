"""session: who is signed in, until exactly when."""

from __future__ import annotations

from .stage import LATE, ask, example, now_ms

MINUTE = 60_000


async def begin(world, user: str = "ann") -> str:
    """A session's token."""
    status, made = await ask(world, f"POST /session?user={user}", Authorization="Bearer change-me")
    assert (status, made["user"], made["until_ms"]) == (201, user, now_ms(world) + 30 * MINUTE)
    return made["token"]


async def check(world, token: str) -> int | None:
    """How long it goes on, in ms; None when it is over."""
    status, found = await ask(world, "GET /session", Cookie=f"session={token}")
    assert status in (200, 401)
    return found["until_ms"] - now_ms(world) if status == 200 else None


def stored(world, token: str):
    import hashlib

    return world.storage(world.namespace("Session").getByName(hashlib.sha256(token.encode()).hexdigest()))


@example("session")
async def test_it_ends_exactly_when_it_said(world) -> None:
    token = await begin(world)
    await world.advance(milliseconds=30 * MINUTE - 1)
    assert (await ask(world, "GET /session", Authorization=f"Bearer {token}x"))[0] == 401
    assert await stored(world, token).get("session") is not None
    await world.advance(milliseconds=1)
    assert await check(world, token) is None
    await world.advance(**LATE)
    assert await stored(world, token).list() == {}  # the alarm has erased it
    assert await stored(world, token).alarm() is None


@example("session")
async def test_it_is_over_before_the_alarm_comes(world) -> None:
    """The clock has jumped, the alarm has not run yet: the time counts."""
    token = await begin(world)
    world.step_clock(seconds=30 * 60)
    assert await check(world, token) is None


@example("session")
async def test_use_makes_it_slide(world) -> None:
    token = await begin(world)
    await world.advance(minutes=2)
    assert await check(world, token) == 28 * MINUTE  # not worth a write
    await world.advance(minutes=1)
    assert await check(world, token) == 30 * MINUTE
    await world.crash(world.namespace("Session").getByName("x"))
    for _ in range(50):
        await world.advance(milliseconds=30 * MINUTE - 1)
        assert await check(world, token) == 30 * MINUTE
    await world.advance(minutes=30)
    assert await check(world, token) is None


@example("session", LONGEST_HOURS=1)
async def test_no_use_makes_it_longer_than_the_longest(world) -> None:
    token = await begin(world)
    for minutes, left in ((20, 30), (20, 20), (10, 10), (9, 1)):
        await world.advance(minutes=minutes)
        assert await check(world, token) == left * MINUTE
    await world.advance(minutes=1)
    assert await check(world, token) is None


@example("session")
async def test_a_crash_takes_nobody_out_and_lets_nobody_in(world) -> None:
    ann, ben = await begin(world), await begin(world, "ben")
    assert (await ask(world, "DELETE /session", Cookie=f"session={ben}"))[0] == 200
    for shard in (0, 1):
        await world.crash(shard)
    assert await check(world, ann) is not None
    assert await check(world, ben) is None
    await world.lose_power()
    await world.advance(minutes=31)
    assert await check(world, ann) is None


@example("session")
async def test_only_the_service_begins_one(world) -> None:
    for key in ("Bearer wrong", "Bearer ", "Basic change-me", "Bearer Ünlike"):
        assert (await ask(world, "POST /session?user=ann", Authorization=key))[0] == 403, key
    assert (await ask(world, "POST /session", Authorization="Bearer change-me"))[0] == 400
    assert (await ask(world, "GET /session"))[0] == 401
    assert (await ask(world, "DELETE /session"))[0] == 200
    made = await world.fetch("/session?user=ann", method="POST", headers={"Authorization": "Bearer change-me"})
    for word in ("HttpOnly", "Secure", "SameSite=Lax"):
        assert word in made.headers["set-cookie"]
