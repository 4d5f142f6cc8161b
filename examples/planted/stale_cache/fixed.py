"""A setting, and a reader that caches it; a change tells the reader to forget what it has."""

from workers import DurableObject


class Setting(DurableObject):
    async def change(self, value):
        await self.ctx.storage.put("value", value)
        await self.env.Reader.getByName("all").forget()

    async def value(self):
        return await self.ctx.storage.get("value") or "old"


class Reader(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.cached = None
        self.forgotten = 0

    async def read(self):
        """What was asked for before the reader was told to forget is not kept."""
        if self.cached is not None:
            return self.cached
        forgotten = self.forgotten
        value = await self.env.Setting.getByName("all").value()
        if forgotten == self.forgotten:
            self.cached = value
        return value

    async def forget(self):
        self.cached = None
        self.forgotten += 1
