"""doom: everybody is told the same ticks, one after the other, whatever dies; without players the arena sleeps."""

from __future__ import annotations

import itertools
import json

from .stage import ask, example

AHEAD, FIRE = 1, 16
STEP = 0.16


class Bot:
    """A player: it walks in circles and shoots, and sends what no tick has used yet, as the page does."""

    def __init__(self, world, name: str) -> None:
        self.world, self.name, self.key = world, name, ""
        self.ticks: list[dict] = []
        self.pending: list[list[float]] = []
        self.number = 0

    async def join(self) -> None:
        self.client = await self.world.connect(f"/arena/a?name={self.name}")

    def hear(self) -> None:
        while self.client.received:
            told = json.loads(self.client._came.popleft())
            if "you" in told:
                self.key = told["you"]
            elif "players" in told:
                self.ticks.append(told)
                self.pending = [given for given in self.pending if given[0] > self.row(told)[7]]

    def row(self, told: dict) -> list:
        return next(row for row in told["players"] if row[0] == self.key)

    def play(self) -> None:
        self.number += 1
        self.pending.append([self.number, AHEAD | FIRE * (self.number % 9 == 0), self.number / 20])
        self.client.send(json.dumps(self.pending))


async def bots(world, count: int) -> list[Bot]:
    made = [Bot(world, f"bot{number}") for number in range(count)]
    for bot in made:
        await bot.join()
    return made


async def play(world, players: list[Bot], ticks: int, crash_at: tuple[int, ...] = ()) -> None:
    for number in range(ticks):
        for bot in players:
            bot.hear()
            bot.play()
        if number in crash_at:
            await world.crash(world.namespace("Arena").getByName("a"))
        await world.advance(milliseconds=50)
    for bot in players:
        bot.hear()


def thrown_back(bot: Bot) -> list[tuple[int, int]]:
    """Where its ticks do not follow one another."""
    numbers = [told["tick"] for told in bot.ticks]
    return [pair for pair in itertools.pairwise(numbers) if pair[1] != pair[0] + 1]


def leaps(bot: Bot) -> list[float]:
    """How far it was moved in one tick where that is more than it could walk, except where it began anew."""
    found = []
    for before, after in itertools.pairwise(bot.ticks):
        (_, x, y, *_), (_, x2, y2, *_) = bot.row(before), bot.row(after)
        anew = ["spawn", bot.key] in after["events"]
        far = ((x2 - x) ** 2 + (y2 - y) ** 2) ** 0.5
        if far > 3 * STEP + 0.01 and not anew:
            found.append(far)
    return found


@example("doom")
async def test_players_see_each_other_move_and_be_hit(world) -> None:
    ann, ben = await bots(world, 2)
    await play(world, [ann, ben], 100)
    assert len(ann.ticks) > 90
    assert ann.ticks[5:] == ben.ticks[-len(ann.ticks) + 5 :]
    assert thrown_back(ann) == thrown_back(ben) == []
    assert {tuple(row[1:3]) for told in ann.ticks for row in told["players"] if row[0] == ben.key}.__len__() > 50
    assert any(event[0] == "shot" and event[1] == ben.key for told in ann.ticks for event in told["events"])


@example("doom")
async def test_a_crash_throws_nobody_back(world) -> None:
    players = await bots(world, 8)
    await play(world, players, 200, crash_at=(60, 61, 130))
    for bot in players:
        assert thrown_back(bot) == []
        assert leaps(bot) == []
        used = [bot.row(told)[7] for told in bot.ticks]
        assert used == sorted(used)
        assert used[-1] >= 190, "its inputs were caught up with"
    assert len(players[0].ticks) > 180
    assert players[0].ticks[20:] == players[7].ticks[20 - len(players[0].ticks) :]


@example("doom")
async def test_without_players_it_sleeps_and_comes_back(world) -> None:
    stub = world.namespace("Arena").getByName("a")
    (ann,) = await bots(world, 1)
    await play(world, [ann], 20)
    ann.client.close(1000)
    await world.advance(seconds=60)
    assert world.state(stub) == "cold"
    assert await world.storage(stub).alarm() is None
    (_, found) = await ask(world, "GET /arena/a")
    assert found["names"] == {}
    await world.advance(seconds=30)
    (ben,) = await bots(world, 1)
    await play(world, [ben], 20)
    assert ben.ticks[0]["tick"] > found["tick"]
    assert thrown_back(ben) == []


@example("doom")
async def test_who_does_not_play_is_sent_away(world) -> None:
    ann, ben = await bots(world, 2)
    for _ in range(70):
        await play(world, [ann], 1)
        await world.advance(seconds=1)
    assert (await ben.client.closed())[0] == 4000
    assert ann.client.code is None
    assert [row[0] for row in ann.ticks[-1]["players"]] == [ann.key]


@example("doom")
async def test_vanished_players_leave_the_arena(world) -> None:
    ann, ben = await bots(world, 2)
    ben.client.vanish()
    await play(world, [ann], 10)
    assert [row[0] for row in ann.ticks[-1]["players"]] == [ann.key]


@example("doom")
async def test_nonsense_ends_its_own_socket_only(world) -> None:
    (ann,) = await bots(world, 1)
    for nonsense in ("[[1", "7", '[["1", 0, 0]]', b"\0", "null"):
        bad = await world.connect("/arena/a")
        bad.send(nonsense)
        assert (await bad.closed())[0] == 1007, nonsense
    await play(world, [ann], 10)
    assert ann.client.code is None
    assert len(ann.ticks[-1]["players"]) == 1
