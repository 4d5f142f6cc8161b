"""A text that several people write at the same time: Yjs in the browsers, pycrdt in the object, y-websocket between.

GET /                        the page; /#NAME is a document
WS  /document/NAME           as y-websocket's provider speaks it: sync steps, updates, awareness
GET /document/NAME.txt       the text

What always holds: an update that others have seen is on the disk, in the same turn; who was away gets exactly what it lacks.
"""

from urllib.parse import unquote, urlsplit

from awareness import Awareness
from js import WebSocketPair
from pieces import Pieces
from pycrdt import Doc, Text, YMessageType, create_sync_message, create_update_message, handle_sync_message
from workers import DurableObject, Response, WorkerEntrypoint

TEXT = "text"
QUERY_AWARENESS = 3
MESSAGE_BYTES_MAX = 4 << 20


class Document(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.pieces = Pieces(ctx.storage.sql)
        self.doc = Doc()
        self.doc[TEXT] = Text()
        for update in self.pieces.all():
            self.doc.apply_update(update)
        self.changes = []
        self.doc.observe(lambda event: self.changes.append(event.update))

    async def fetch(self, request):
        if (request.headers.get("Upgrade") or "").lower() != "websocket":
            return Response(str(self.doc[TEXT]), headers={"Content-Type": "text/plain; charset=utf-8"})
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server)
        server.send(create_sync_message(self.doc))  # step 1: tell me what I lack
        if others := self.present():
            server.send(others.message())
        return Response(None, status=101, web_socket=client)

    def present(self):
        """Who is here, with cursors: kept with the sockets, so that it survives the object's sleep."""
        found = Awareness()
        for ws in self.ctx.getWebSockets():
            found.clients.update(Awareness.of(ws.deserializeAttachment()).clients)
        return found

    def tell(self, message, but=None):
        for ws in self.ctx.getWebSockets():
            if ws is not but:
                ws.send(message)

    async def webSocketMessage(self, ws, message):
        message = b"" if isinstance(message, str) else bytes(message)
        if not 2 <= len(message) <= MESSAGE_BYTES_MAX:
            return ws.close(1009 if message else 1003, "not a message of y-websocket")
        try:
            self.receive(ws, message[0], message)
        except (ValueError, IndexError, RuntimeError) as error:
            ws.close(1007, f"not understood: {type(error).__name__}")

    def receive(self, ws, kind, message):
        if kind == YMessageType.SYNC:
            reply = handle_sync_message(message[1:], self.doc)
            if reply is not None:
                ws.send(reply)
            changes, self.changes = self.changes, []
            for update in changes:
                self.pieces.add(update, self.doc.get_update)
                self.tell(create_update_message(update), but=ws)
        elif kind == YMessageType.AWARENESS:
            mine = Awareness.of(ws.deserializeAttachment())
            mine.apply(message)
            ws.serializeAttachment(mine.clients)
            self.tell(message, but=ws)
        elif kind == QUERY_AWARENESS:
            ws.send(self.present().message())

    async def webSocketClose(self, ws, code, reason, clean):
        gone = Awareness.of(ws.deserializeAttachment()).gone()
        if gone:
            self.tell(gone.message(), but=ws)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match urlsplit(request.url).path.split("/"):
            case ["", "document", name] if 0 < len(unquote(name)) <= 100:
                return await self.env.DOCUMENTS.getByName(unquote(name).removesuffix(".txt")).fetch(request)
        return Response("try GET /\n", status=404)
