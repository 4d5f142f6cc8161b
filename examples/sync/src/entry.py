"""A list that several people keep, also offline: the real TinyBase in the browsers; the object relays, and is a peer.

GET /                  the page; /#NAME is a list
WS  /store/NAME        as TinyBase's WebSocket synchroniser speaks it, unchanged
GET /store/NAME        {"tables": {…}, "values": {…}}, as merged so far

What always holds: what a client was told by another is in the object's database, in the same turn; a client that comes
alone later gets all of it. A client that was away gets what differs, found by hashes: first of tables, then rows, then
cells.
"""

import time
from urllib.parse import unquote, urlsplit

import peer
import stamps
from js import WebSocketPair
from mergeable import Mergeable
from workers import DurableObject, Response, WorkerEntrypoint

MESSAGE_CHARS_MAX = 4 << 20


class Store(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.store = Mergeable(ctx.storage.sql)

    async def fetch(self, request):
        if (request.headers.get("Upgrade") or "").lower() != "websocket":
            return Response.json(self.content())
        client, server = WebSocketPair.new().object_values()
        # Its name among the peers: the handshake's key, which is random, as TinyBase's own servers do.
        self.ctx.acceptWebSocket(server, [request.headers["Sec-WebSocket-Key"]])
        return Response(None, status=101, web_socket=client)

    def content(self):
        def plain(node, depth):
            if not depth:
                return stamps.decoded(node.value)
            parts = {name: plain(child, depth - 1) for name, child in node.children.items()}
            return {name: part for name, part in parts.items() if part not in ({}, stamps.UNDEFINED)}

        return {"tables": plain(self.store.roots["t"], 3), "values": plain(self.store.roots["v"], 1)}

    def relay(self, sender, text, but):
        for ws in self.ctx.getWebSockets():
            if ws is not but:
                ws.send(f"{sender}\n{text}")

    async def webSocketMessage(self, ws, message):
        (sender,) = self.ctx.getTags(ws)
        to, newline, text = str(message).partition("\n")
        try:
            if not newline or isinstance(message, bytes) or len(message) > MESSAGE_CHARS_MAX:
                raise ValueError("not a message of a synchroniser")
            if to not in ("", peer.NAME):
                for other in self.ctx.getWebSockets(to)[:1]:
                    other.send(f"{sender}\n{text}")
                return
            request, kind, body = peer.unpacked(text)
            answers, new = peer.answer(self.store, request, kind, body, int(time.time() * 1000))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            ws.close(1007, f"tinybase:14: {type(error).__name__}")
            return
        if to == "":
            self.relay(sender, text, ws)
        elif new is not None:  # it answered us alone: the others want to know
            self.relay(peer.NAME, peer.packed(None, peer.CHANGES, new), ws)
        for answered in answers:
            ws.send(f"{peer.NAME}\n{peer.packed(*answered)}")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match urlsplit(request.url).path.split("/"):
            case ["", "store", name] if 0 < len(unquote(name)) <= 100:
                return await self.env.STORES.getByName(unquote(name)).fetch(request)
        return Response("try GET /\n", status=404)
