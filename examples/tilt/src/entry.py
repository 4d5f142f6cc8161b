"""A phone as the controller of a game on a laptop: tilt it, and your marble rolls.

GET  /               the screen; it opens a room and shows its code
GET  /play[/CODE]    the controller, for phones
POST /rooms          {"code": "K7PM", "room": …, "until": ms}
GET  /codes/CODE     {"room": …}; 404 when there is no such code, or no more
GET  /room/ROOM/live?as=screen, ?as=pad&key=KEY   a WebSocket that resumes (docs/resume.md); a key keeps its number

A pad sends [x, y] from -100 to 100, 30 times a second at most; the screen gets {"pad": id, "tilt": [x, y]}. It sends
{"scores": {id: 3}}; pads get it, and {"you": id, "hue": 200}. It hears {"pads": [{"id", "hue"}, …]} when they come or go.
What a phone feels is old after a moment: none of it is kept, and who is away misses nothing.
"""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hub import Hub
from js import WebSocketPair
from pads import chosen
from perdure.resuming import Stream
from workers import DurableObject, Response, WorkerEntrypoint

__all__ = ["Default", "Hub", "Room"]
SCREEN, PLAY = (Path(__file__).with_name(name).read_text() for name in ("screen.html", "play.html"))


def is_tilt(value):
    return isinstance(value, list) and len(value) == 2 and all(type(part) is int and abs(part) <= 100 for part in value)


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.stream = Stream(ctx, keep=1)

    def open(self, tag, gone=None):
        return [one for one in self.ctx.getWebSockets(tag) if one is not gone and one.readyState == 1]

    def tell_screen(self, gone=None):
        found = {pad["id"]: pad["hue"] for pad in (one.deserializeAttachment() for one in self.open("pad", gone))}
        pads = [{"id": number, "hue": found[number]} for number in sorted(found)]
        self.stream.tell({"pads": pads}, to=self.open("screen", gone))

    def number_for(self, key):
        pads = [(socket, socket.deserializeAttachment()) for socket in self.open("pad")]
        taken = {pad["id"] for _, pad in pads if pad["key"] != key}
        for socket in [socket for socket, pad in pads if pad["key"] == key]:
            socket.close(1000, "continued elsewhere")  # or it is dead, and nobody knows yet
        kept = self.ctx.storage.kv
        number, had = chosen(kept.get("numbers") or {}, taken, key)
        kept.put("numbers", had)
        return number

    async def fetch(self, request):
        query = parse_qs(urlsplit(request.url).query)
        role, key = query.get("as", [""])[0], query.get("key", [""])[0][:40]
        number = self.number_for(key) if role == "pad" else None
        if role != "screen" and number is None:
            return Response("as=screen or as=pad; a room has twelve pads\n", status=409)
        client, server = WebSocketPair.new()
        self.ctx.acceptWebSocket(server, [role])
        if number:
            server.serializeAttachment({"id": number, "hue": (number * 137 + 60) % 360, "key": key})
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, socket, message):
        received = self.stream.receive(socket, message)
        pad = socket.deserializeAttachment()
        if received is None and isinstance(message, str) and '"hello"' in message:
            if pad:
                self.stream.tell({"you": pad["id"], "hue": pad["hue"]}, to=[socket])
            self.tell_screen()
        match received and received.data:
            case tilt if pad and is_tilt(tilt):
                self.stream.tell({"pad": pad["id"], "tilt": tilt}, to=self.open("screen"))
            case {"scores": dict(scores)} if not pad:
                self.stream.tell({"scores": scores}, to=self.open("pad"))

    async def webSocketClose(self, socket, code, reason, was_clean):
        self.tell_screen(gone=socket)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        hub = self.env.HUBS.getByName("hub")
        upgrade = (request.headers.get("Upgrade") or "").lower() == "websocket"
        match request.method, *[unquote(part) for part in urlsplit(request.url).path.strip("/").split("/")]:
            case "GET", "":
                return Response(SCREEN, headers={"Content-Type": "text/html; charset=utf-8"})
            case ("GET", "play") | ("GET", "play", _):
                return Response(PLAY, headers={"Content-Type": "text/html; charset=utf-8"})
            case "POST", "rooms":
                return Response.json(await hub.open())
            case "GET", "codes", code:
                room = await hub.room_of(code)
                return Response.json({"room": room}, status=200 if room else 404)
            case "GET", "room", room, "live" if upgrade and 0 < len(room) <= 40:
                return await self.env.ROOMS.getByName(room).fetch(request)
        return Response("try GET /\n", status=404)
