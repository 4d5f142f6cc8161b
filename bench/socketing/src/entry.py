"""What the rows about sockets run: an object that sends back what it hears, or sends it to all. `twin.js` says the same."""

from js import WebSocketPair
from workers import DurableObject, Response, WorkerEntrypoint

woken = 0
"""Objects that were made in this process."""


class Hall(DurableObject):
    """Hibernating sockets; a message that begins with "all" goes to all of them."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        global woken
        woken += 1

    async def fetch(self, request):
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        if message.startswith("all"):
            for socket in self.ctx.getWebSockets():
                socket.send(message)
        else:
            ws.send(str(woken) if message == "woken?" else message)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await self.env.HALL.getByName(request.url.rsplit("/", 1)[1]).fetch(request)
