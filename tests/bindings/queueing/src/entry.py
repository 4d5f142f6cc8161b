"""A producer and its consumers, for the simulations and the tests with real processes: all that was consumed is in a ledger."""

import os

from workers import DurableObject, Response, WorkerEntrypoint

if os.environ.get("BROKEN_TWIN"):  # forgets what it hands out: the tests must notice
    from perdure.bindings.queue_shard import QueueShard

    claim = QueueShard._claim

    def forgetful(self, consumer, now_ms):
        rows = claim(self, consumer, now_ms)
        for row in rows:
            self._sql.exec("delete from messages where seq = ?", row[0])
        return rows

    QueueShard._claim = forgetful


class Ledger(DurableObject):
    async def note(self, queue, bodies):
        self.ctx.storage.sql.exec("create table if not exists notes(body text, queue text)")
        for body in bodies:
            self.ctx.storage.sql.exec("insert into notes values(?, ?)", body, queue)

    async def noted(self):
        """Body → the queues that it was consumed from."""
        found = {}
        self.ctx.storage.sql.exec("create table if not exists notes(body text, queue text)")
        for row in self.ctx.storage.sql.exec("select distinct body, queue from notes order by body, queue"):
            found.setdefault(row["body"], []).append(row["queue"])
        return found


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        ledger = self.env.LEDGER.getByName("all")
        if request.method == "POST":
            await self.env.JOBS.send(await request.text())
            return Response(None, status=204)
        return Response.json(await ledger.noted())

    async def queue(self, batch):
        for message in batch.messages:
            if batch.queue == "jobs" and message.body.startswith("bad"):
                message.retry()
        await self.env.LEDGER.getByName("all").note(batch.queue, [message.body for message in batch.messages])
