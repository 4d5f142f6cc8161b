"""A chat for many rooms with many listeners. Messages lie in shards, by room and day; outlets stand between them and listeners.

GET  /room/NAME                      the page
POST /room/NAME/say?by=ann           the body is said: its number, which is the time in milliseconds, or a little more
GET  /room/NAME/history[?before=NUMBER]   the last 50 of a week: [{"number", "by", "text"}, …]
GET  /room/NAME/live?after=NUMBER    server-sent events: each message after that number, once, in order

A room's messages are neighbours; those of a busy room may lie in several shards. An outlet that is told of a message reads what
is new for its own listeners. It keeps nothing, and looks by itself every few seconds: nothing is missed when one dies.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from perdure.sharding import RoundRobin
from rooms import RoomMap, Rooms, messages, say
from workers import DurableObject, Response, WorkerEntrypoint

__all__ = ["Default", "Outlet", "RoomMap", "Rooms"]
PAGE = Path(__file__).with_name("page.html").read_text()
OUTLETS, LOOK_S = 4, 5


def outlets_of(env, room):
    return RoundRobin(env.OUTLETS, OUTLETS, name=f"{room}/")


class Outlet(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.told = asyncio.Event()  # a new one after each message

    async def tell(self):
        self.told.set()
        self.told = asyncio.Event()

    async def listen(self, room, after):
        while True:
            told, found = self.told, await messages(self.env, room, after=after)
            for message in found:
                after = message["number"]
                yield f"id: {after}\ndata: {json.dumps(message)}\n\n".encode()
            if not found:
                yield b": \n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), LOOK_S)

    async def fetch(self, request):
        _, room, after = unquote(urlsplit(request.url).path).split("/")
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        return Response(self.listen(room, int(after)), headers=headers)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        number = request.headers.get("Last-Event-ID") or query.get("after") or query.get("before") or str(1 << 53)
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "GET", "room", _:
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            case _, "room", room, _ if (
                not 0 < len(room) <= 60 or "\0" in room or not number.isdecimal() or len(number) > 16
            ):
                return Response("a name of at most 60 characters, a number\n", status=400)
            case "POST", "room", room, "say":
                said = await say(self.env, room, query.get("by", "")[:40], (await request.text())[:2_000])
                self.ctx.waitUntil(outlets_of(self.env, room).gather("tell"))
                return Response.json(said)
            case "GET", "room", room, "history":
                return Response.json(await messages(self.env, room, before=int(number)))
            case "GET", "room", room, "live":
                return await outlets_of(self.env, room).next().fetch(f"http://outlet/{quote(room, safe='')}/{number}")
        return Response("try GET /room/NAME\n", status=404)
