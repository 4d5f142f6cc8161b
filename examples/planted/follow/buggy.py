"""Accounts that follow each other: both sides keep a list, and the lists must agree."""

from workers import DurableObject


class Account(DurableObject):
    async def follow(self, me, other):
        await self.env.Account.getByName(other).add_follower(me)
        await self.ctx.storage.put(f"following:{other}", True)

    async def unfollow(self, me, other):
        await self.env.Account.getByName(other).remove_follower(me)
        await self.ctx.storage.delete(f"following:{other}")

    async def add_follower(self, name):
        await self.ctx.storage.put(f"follower:{name}", True)

    async def remove_follower(self, name):
        await self.ctx.storage.delete(f"follower:{name}")

    async def is_following(self, other):
        return await self.ctx.storage.get(f"following:{other}") is not None

    async def has_follower(self, name):
        return await self.ctx.storage.get(f"follower:{name}") is not None
