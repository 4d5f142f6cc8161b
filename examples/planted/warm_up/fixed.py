"""A shopping cart that is kept in memory and loaded when the object starts."""

from workers import DurableObject


class Cart(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.items = []
        ctx.blockConcurrencyWhile(self.load)

    async def load(self):
        self.items = await self.ctx.storage.get("items") or []

    async def add(self, item):
        if item not in self.items:
            self.items.append(item)
            await self.ctx.storage.put("items", self.items)

    async def contents(self):
        return self.items
