"""A game in which a player who does not move in time forfeits."""

import asyncio

from workers import DurableObject

TURN_S = 8


class Game(DurableObject):
    async def begin_turn(self, number, player):
        if number > (await self.ctx.storage.get("number") or 0):
            await self.ctx.storage.put({"number": number, "player": player})
            self.ctx.waitUntil(self.clock(number))

    async def move(self, number):
        if number == await self.ctx.storage.get("number"):
            await self.ctx.storage.put("player", None)

    async def clock(self, number):
        await asyncio.sleep(TURN_S)
        player = await self.ctx.storage.get("player")
        if number == await self.ctx.storage.get("number") and player is not None:
            await self.ctx.storage.put({"player": None, "forfeited": player})

    async def state(self):
        return {name: await self.ctx.storage.get(name) for name in ("number", "player", "forfeited")}
