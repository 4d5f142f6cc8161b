"""A consumer that only counts, for the row `queues`."""

from workers import DurableObject, WorkerEntrypoint


class Counter(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.count = 0

    async def add(self, count):
        self.count += count
        return self.count


class Default(WorkerEntrypoint):
    async def queue(self, batch):
        await self.env.COUNTER.getByName("all").add(len(batch.messages))
