"""Objects' sockets over real links: opened from outside, messages both ways, closes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from perdure.engine.durable import DurableObject
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.web_socket import WebSocket
from perdure.engine.web_socket_pair import WebSocketPair

from .landing import landing


class Echo(DurableObject):
    async def fetch(self, request: object) -> HttpResponse:
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server, ["all"])
        server.send("welcome")
        return HttpResponse(101, [], None, "", client)

    async def webSocketMessage(self, ws: WebSocket, message: object) -> None:
        if message == "all":
            for each in self.ctx.getWebSockets():
                each.send("to all")
        elif message == "stored":
            await self.ctx.storage.put("n", (await self.ctx.storage.get("n") or 0) + 1)
            ws.send(f"n = {await self.ctx.storage.get('n')}")
        else:
            ws.send(message)

    async def webSocketClose(self, ws: WebSocket, code: int, reason: str, clean: bool) -> None:
        ws.close(code, f"was {reason}")


class Client:
    def __init__(self) -> None:
        self.got: asyncio.Queue[object] = asyncio.Queue()

    def message(self, data: object) -> None:
        self.got.put_nowait(data)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self.got.put_nowait((code, reason, clean))

    def failed(self, text: str) -> None:
        self.got.put_nowait(text)


async def _messages(folder: Path) -> None:
    async with landing(folder, Echo) as land:
        stub = land.on_shard(0)
        request = HttpRequest("GET", "http://x/", [("Upgrade", "websocket")])
        response = await land.client.fetch(land.key.unique, bytes.fromhex(str(stub.id)), "a", request)
        assert response.web_socket is not None
        client = Client()
        line = response.web_socket.take(client)
        assert await client.got.get() == "welcome"
        line.send("a")
        line.send(b"b")
        line.send("stored")
        line.send("stored")
        line.send("all")
        assert [await client.got.get() for _ in range(5)] == ["a", b"b", "n = 1", "n = 2", "to all"]
        line.close(4001, "bye")
        assert await client.got.get() == (4001, "was bye", True)


def test_messages_both_ways_and_the_closing_handshake(tmp_path: Path) -> None:
    asyncio.run(_messages(tmp_path))
