"""Rooms that close by themselves: when nobody has said anything for IDLE_SECONDS an alarm erases all of the room.

POST /room/NAME                 opens it: 201, 200 when it is open
POST /room/NAME/say?by=ann      the body is what ann says: 200 with its number, 410 when the room is closed
GET  /room/NAME[?after=NUMBER]  {"closes_ms": …, "messages": [{"number": 1, "by": "ann", "text": "hi"}, …]}, or 410

Reading does not keep a room open. A closed room has no file, no row, nothing: it costs what a room costs that never was.
"""

import time
from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

MESSAGE_CHARACTERS_MAX, MESSAGES_SHOWN_MAX = 1000, 100


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage, self.sql = ctx.storage, ctx.storage.sql

    async def closes_ms(self):
        """When the room closes, None when it is closed. The time decides; the alarm may come a little later than it."""
        closes_ms = await self.storage.get("closes_ms")
        return closes_ms if closes_ms is not None and time.time() * 1000 < closes_ms else None

    async def stay(self):
        closes_ms = int(time.time() * 1000 + float(self.env.IDLE_SECONDS) * 1000)
        await self.storage.put("closes_ms", closes_ms)
        await self.storage.setAlarm(closes_ms)  # replaces the one before

    async def open(self):
        """Whether it was closed."""
        if await self.closes_ms() is not None:
            return False
        await self.storage.deleteAll()  # what the alarm has not come to yet
        self.sql.exec("CREATE TABLE messages(number INTEGER PRIMARY KEY AUTOINCREMENT, by TEXT, text TEXT)")
        await self.stay()
        return True

    async def say(self, by, text):
        if await self.closes_ms() is None:
            return None
        await self.stay()
        query = "INSERT INTO messages(by, text) VALUES(?, ?) RETURNING number"
        return self.sql.exec(query, by, text).one()["number"]

    async def read(self, after):
        closes_ms = await self.closes_ms()
        if closes_ms is None:
            return None
        query = "SELECT number, by, text FROM messages WHERE number > ? ORDER BY number LIMIT ?"
        return {"closes_ms": closes_ms, "messages": self.sql.exec(query, after, MESSAGES_SHOWN_MAX).toArray()}

    async def alarm(self):
        if await self.closes_ms() is None:  # else it was opened anew in this moment
            await self.storage.deleteAll()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        closed = Response("the room is closed\n", status=410)
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "POST", "room", name if name:
                opened = await self.env.ROOMS.getByName(name).open()
                return Response("open\n", status=201 if opened else 200)
            case "POST", "room", name, "say":
                by, text = query.get("by", "").strip(), (await request.text()).strip()
                if not by or not 1 <= len(text) <= MESSAGE_CHARACTERS_MAX:
                    return Response(
                        f"say?by=NAME with a text of 1 to {MESSAGE_CHARACTERS_MAX} characters\n", status=400
                    )
                number = await self.env.ROOMS.getByName(name).say(by, text)
                return closed if number is None else Response(f"{number}\n")
            case "GET", "room", name if query.get("after", "0").isdecimal():
                found = await self.env.ROOMS.getByName(name).read(int(query.get("after", "0")[:15]))
                return closed if found is None else Response.json(found)
        return Response("try POST /room/NAME\n", status=404)
