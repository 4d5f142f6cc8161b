from urllib.parse import urlparse

from workers import DurableObject, Response, WorkerEntrypoint

HELP = "Say which room: /room-1/add/hello or /room-1/show"


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage = ctx.storage

    async def messages(self):
        found = await self.storage.get("messages")
        return list(found) if found else []

    async def add(self, message):
        messages = await self.messages()
        messages.append(message)
        await self.storage.put("messages", messages)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        parts = urlparse(request.url).path.split("/")
        room = parts[1]
        if not room:
            return Response(HELP, status=400)
        stub = self.env.ROOMS.get(self.env.ROOMS.idFromName(room))
        match parts[2:]:
            case ["add", message]:
                await stub.add(message)
                return Response("Message sent")
            case ["show"]:
                messages = await stub.messages()
                return Response("\n".join(messages) if messages else "No messages")
        return Response("Not Found", status=404)
