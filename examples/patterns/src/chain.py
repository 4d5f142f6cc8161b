"""A chain: each step writes down what it got, answers, and passes it on when it can.

What always holds: what the first step has acknowledged reaches the last one, once and in order. A step numbers what it sends; the
next one takes a number that it has had as done.
"""

from kept import AGAIN_MS, Kept
from perdure import PerdureError

LAST = 3


class Step(Kept):
    async def say(self, text):
        """From outside: only a step knows its next number."""
        await self.take(await self.read("newest", 0) + 1, [text])

    async def take(self, number, way):
        if number <= await self.read("newest", 0):
            return
        name = self.ctx.id.name
        if name.endswith(f"/{LAST}"):
            await self.write(newest=number, had=[*await self.had(), [*way, name]])
        else:
            await self.write(newest=number, ahead=[*await self.read("ahead", []), [*way, name]])
            await self.wake(0)

    async def alarm(self):
        name, _, at = self.ctx.id.name.rpartition("/")
        following = self.env.STEPS.getByName(f"{name}/{int(at) + 1}")
        while ahead := await self.read("ahead"):
            await self.wake(AGAIN_MS)
            number = await self.read("sent", 0) + 1
            try:
                await following.take(number, ahead[0])
            except PerdureError:
                return  # the next alarm sends it again, with the same number
            await self.write(sent=number, ahead=(await self.read("ahead"))[1:])
        await self.ctx.storage.deleteAlarm()

    async def had(self):
        return await self.read("had", [])
