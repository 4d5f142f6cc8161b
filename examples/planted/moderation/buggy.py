"""A feed: authors post to it directly, a moderator takes spam away."""

import asyncio

from workers import DurableObject


class Feed(DurableObject):
    async def post(self, number, text):
        await self.ctx.storage.put(f"post:{number}", text)

    async def remove(self, number):
        await self.ctx.storage.delete(f"post:{number}")

    async def texts(self):
        return list((await self.ctx.storage.list(prefix="post:")).values())


class Moderator(DurableObject):
    async def review(self, number, text):
        if "spam" in text:
            await self.env.Feed.getByName("all").remove(number)


class Author(DurableObject):
    async def write(self, number, text):
        posted = self.env.Feed.getByName("all").post(number, text)
        reviewed = self.env.Moderator.getByName("all").review(number, text)
        await asyncio.gather(posted, reviewed)
