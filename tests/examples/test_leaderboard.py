"""leaderboard: ranks with ties, bests, seasons that end on time, also when nobody is there."""

from __future__ import annotations

import random

from .stage import ask, example, now_ms

DAY = 86_400_000


async def submit(world, player: str, score: int) -> tuple[int, int]:
    """(best, rank)."""
    status, found = await ask(world, f"POST /board/x/score?player={player}&score={score}")
    assert (status, found["player"]) == (200, player)
    return found["score"], found["rank"]


async def top(world, query: str = "") -> list[tuple[int, str, int]]:
    _, found = await ask(world, f"GET /board/x/top{query}")
    return [(row["rank"], row["player"], row["score"]) for row in found["top"]]


@example("leaderboard")
async def test_the_best_of_each_player_counts(world) -> None:
    assert await submit(world, "ann", 50) == (50, 1)
    assert await submit(world, "ben", 70) == (70, 1)
    assert await submit(world, "ann", 40) == (50, 2)  # worse than before
    assert await submit(world, "ann", 90) == (90, 1)
    assert await ask(world, "GET /board/x/rank?player=ben") == (
        200,
        {"player": "ben", "score": 70, "rank": 2, "of": 2},
    )
    assert (await ask(world, "GET /board/x/rank?player=eve"))[0] == 404
    assert await submit(world, "eve", 0) == (0, 3)


@example("leaderboard")
async def test_equal_scores_have_equal_ranks_and_the_first_stands_first(world) -> None:
    for player, score in (("zoe", 10), ("ann", 10), ("ben", 30), ("dora", 5)):
        await submit(world, player, score)
        await world.advance(seconds=1)
    assert await top(world) == [(1, "ben", 30), (2, "zoe", 10), (2, "ann", 10), (4, "dora", 5)]
    assert await top(world, "?n=2") == [(1, "ben", 30), (2, "zoe", 10)]
    assert await submit(world, "ann", 10) == (10, 2)  # the same again does not make it later, nor earlier
    assert (await top(world))[1] == (2, "zoe", 10)


@example("leaderboard")
async def test_ranks_are_those_of_a_sorted_list(world) -> None:
    rng = random.Random(7)
    board = world.namespace("Board").getByName("x")
    bests: dict[str, int] = {}
    for _ in range(150):
        player, score = f"p{rng.randrange(40)}", rng.randrange(30)
        bests[player] = max(bests.get(player, 0), score)
        assert (await board.submit(player, score))["score"] == bests[player]
    for player, score in bests.items():
        found = await board.rank(player)
        assert found == {
            "player": player,
            "score": score,
            "of": len(bests),
            "rank": 1 + sum(other > score for other in bests.values()),
        }
    rows = (await board.top(100))["top"]
    assert [row["score"] for row in rows] == sorted(bests.values(), reverse=True)


@example("leaderboard")
async def test_a_season_ends_exactly_on_time(world) -> None:
    began_ms = now_ms(world)
    await submit(world, "ann", 50)
    await world.advance(milliseconds=7 * DAY - 1)
    assert await submit(world, "ben", 60) == (60, 1)
    await world.advance(milliseconds=1)
    _, found = await ask(world, "GET /board/x/top")
    assert found == {"season": 2, "ends_ms": began_ms + 14 * DAY, "top": []}
    assert await submit(world, "ann", 1) == (1, 1)
    assert await top(world, "?season=1") == [(1, "ben", 60), (2, "ann", 50)]
    assert await top(world, "?season=2") == [(1, "ann", 1)]


@example("leaderboard")
async def test_seasons_go_on_over_crashes_and_times_when_nothing_ran(world) -> None:
    began_ms = now_ms(world)
    await submit(world, "ann", 50)
    for shard in (0, 1):
        await world.crash(shard, restart=False)
    await world.advance(days=24)  # three seasons and a bit
    for shard in (0, 1):
        await world.restart(shard)
    await world.advance(minutes=1)
    _, found = await ask(world, "GET /board/x/top")
    assert (found["season"], found["ends_ms"]) == (
        2,
        began_ms + 28 * DAY,
    )  # in step with the calendar, not with the outage
    assert found["top"] == []
    await world.lose_power()
    await world.advance(days=7)
    _, later = await ask(world, "GET /board/x/top")
    assert (later["season"], later["ends_ms"]) == (found["season"] + 1, began_ms + 35 * DAY)


@example("leaderboard", SEASON_DAYS=1)
async def test_old_seasons_are_forgotten(world) -> None:
    for season in range(1, 15):
        assert await submit(world, "ann", season) == (season, 1)
        await world.advance(days=1)
    kept = [season for season in range(1, 15) if await top(world, f"?season={season}")]
    assert kept == list(range(5, 15))


@example("leaderboard")
async def test_what_is_no_score(world) -> None:
    for query in (
        "",
        "player=ann",
        "score=1",
        "player=%20&score=1",
        "player=a&score=-1",
        "player=a&score=1e3",
        "player=a&score=9999999999999999",
    ):
        assert (await ask(world, f"POST /board/x/score?{query}"))[0] == 400, query
    assert (await ask(world, "GET /board/x/top?n=x"))[0] == 404
    assert await top(world, f"?n={'9' * 5000}&season={'9' * 5000}") == []
    assert "<table" in (await ask(world, "GET /board/x"))[1]
