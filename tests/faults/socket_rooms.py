"""The program that users of sockets talk to while its processes are killed, and its broken twins."""

from __future__ import annotations

import json
import urllib.request

from .socket_history import Written

PROGRAM = """
import json
from js import WebSocketPair
from workers import DurableObject, Response, WorkerEntrypoint

VERSION = 1


class Room(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("create table if not exists t(id integer primary key autoincrement, kind text, who text, number int)")

    def write(self, kind, who, number):
        row = self.sql.exec("insert into t(kind, who, number) values(?, ?, ?) returning id", kind, who, number).one()
        return row["id"]

    async def fetch(self, request):
        who = request.url.rsplit("/", 1)[1]
        if who == "rows":
            return Response(json.dumps([list(row) for row in self.sql.exec("select * from t order by id").raw()]))
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server, [who])
        self.write("joined", who, 0)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        who, number = message.split()
        if int(number) % 4 == 0:
            ws.send(f"answer {number}")
            return
        line = f"{self.write('said', who, int(number))} {who} {number}"
        for socket in self.ctx.getWebSockets():
            socket.send(line)

    async def webSocketClose(self, ws, code, reason, clean):
        self.write("left", self.ctx.getTags(ws)[0], code)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        room = request.url.rsplit("/", 2)[1]
        return await self.env.Room.getByName(room).fetch(request)
"""


def rows_of(url: str, room: str) -> list[Written]:
    """What an object has written down, asked over HTTP. `url`: of the runtime, without a slash at its end."""
    with urllib.request.urlopen(f"{url}/{room}/rows", timeout=10) as response:
        return [Written(*row) for row in json.loads(response.read())]


DIES_BEFORE_EFFECTS_LEAVE = """
import os, random, signal
from perdure.engine import sockets

def _patch_leave(leave=sockets.Sockets._leave):
    def worst_moment(self, number, call, out):
        if number and random.random() < {often}:
            os.kill(os.getpid(), signal.SIGKILL)
        leave(self, number, call, out)
    sockets.Sockets._leave = worst_moment
_patch_leave()
"""
"""A shard that dies when a commit is durable, and nothing that waited for it has left."""

DIES_BEFORE_THE_COMMIT = """
import os, random, signal
from perdure.engine import sockets

def _patch_handled(handled=sockets.Sockets.handled):
    def worst_moment(self, call, socket):
        if random.random() < {often}:
            os.kill(os.getpid(), signal.SIGKILL)
        handled(self, call, socket)
    sockets.Sockets.handled = worst_moment
_patch_handled()
"""
"""A shard that dies when a handler has ended, and its commit is still to come."""

WITHOUT_OUTBOX = """
from perdure.engine import stored_sockets
stored_sockets.StoredSockets.add = lambda self, entries: 0
"""
"""A broken twin: what a turn sends is not recorded with what it writes."""

ACKNOWLEDGES_BEFORE_THE_COMMIT = """
from perdure.engine import socket_events

def _patch_run(handle=socket_events._handle):
    async def early(instance, event, own, socket, call):
        answer, call.answer = call.answer, lambda call, result: None
        answer(call, b"")
        await handle(instance, event, own, socket, call)
    socket_events._handle = early
_patch_run()
"""
"""A broken twin: a message is acknowledged when its handler begins."""
