"""A cron trigger that leaves a note, in a program that also answers."""

from js import Date
from workers import DurableObject, Response, WorkerEntrypoint


class Log(DurableObject):
    async def add(self, at, cron):
        entries = await self.ctx.storage.get("entries") or []
        entries.append({"at": at, "cron": cron})
        await self.ctx.storage.put("entries", entries)

    async def entries(self):
        return await self.ctx.storage.get("entries") or []


class Default(WorkerEntrypoint):
    async def scheduled(self, controller, env, ctx):
        env, ctx = self.env, self.ctx
        print("cron processed", Date.new(controller.scheduledTime).toISOString())
        await env.LOG.getByName("log").add(controller.scheduledTime, controller.cron)
        ctx.waitUntil(env.LOG.getByName("late").add(controller.scheduledTime, controller.cron))

    async def fetch(self, request):
        entries = await self.env.LOG.getByName("log").entries()
        late = await self.env.LOG.getByName("late").entries()
        return Response.json({"entries": entries, "late": len(late)})
