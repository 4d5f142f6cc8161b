"""Players that are programs: they run after the nearest other one, turn away from walls, and shoot when they see somebody.

python examples/doom/bots.py ws://127.0.0.1:8787/arena/foundry --bots 8 --seconds 60

At the end each says what it saw: how many ticks, whether each followed the one before, and the longest pause.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import time

import aiohttp

AHEAD, LEFT, RIGHT, FIRE = 1, 4, 8, 16
WAITING_MAX = 24
STEP = 0.16
INPUTS_A_TICK = 3


class Bot:
    def __init__(self, name: str, seed: int) -> None:
        self.name, self.key = name, ""
        self.random = random.Random(seed)
        self.ticks: list[dict] = []
        self.heard_at: list[float] = []
        self.waiting: list[list[float]] = []
        self.number, self.angle = 0, 0.0
        self.ended: int | None = None
        """Close code, if the connection ended before its time."""

    async def play(self, url: str, seconds: float) -> Bot:
        end = time.monotonic() + seconds
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}?name={self.name}") as socket:
            sending = asyncio.create_task(self.send(socket, end))
            try:
                while (left := end - time.monotonic()) > 0:
                    try:
                        message = await socket.receive(timeout=left)
                    except TimeoutError:
                        break
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        self.ended = socket.close_code or 1006
                        break
                    self.hear(json.loads(message.data))
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        return self

    def hear(self, told: dict) -> None:
        if "you" in told:
            self.key = told["you"]
        elif "players" in told:
            self.ticks.append(told)
            self.heard_at.append(time.monotonic())
            mine = self.row(told)
            if mine:
                self.waiting = [given for given in self.waiting if given[0] > mine[7]]

    def row(self, told: dict) -> list | None:
        return next((row for row in told["players"] if row[0] == self.key), None)

    async def send(self, socket: aiohttp.ClientWebSocketResponse, end: float) -> None:
        due = time.monotonic()
        while due < end:
            if self.ticks and len(self.waiting) < WAITING_MAX:
                self.number += 1
                self.waiting.append([self.number, self.choose(), round(self.angle, 3)])
                await socket.send_str(json.dumps(self.waiting))
            due += 0.05
            await asyncio.sleep(max(0, due - time.monotonic()))

    def choose(self) -> int:
        """Keys of this step; turns as well."""
        told = self.ticks[-1]
        mine = self.row(told)
        if mine is None:
            return 0
        _, x, y, *_ = mine
        others = [row for row in told["players"] if row[0] != self.key and row[4] > 0]
        keys = AHEAD
        if others:
            near = min(others, key=lambda row: math.dist((x, y), row[1:3]))
            wanted = math.atan2(near[2] - y, near[1] - x)
            off = math.remainder(wanted - self.angle, math.tau)
            self.angle += max(-0.25, min(0.25, off)) + self.random.gauss(0, 0.02)
            if abs(off) < 0.1:
                keys |= FIRE
        if len(self.ticks) > 5:
            before = self.row(self.ticks[-5])
            if before and math.dist((x, y), before[1:3]) < 0.1:  # a wall: along it
                keys |= self.random.choice((LEFT, RIGHT))
                self.angle += self.random.uniform(-0.8, 0.8)
        return keys

    # ------------------------------------------------------------------ what it saw
    def gaps(self) -> list[tuple[int, int]]:
        """Ticks that did not follow the one before: told twice, left out, or thrown back."""
        numbers = [told["tick"] for told in self.ticks]
        return [pair for pair in itertools.pairwise(numbers) if pair[1] != pair[0] + 1]

    def leaps(self) -> list[float]:
        """How far it was moved in one tick, where that is more than it can have walked and it did not begin anew."""
        found = []
        for before, after in itertools.pairwise(self.ticks):
            one, other = self.row(before), self.row(after)
            if one and other and ["spawn", self.key] not in after["events"]:
                far = math.dist(one[1:3], other[1:3])
                if far > INPUTS_A_TICK * STEP + 0.01:
                    found.append(far)
        return found

    def taken_back(self) -> int:
        """How often a number went down that only grows: inputs used, frags, deaths."""
        rows = [row for row in map(self.row, self.ticks) if row]
        return sum(before[at] > after[at] for before, after in itertools.pairwise(rows) for at in (5, 6, 7))

    def pause(self) -> float:
        """The longest time without a tick, in seconds."""
        return max((after - before for before, after in itertools.pairwise(self.heard_at)), default=0.0)


async def match(url: str, bots: int, seconds: float) -> list[Bot]:
    return await asyncio.gather(*(Bot(f"bot{number}", number).play(url, seconds) for number in range(bots)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--bots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    for bot in asyncio.run(match(asked.url, asked.bots, asked.seconds)):
        rows = [row for row in map(bot.row, bot.ticks) if row]
        score = f"{rows[-1][5]} frags, {rows[-1][6]} deaths" if rows else "never in"
        told = f"{len(bot.ticks)} ticks, {len(bot.gaps())} gaps, {len(bot.leaps())} leaps, pause {bot.pause() * 1000:.0f} ms"
        print(f"{bot.name}: {score}; {told}" + (f"; ended with {bot.ended}" if bot.ended else ""))
