"""A parent that sees to it that its children work: one that fails again and again is replaced.

What always holds: each place has one child; a child that is replaced is told to end, also if the parent dies in between.
"""

import asyncio

from kept import AGAIN_MS, Kept
from perdure import PerdureError

BEAT_MS, FAILURES_MAX = 1_000, 3


class Parent(Kept):
    async def begin(self, count):
        if await self.read("children") is None:
            await self.write(children={str(at): {"born": 1, "beats": 0, "failures": 0} for at in range(count)})
            await self.wake(0)

    async def alarm(self):
        await self.wake(AGAIN_MS)
        await asyncio.gather(*[self.look(at) for at in await self.children()])
        for name in await self.read("old", []):
            await self.end(name)
        await self.wake(BEAT_MS)

    async def look(self, at):
        born = (await self.children())[at]["born"]
        try:
            seen = {"beats": await self.env.CHILDREN.getByName(f"{self.ctx.id.name}/{at}.{born}").beat(), "failures": 0}
        except PerdureError:
            seen = {"failures": (await self.children())[at]["failures"] + 1}
        children = await self.children()
        children[at] = {**children[at], **seen}
        if children[at]["failures"] >= FAILURES_MAX:
            old = [*await self.read("old", []), f"{self.ctx.id.name}/{at}.{born}"]
            children[at] = {"born": born + 1, "beats": 0, "failures": 0}
            await self.write(children=children, old=old)
        else:
            await self.write(children=children)

    async def end(self, name):
        try:
            await self.env.CHILDREN.getByName(name).end()
        except PerdureError:
            return
        await self.write(old=[other for other in await self.read("old", []) if other != name])

    async def children(self):
        return await self.read("children", {})

    async def break_one(self, at):
        """For trying it out."""
        await self.env.CHILDREN.getByName(f"{self.ctx.id.name}/{at}.{(await self.children())[at]['born']}").spoil()


class Child(Kept):
    async def beat(self):
        """Do some work; how much was done in all."""
        if await self.read("spoilt"):
            raise RuntimeError("this child has lost its way")
        await self.write(beats=await self.read("beats", 0) + 1)
        return await self.read("beats")

    async def spoil(self):
        await self.write(spoilt=True)

    async def end(self):
        """Nothing of it is left."""
        await self.ctx.storage.deleteAll()
