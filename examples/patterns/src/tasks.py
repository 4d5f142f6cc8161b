"""A coordinator has several tasks done, each by an object of its own, and a survey asks many objects at a time.

What always holds: a task that was begun is done in the end, and counts once, whichever process dies in between.
"""

import asyncio

from kept import AGAIN_MS, Kept
from perdure import PerdureError

ASKED_MAX = 8


class Coordinator(Kept):
    async def begin(self, texts):
        """Asked twice it begins once."""
        if await self.read("tasks") is None:
            await self.write(tasks=dict.fromkeys(texts))
            await self.wake(0)

    async def alarm(self):
        await self.wake(AGAIN_MS)
        waiting = [text for text, words in (await self.tasks()).items() if words is None]
        await asyncio.gather(*[self.ask(text) for text in waiting])
        if all(words is not None for words in (await self.tasks()).values()):
            await self.ctx.storage.deleteAlarm()

    async def ask(self, text):
        try:
            words = await self.env.TASKS.getByName(f"{self.ctx.id.name}/{text}").run(text)
        except PerdureError:
            return  # the next alarm asks again
        await self.write(tasks={**await self.tasks(), text: words})

    async def tasks(self):
        return await self.read("tasks", {})


class Task(Kept):
    async def run(self, text):
        """Asked again it only repeats what it said."""
        if await self.words() is None:
            await asyncio.sleep(0.5)  # the work
            await self.write(words=len(text.split()), runs=await self.read("runs", 0) + 1)
        return await self.words()

    async def words(self):
        return await self.read("words")


class Survey(Kept):
    async def words(self, names):
        """Fan-out and fan-in: all are asked, a few at a time; who is away does not spoil the sum, and is named."""
        few = asyncio.Semaphore(ASKED_MAX)
        answers = await asyncio.gather(*[self.ask(self.env.TASKS.getByName(name), few) for name in names])
        away = [name for name, answer in zip(names, answers, strict=True) if answer is None]
        return {"words": sum(answer or 0 for answer in answers), "away": away}

    async def ask(self, task, few):
        """A second time if need be: to read twice does no harm."""
        for _ in range(2):
            try:
                async with few, asyncio.timeout(1):
                    return await task.words() or 0
            except (PerdureError, TimeoutError):
                await asyncio.sleep(0.2)
        return None
