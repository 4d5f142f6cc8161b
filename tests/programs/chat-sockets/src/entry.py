"""A chat over WebSockets, twice: rooms whose sockets hibernate, and halls that listen while somebody is there.

GET / is the page; /room/NAME and /hall/NAME are for WebSockets; /relay/NAME is a room whose socket the Worker itself passes on.
"""

import json

from js import Date, Object, WebSocketPair, WebSocketRequestResponsePair
from pyodide.ffi import create_proxy, to_js
from workers import DurableObject, Response, WorkerEntrypoint

PAGE = "<!doctype html><title>Chat</title><body><script>new WebSocket(`ws://${location.host}/room/lobby`)</script>"
HISTORY = 20


class ChatRoom(DurableObject):
    """Sockets hibernate: who is who is in their attachments, what was said in SQL."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS said (n INTEGER PRIMARY KEY, text TEXT)")
        self.ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new("ping", "pong"))

    async def fetch(self, request):
        if request.headers.get("Upgrade") != "websocket":
            return Response("Expected WebSocket upgrade", status=400)
        client, server = WebSocketPair.new().object_values()
        user = request.url.rpartition("user=")[2] if "user=" in request.url else "somebody"
        self.ctx.acceptWebSocket(server, to_js([user]))
        server.serializeAttachment(to_js({"user": user, "since": Date.now()}, dict_converter=Object.fromEntries))
        for row in self.ctx.storage.sql.exec(
            f"SELECT text FROM (SELECT * FROM said ORDER BY n DESC LIMIT {HISTORY}) ORDER BY n"
        ):
            server.send(row.text)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        user = ws.deserializeAttachment().user
        text = message if isinstance(message, str) else f"{len(message.to_bytes())} bytes"
        line = json.dumps({"user": user, "text": text})
        self.ctx.storage.sql.exec("INSERT INTO said (text) VALUES (?)", line)
        for each in self.ctx.getWebSockets():
            each.send(line)

    async def webSocketClose(self, ws, code, reason, wasClean):
        ws.close(1000, f"left with {code}")
        for each in self.ctx.getWebSockets():
            if each is not ws:
                each.send(json.dumps({"left": self.ctx.getTags(ws)[0]}))

    async def webSocketError(self, ws, error):
        ws.close(1011, "error")

    async def present(self):
        return sorted(tag for ws in self.ctx.getWebSockets() for tag in self.ctx.getTags(ws))

    async def count(self):
        return self.ctx.storage.sql.exec("SELECT COUNT(*) AS n FROM said").one()["n"]


class Hall(DurableObject):
    """accept() and listeners: what was said is in memory, and gone with it."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sessions = []
        self.said = []

    async def fetch(self, request):
        if request.headers.get("Upgrade") != "websocket":
            return Response("Expected WebSocket upgrade", status=400)
        client, server = WebSocketPair.new()
        server.accept()
        self.sessions.append(server)

        async def on_message(event):
            self.said.append(event.data)
            for session in self.sessions:
                session.send(f"{len(self.said)}: {event.data}")

        def on_close(event):
            self.sessions.remove(server)

        server.addEventListener("message", create_proxy(on_message))
        server.addEventListener("close", create_proxy(on_close))
        for text in self.said:
            server.send(text)
        return Response(None, status=101, web_socket=client)

    async def here(self):
        return len(self.sessions)


def relayed(response):
    """The Worker has both ends, and passes on what comes."""
    room = response.web_socket
    client, server = WebSocketPair.new().object_values()
    room.accept()
    server.accept()
    server.addEventListener("message", create_proxy(lambda event: room.send(event.data)))
    room.addEventListener("message", create_proxy(lambda event: server.send(f"relayed {event.data}")))
    server.addEventListener("close", create_proxy(lambda event: room.close(1000, "relay")))
    room.addEventListener(
        "close", create_proxy(lambda event: server.close(4000 if event.code == 1006 else event.code, event.reason))
    )
    return Response(None, status=101, web_socket=client)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = "/" + request.url.split("://", 1)[1].partition("/")[2].partition("?")[0]
        if path == "/":
            return Response(PAGE, headers={"content-type": "text/html"})
        for prefix, binding in (("/room/", self.env.ROOM), ("/hall/", self.env.HALL), ("/relay/", self.env.ROOM)):
            if path.startswith(prefix):
                name = path[len(prefix) :]
                if not name:
                    return Response("Room name required", status=400)
                answer = await binding.getByName(name).fetch(request)
                return relayed(answer) if prefix == "/relay/" and answer.web_socket is not None else answer
        return Response("Not found", status=404)
