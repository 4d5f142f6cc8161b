"""A subscription that charges once a month, driven by its alarm."""

import time

from workers import DurableObject

MONTH_MS = 20_000  # short months, so that a test need not wait


class Ledger(DurableObject):
    async def charge(self, invoice, amount):
        """An invoice is charged once, however often its alarm asks."""
        charges = await self.ctx.storage.get("charges") or []
        if all(known != invoice for known, _ in charges):
            await self.ctx.storage.put("charges", [*charges, [invoice, amount]])

    async def charges(self):
        return await self.ctx.storage.get("charges") or []


class Subscription(DurableObject):
    async def start(self, months):
        if await self.ctx.storage.get("months") is None:
            await self.ctx.storage.put({"months": months, "month": 1})
            await self.ctx.storage.setAlarm(time.time() * 1000 + MONTH_MS)

    async def alarm(self):
        month, months = await self.ctx.storage.get("month"), await self.ctx.storage.get("months")
        if month <= months:
            await self.env.Ledger.getByName("all").charge(f"month {month}", 10)
            await self.ctx.storage.put("month", month + 1)
            await self.ctx.storage.setAlarm(time.time() * 1000 + MONTH_MS)
