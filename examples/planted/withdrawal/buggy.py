"""An account; its clients repeat a withdrawal whose answer they did not get."""

from workers import DurableObject


class Account(DurableObject):
    async def withdraw(self, key, amount):
        """`key` names the withdrawal: a repeat has the same."""
        balance = await self.balance() - amount
        await self.ctx.storage.put("balance", balance)
        return balance

    async def balance(self):
        found = await self.ctx.storage.get("balance")
        return 100 if found is None else found
