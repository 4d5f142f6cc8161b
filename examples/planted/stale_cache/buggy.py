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

    async def read(self):
        if self.cached is None:
            self.cached = await self.env.Setting.getByName("all").value()
        return self.cached

    async def forget(self):
        self.cached = None
