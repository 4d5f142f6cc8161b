"""A chat: rooms with history, who is there, who is typing. Who loses the connection misses nothing and says nothing twice.

GET /room/NAME                          the page
GET /room/NAME/live?name=Ann            a WebSocket that resumes (docs/resume.md), or a plain one
GET /room/NAME/history[?before=NUMBER]  the 50 messages before it, or the last ones: [{"number", "by", "text", "at"}, …]

Sent:   {"say": "hello"}, counted; {"typing": true} and {"name": "Ann"}, which may be lost. A plain socket sends what it says.
Heard:  {"number", "by", "text", "at"}, kept; {"here": ["Ann", …]} and {"typing": "Ann"}, for who is there now.
The object sleeps while nobody speaks: a socket's attachment holds the name of who is at its other end.
"""

import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from js import WebSocketPair
from perdure.resuming import Stream
from workers import DurableObject, Response, WorkerEntrypoint

PAGE = Path(__file__).with_name("page.html").read_text()
PART, TEXT_MAX, NAME_MAX = 50, 2_000, 30


def named(text):
    return " ".join(str(text).split())[:NAME_MAX] or "somebody"


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("CREATE TABLE IF NOT EXISTS messages(number INTEGER PRIMARY KEY, by TEXT, text TEXT, at INTEGER)")
        self.stream = Stream(ctx, keep=500, snapshot=self.history)

    def history(self, before=1 << 53):
        rows = self.sql.exec("SELECT * FROM messages WHERE number < ? ORDER BY number DESC LIMIT ?", before, PART)
        return [dict(row) for row in rows][::-1]

    async def older(self, before):
        return self.history(before)

    def others(self, socket):
        return [other for other in self.ctx.getWebSockets() if other is not socket and other.readyState == 1]

    def tell_who_is_here(self, gone=None, to=None):
        self.stream.tell({"here": sorted({socket.deserializeAttachment() for socket in self.others(gone)})}, to=to)

    async def fetch(self, request):
        client, server = WebSocketPair.new()
        self.ctx.acceptWebSocket(server)
        server.serializeAttachment(named(parse_qs(urlsplit(request.url).query).get("name", [""])[0]))
        self.tell_who_is_here()
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, socket, message):
        received = self.stream.receive(socket, message)
        match received and received.data:
            case {"say": str(text)} | str(text) if text.strip():
                self.say(socket.deserializeAttachment(), text[:TEXT_MAX])
            case {"typing": True}:
                self.stream.tell({"typing": socket.deserializeAttachment()}, to=self.others(socket))
            case {"name": str(name)}:
                socket.serializeAttachment(named(name))
                self.tell_who_is_here()
            case None if received is None and '"hello"' in message:
                self.tell_who_is_here(to=[socket])  # it has passed over what came before its welcome

    def say(self, by, text):
        at = int(time.time() * 1000)
        row = self.sql.exec("INSERT INTO messages(by, text, at) VALUES(?, ?, ?) RETURNING number", by, text, at).one()
        self.stream.publish({"number": row["number"], "by": by, "text": text, "at": at})

    async def webSocketClose(self, socket, code, reason, was_clean):
        self.tell_who_is_here(gone=socket)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        before = parse_qs(url.query).get("before", [""])[0]
        match [unquote(part) for part in url.path.strip("/").split("/")]:
            case [""]:
                return Response(None, status=302, headers={"Location": "/room/Lobby"})
            case ["room", name, *_] if not 0 < len(name) <= 60:
                return Response("a room has a name of at most 60 characters\n", status=400)
            case ["room", _]:
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            case ["room", name, "live"] if (request.headers.get("Upgrade") or "").lower() == "websocket":
                return await self.env.ROOMS.getByName(name).fetch(request)
            case ["room", _, "live"]:
                return Response("here a WebSocket begins\n", status=426, headers={"Upgrade": "websocket"})
            case ["room", name, "history"] if before.isdecimal() or not before:
                number = int(before[:15]) if before else 1 << 53
                return Response.json(await self.env.ROOMS.getByName(name).older(number))
        return Response("try GET /room/NAME\n", status=404)
