"""A program with a bucket and models, for the tests with real processes."""

from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    async def ask(self, question):
        found = await self.env.AI.run("@cf/meta/llama", {"prompt": question})
        await self.env.FILES.put("answer", found.response)
        return found.response

    async def keep(self, name, size):
        await self.env.FILES.put(name, b"k" * size)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.rsplit("/", 1)[-1]
        if name == "stream":
            return Response(await self.env.AI.run("m", {"prompt": "x", "stream": True}))
        if name == "ask":
            return Response(await self.env.ROOM.getByName("a").ask("Hi"))
        if request.method == "PUT":
            found = await self.env.FILES.put(name, request.body)
            return Response(found.etag)
        if not name:
            return Response.json([each.key for each in (await self.env.FILES.list()).objects])
        found = await self.env.FILES.get(name)
        return Response("not found", status=404) if found is None else Response(found.body)
