"""Accounts that follow each other: both sides keep a list, and the lists must agree."""

import time

from workers import DurableObject


class Account(DurableObject):
    async def follow(self, me, other):
        await self.decide(me, other, True)

    async def unfollow(self, me, other):
        await self.decide(me, other, False)

    async def decide(self, me, other, follows):
        """The decision is made here, numbered; the other side is told until it has heard it."""
        number = (await self.ctx.storage.get("decisions") or 0) + 1
        edge = {"me": me, "number": number, "follows": follows, "told": False}
        await self.ctx.storage.put({"decisions": number, f"following:{other}": edge})
        await self.ctx.storage.setAlarm(time.time() * 1000 + 1000)

    async def alarm(self):
        for key, edge in (await self.ctx.storage.list(prefix="following:")).items():
            if not edge["told"]:
                other = self.env.Account.getByName(key.removeprefix("following:"))
                await other.hear(edge["me"], edge["number"], edge["follows"])
                if (await self.ctx.storage.get(key))["number"] == edge["number"]:
                    await self.ctx.storage.put(key, {**edge, "told": True})

    async def hear(self, name, number, follows):
        known = await self.ctx.storage.get(f"follower:{name}")
        if known is None or known["number"] < number:
            await self.ctx.storage.put(f"follower:{name}", {"number": number, "follows": follows})

    async def is_following(self, other):
        return bool((await self.ctx.storage.get(f"following:{other}") or {}).get("follows"))

    async def has_follower(self, name):
        return bool((await self.ctx.storage.get(f"follower:{name}") or {}).get("follows"))
