"""PROGRAM_NAME: counters with a name each. POST /NAME counts up, GET /NAME reads."""

from urllib.parse import urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value

    async def value(self):
        return await self.ctx.storage.get("value") or 0


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = urlsplit(request.url).path.strip("/")
        if not name:
            return Response("name a counter: POST /NAME\n", status=400)
        counter = self.env.COUNTERS.getByName(name)
        if request.method == "POST":
            return Response(f"{await counter.increment()}\n")
        return Response(f"{await counter.value()}\n")
