"""Objects' sockets over real links: opened from outside, messages both ways, closes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from perdure.engine.durable import DurableObject
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.socket_calls import SEND, SocketRef
from perdure.engine.web_socket import WebSocket
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.router.held_sockets import HeldSockets
from perdure.router.wire import SOCKET_ACK, SOCKET_EFFECTS

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


class Way:
    """To a shard that a test plays."""

    ready = takes_sockets = True
    epoch = 1

    def __init__(self) -> None:
        self.said: list[list[object]] = []

    def way(self, object_id: bytes) -> Way:
        return self

    def send_frame(self, frame: list[object], size: int = 0) -> None:
        self.said.append(frame)


def test_effects_that_acknowledge_their_cause_are_passed_on_once_and_end_it() -> None:
    async def run() -> None:
        way, client, ref = Way(), Client(), SocketRef("Room", b"i" * 32, "a", b"1" * 8, True)
        held = HeldSockets(asyncio.get_running_loop(), way, "keeper")
        socket = held.open(ref, client)
        held.receive(way, [SOCKET_ACK, ref.object_id, ref.socket, 0, None])

        def says(number: int, ordinal: int, *texts: str, record: int = 0, last: bool) -> list[object]:
            effects = [[[ref.socket], SEND, text] for text in texts]
            frame = [SOCKET_EFFECTS, ref.object_id, record, [ref.socket, number, ordinal], effects]
            return [*frame, True] if last else frame

        def heard() -> list[object]:
            return [client.got.get_nowait() for _ in range(client.got.qsize())]

        socket.send("one")
        held.receive(way, says(1, 0, "a", last=True))
        assert heard() == ["a"]
        assert not socket.waits
        socket.send("two")
        held.receive(way, says(2, 0, "b", "c", last=False))
        socket.ready()  # another session runs it again
        held.receive(way, says(2, 0, "b", last=False))
        held.receive(way, says(2, 1, "c", "d", last=True))
        assert heard() == ["b", "c", "d"]
        assert not socket.waits
        socket.send("three")
        held.receive(way, says(3, 0, "e", record=9, last=True))
        held.receive(way, says(3, 0, "e", record=9, last=True))
        assert heard() == ["e"]
        assert not socket.waits
        socket.send("four")
        held.receive_late(way, says(4, 0, "f", record=10, last=True))  # the next session has the event
        assert heard() == ["f"]
        assert socket.waits
        held.close()

    asyncio.run(run())
