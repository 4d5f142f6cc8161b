"""The program that users of sockets talk to while its processes are killed, and its broken twins."""

from __future__ import annotations

import json
import time
import urllib.request

from .socket_history import Written

ROWS_S_MAX = 10.0
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
    """What an object has written down, asked over HTTP, again while its shard is away. `url`: without a slash at its end."""
    end = time.monotonic() + ROWS_S_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{url}/{room}/rows", timeout=ROWS_S_MAX) as response:
                return [Written(*row) for row in json.loads(response.read())]
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


DIES_BEFORE_EFFECTS_LEAVE = """
import os, signal, time
from perdure.engine.socket_sending import Sending

def _patch_leave(leave=Sending._leave, dies_s=time.monotonic() + 1.5):
    def worst_moment(self, piece):
        if len(piece.entries[0][0]) > 1 and time.monotonic() > dies_s:
            os.kill(os.getpid(), signal.SIGKILL)
        leave(self, piece)
    Sending._leave = worst_moment
_patch_leave()
"""
"""A shard that dies, a second and a half old, when a commit is durable and the broadcast that waited for it has not left."""

DIES_BEFORE_THE_COMMIT = """
import os, signal, time
from perdure.shards import committer

def _patch_seal(seal=committer.Committer._seal, dies_s=time.monotonic() + 1.5):
    def worst_moment(self):
        if time.monotonic() > dies_s and self._touched:
            self._loop.call_later(0.005, os.kill, os.getpid(), signal.SIGKILL)
        else:
            seal(self)
    committer.Committer._seal = worst_moment
_patch_seal()
"""
"""A shard that dies as old when handlers have ended, some milliseconds later, and nothing of what they wrote is in the log."""

WITHOUT_OUTBOX = """
from perdure.engine import stored_sockets
stored_sockets.StoredSockets.add = lambda self, cause, entries, number=0: 0
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
