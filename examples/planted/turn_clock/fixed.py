"""A game in which a player who does not move in time forfeits."""

import time

from workers import DurableObject

TURN_S = 8


class Game(DurableObject):
    async def begin_turn(self, number, player):
        if number > (await self.ctx.storage.get("number") or 0):
            await self.ctx.storage.put({"number": number, "player": player})
            await self.ctx.storage.setAlarm((time.time() + TURN_S) * 1000)

    async def move(self, number):
        if number == await self.ctx.storage.get("number"):
            await self.ctx.storage.put("player", None)
            await self.ctx.storage.deleteAlarm()

    async def alarm(self):
        player = await self.ctx.storage.get("player")
        if player is not None:
            await self.ctx.storage.put({"player": None, "forfeited": player})

    async def state(self):
        return {name: await self.ctx.storage.get(name) for name in ("number", "player", "forfeited")}
