"""An arena for many players. The object decides 20 times a second; the pages show it, and move before they are told.

GET /                               the page; /#NAME is an arena
WS  /arena/NAME?name=ann            play. To the object: [[number, keys, angle], …], all that no tick has used yet
GET /arena/NAME                     {"tick", "names"}: who is there

What always holds: a tick and what everybody is told of it are one turn, so they are on the disk together or not at all.
Whoever owns the object after a crash goes on with the next tick at the first input. Without players no alarm: it sleeps.
"""

import asyncio
import json
import time
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from js import WebSocketPair
from maze import KITS, ROWS
from rules import TICK_MS, World, checked
from workers import DurableObject, Response, WorkerEntrypoint

PLAYERS_MAX, ALARM_S = 16, 30


class Arena(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        text = ctx.storage.kv.get("world")
        self.world = World.loaded(text) if text else World()
        self.inputs = {}
        self.going = False

    def now_ms(self):
        return int(time.time() * 1000)

    async def fetch(self, request):
        if (request.headers.get("Upgrade") or "").lower() != "websocket":
            return Response(self.world.names(), headers={"Content-Type": "application/json"})
        if len(self.world.players) >= PLAYERS_MAX:
            return Response("the arena is full\n", status=503)
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server, [key := uuid4().hex[:6]])
        name = parse_qs(urlsplit(request.url).query).get("name", ["somebody"])[0]
        self.world.join(key, name[:16], self.now_ms())
        server.send(json.dumps({"you": key, "rows": ROWS, "kits": KITS, "tick_ms": TICK_MS}))
        self.tell(self.world.names())
        await self.go_on()
        return Response(None, status=101, web_socket=client)

    def tell(self, text):
        """And keep the world, in the same turn."""
        self.ctx.storage.kv.put("world", self.world.saved())
        for ws in self.ctx.getWebSockets():
            ws.send(text)

    async def go_on(self):
        if not self.going:  # also after a crash: an alarm that was lost would come two seconds later
            self.going = True
            await self.ctx.storage.setAlarm(self.now_ms())

    async def alarm(self, info=None):
        """The clock of the arena, for half a minute; then the next alarm is. Two are never at once."""
        self.going = True
        end = due = (clock := asyncio.get_running_loop().time)()
        while self.world.players and due < end + ALARM_S:
            self.tick()
            due = max(due + TICK_MS / 1000, clock())  # late ones are not made up for
            await asyncio.sleep(due - clock())
        self.going = False
        if self.world.players:
            await self.go_on()

    def tick(self):
        for ws in [ws for key in self.world.idle(self.now_ms()) for ws in self.ctx.getWebSockets(key)]:
            ws.close(4000, "nobody is playing")
        self.tell(self.world.told(self.world.step(self.inputs, self.now_ms())))

    async def webSocketMessage(self, ws, message):
        (key,) = self.ctx.getTags(ws)
        try:
            waiting = self.inputs.setdefault(key, [])
            waiting += checked(json.loads(message), waiting[-1][0] if waiting else self.world.players[key].seen)
        except (ValueError, TypeError, KeyError):
            ws.close(1007, "not inputs")
        await self.go_on()

    async def webSocketClose(self, ws, code, reason, clean):
        (key,) = self.ctx.getTags(ws)
        self.inputs.pop(key, None)
        if self.world.players.pop(key, None) is not None:
            self.tell(self.world.names())


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match urlsplit(request.url).path.split("/"):
            case ["", "arena", name] if 0 < len(unquote(name)) <= 60:
                return await self.env.ARENAS.getByName(unquote(name)).fetch(request)
        return Response("try GET /\n", status=404)
