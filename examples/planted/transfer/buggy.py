"""Money moves from one account to another; none is made, none is lost."""

from workers import DurableObject


class Account(DurableObject):
    async def transfer(self, key, to, amount):
        """`key` names the transfer: a repeat has the same."""
        if await self.ctx.storage.get(f"sent:{key}") is None:
            await self.ctx.storage.put({f"sent:{key}": amount, "balance": await self.balance() - amount})
            await self.env.Account.getByName(to).deposit(key, amount)

    async def deposit(self, key, amount):
        if await self.ctx.storage.get(f"received:{key}") is None:
            await self.ctx.storage.put({f"received:{key}": amount, "balance": await self.balance() + amount})

    async def balance(self):
        found = await self.ctx.storage.get("balance")
        return 100 if found is None else found
