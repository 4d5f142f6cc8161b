"""A producer and its consumer: what arrives is kept in an object; one message is retried once."""

from js import Object
from pyodide.ffi import to_js
from workers import DurableObject, Response, WorkerEntrypoint


class Inbox(DurableObject):
    async def add(self, entry):
        entries = await self.ctx.storage.get("entries") or []
        entries.append(entry)
        await self.ctx.storage.put("entries", entries)

    async def entries(self):
        return await self.ctx.storage.get("entries") or []


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "POST":
            await self.env.JOBS.send({"url": "https://example.com/a", "n": 1})
            await self.env.JOBS.send("plain", contentType="text")
            await self.env.JOBS.send(to_js({"js": True}, dict_converter=Object.fromEntries))
            await self.env.JOBS.sendBatch([{"body": "one of two"}, {"body": [1, 2, 3]}], delaySeconds=0)
            return Response.json({"sent": 5}, status=202)
        return Response.json(await self.env.INBOX.getByName("in").entries())

    async def queue(self, batch):
        for message in batch.messages:
            if message.body == "plain" and message.attempts == 1:
                message.retry(delaySeconds=1)
                continue
            body = message.body
            await self.env.INBOX.getByName("in").add(
                {"queue": batch.queue, "body": body, "attempts": message.attempts, "id": bool(message.id)}
            )
            message.ack()
