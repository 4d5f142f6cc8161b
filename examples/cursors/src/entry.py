"""Live cursors: everybody on a board sees everybody's pointer move, 30 times a second, and the dots that they leave.

GET /board/NAME        the page
GET /board/NAME/live   a WebSocket that resumes (docs/resume.md)

Sent:   [x, y] of the pointer, from 0 to 9999, which may be lost; {"dot": [x, y]}, counted.
Heard:  {"you": id}, {"here": [{"id", "name", "hue"}, …]} and {"moved": {id: [x, y], …}}, for now; {"dot": [x, y], "hue"}, kept.

However many move, the object sends each of them one frame a tick; while all are still it sends nothing, and sleeps.
"""

import asyncio
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

from js import WebSocketPair
from perdure.resuming import Stream
from workers import DurableObject, Response, WorkerEntrypoint

PAGE = Path(__file__).with_name("page.html").read_text()
TICK_S, DOTS, SIDE = 1 / 30, 300, 10_000
NAMES = ["Otter", "Heron", "Lynx", "Finch", "Badger", "Newt", "Hare", "Crane", "Ibex", "Plover", "Wren"]


def is_place(value):
    return isinstance(value, list) and len(value) == 2 and all(type(part) is int and 0 <= part < SIDE for part in value)


class Board(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.stream = Stream(ctx, keep=DOTS)
        self.moved = {}
        self.ticking = None  # the task that sends what has moved

    async def fetch(self, request):
        client, server = WebSocketPair.new()
        number = secrets.randbelow(1 << 30)
        self.ctx.acceptWebSocket(server)
        server.serializeAttachment(
            {"id": f"{number:x}", "name": NAMES[number % len(NAMES)], "hue": number // 16 * 137 % 360}
        )
        self.tell_who_is_here()
        return Response(None, status=101, web_socket=client)

    def tell_who_is_here(self, gone=None, to=None):
        here = [
            socket.deserializeAttachment()
            for socket in self.ctx.getWebSockets()
            if socket is not gone and socket.readyState == 1
        ]
        self.stream.tell({"here": sorted(here, key=lambda one: one["id"])}, to=to)

    async def webSocketMessage(self, socket, message):
        received = self.stream.receive(socket, message)
        if received is None and isinstance(message, str) and '"hello"' in message:
            self.stream.tell({"you": socket.deserializeAttachment()["id"]}, to=[socket])
            self.tell_who_is_here(to=[socket])
        match received and received.data:
            case place if is_place(place):
                self.move(socket.deserializeAttachment()["id"], place)
            case {"dot": place} if is_place(place):
                self.stream.publish({"dot": place, "hue": socket.deserializeAttachment()["hue"]})

    def move(self, who, place):
        self.moved[who] = place
        if self.ticking is None:
            self.ticking = asyncio.create_task(self.tick())

    async def tick(self):
        while self.moved:
            moved, self.moved = self.moved, {}
            self.stream.tell({"moved": moved})
            await asyncio.sleep(TICK_S)
        self.ticking = None

    async def webSocketClose(self, socket, code, reason, was_clean):
        self.tell_who_is_here(gone=socket)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match [unquote(part) for part in urlsplit(request.url).path.strip("/").split("/")]:
            case [""]:
                return Response(None, status=302, headers={"Location": "/board/Playground"})
            case ["board", name] if 0 < len(name) <= 60:
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            case ["board", name, "live"] if (request.headers.get("Upgrade") or "").lower() == "websocket":
                return await self.env.BOARDS.getByName(name[:60]).fetch(request)
            case ["board", _, "live"]:
                return Response("here a WebSocket begins\n", status=426, headers={"Upgrade": "websocket"})
        return Response("try GET /board/NAME\n", status=404)
