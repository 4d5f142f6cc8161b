"""Money moves from one account to another; none is made, none is lost."""

import time

from workers import DurableObject


class Account(DurableObject):
    async def transfer(self, key, to, amount):
        """`key` names the transfer: a repeat has the same. Money that has left lies in an outbox until it has arrived."""
        if await self.ctx.storage.get(f"sent:{key}") is None:
            balance = await self.balance() - amount
            await self.ctx.storage.put({f"sent:{key}": amount, f"outbox:{key}": [to, amount], "balance": balance})
            await self.ctx.storage.setAlarm(time.time() * 1000)

    async def alarm(self):
        for name, (to, amount) in (await self.ctx.storage.list(prefix="outbox:")).items():
            await self.env.Account.getByName(to).deposit(name.removeprefix("outbox:"), amount)
            await self.ctx.storage.delete(name)

    async def deposit(self, key, amount):
        if await self.ctx.storage.get(f"received:{key}") is None:
            await self.ctx.storage.put({f"received:{key}": amount, "balance": await self.balance() + amount})

    async def balance(self):
        found = await self.ctx.storage.get("balance")
        return 100 if found is None else found
