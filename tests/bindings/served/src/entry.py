"""A program with bindings for the simulations and the tests with real processes."""

from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def remember(self, key, value):
        """In the object first, then in KV: what leaves must not overtake what was stored."""
        await self.ctx.storage.put(key, value)
        await self.env.KV.put(key, value)

    async def recall(self, key):
        return [await self.ctx.storage.get(key), await self.env.KV.get(key)]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.rsplit("/", 1)[-1]
        if request.method == "PUT":
            await self.env.KV.put(name, request.body)
            await self.env.DB.prepare("insert or replace into files(name) values (?)").bind(name).run()
            return Response(None, status=204)
        if request.method == "GET":
            body = await self.env.KV.get(name, "stream")
            return Response("not found", status=404) if body is None else Response(body)
        await self.env.DB.exec("create table if not exists files(name text primary key)")
        found = await self.env.DB.prepare("select name from files order by name").all()
        return Response.json([row.name for row in found.results])
