"""Sockets that an object accepts with accept(), or makes: they keep it awake and end with its memory (spec: objects)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import Overloaded
from perdure.engine.http import HttpResponse
from perdure.engine.socket_calls import FAILED
from perdure.engine.web_socket import WebSocket
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.testing.virtual import run

from .keeper import LOST, Realm, rounds
from .shelf import LoopClock


class Tap:
    """An outgoing connection's line."""

    buffered = 0

    def __init__(self) -> None:
        self.sent: list[object] = []

    def send(self, data):
        self.sent.append(data)

    def close(self, code, reason):
        self.sent.append((code, reason))


class Talker(DurableObject):
    """Accepts with accept(); notes what its listeners hear."""

    heard: list[object] = []
    outgoing: Tap | None = None
    end: WebSocket | None = None

    async def fetch(self, request):
        if request.url.endswith("/relay"):
            Talker.outgoing = Tap()
            Talker.end = WebSocket.of_line(Talker.outgoing)
            return HttpResponse(101, [], None, web_socket=Talker.end)
        client, server = WebSocketPair.new()
        server.accept()
        Talker.end = server
        server.addEventListener("message", lambda event: self.listen(server, event))
        server.addEventListener("close", lambda event: Talker.heard.append((event.code, event.reason, event.wasClean)))
        server.send("welcome")
        return HttpResponse(101, [], None, web_socket=client)

    def listen(self, server, event):
        Talker.heard.append(event.data)
        self.ctx.storage.kv.put("last", str(event.data))
        server.send(event.data)
        if event.data == "raise":
            raise ValueError("mine")
        if event.data == "abort":
            self.ctx.abort("enough")

    async def hibernating(self):
        return [len(self.ctx.getWebSockets()), self.ctx.storage.kv.get("last")]

    async def say(self, text):
        self.ctx.storage.kv.put("said", text)
        Talker.end.send(text)

    async def out(self):
        Talker.outgoing = Tap()
        Talker.end = WebSocket.of_line(Talker.outgoing)
        Talker.end.accept()
        Talker.end.addEventListener("message", lambda event: self.listen(Talker.end, event))
        Talker.end.addEventListener("close", lambda event: Talker.heard.append(event.code))

    async def own(self):
        """Both ends are its own; one hibernates."""
        client, server = WebSocketPair.new()
        self.ctx.acceptWebSocket(server)
        client.accept()
        client.addEventListener("message", lambda event: Talker.heard.append(f"client: {event.data}"))
        client.addEventListener("close", lambda event: Talker.heard.append(("client", event.code, event.reason)))
        Talker.end = client

    async def webSocketMessage(self, ws, message):
        Talker.heard.append(f"object: {message}")
        self.ctx.storage.kv.put("last", message)
        ws.send(f"{message}!")
        if message == "close":
            ws.close(4000, "over")

    async def webSocketClose(self, ws, code, reason, clean):
        Talker.heard.append(("object", code, reason, clean))


@pytest.fixture
def realm_in(tmp_path):
    def make(**options) -> Realm:
        Talker.heard, Talker.outgoing, Talker.end = [], None, None
        return Realm(Talker, tmp_path, clock=LoopClock(), **options)

    return make


def test_listeners_hear_what_comes_in_turns_of_the_object(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        assert not socket.ref.hibernates
        await realm.keeper.send(socket, "one")
        await realm.keeper.send(socket, b"two")
        await rounds()
        assert socket.got == ["welcome", "one", b"two"]
        assert await realm.shard.call("a", "hibernating") == [0, "b'two'"]
        await realm.keeper.close(socket, 4000, "bye")
        await rounds()
        assert Talker.heard == ["one", b"two", (4000, "bye", True)]
        assert socket.got[-1] == (4000, "bye"), "the Close is answered"
        realm.stop()

    run(body())


def test_what_a_listener_raises_is_logged(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        assert await realm.keeper.send(socket, "raise") == b""
        logged = [fields for _, event, fields in realm.shard.logs if event == "raised"]
        assert "ValueError: mine" in logged[0]["traceback"]
        realm.stop()

    run(body())


def test_what_is_sent_waits_for_what_was_written_before(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        realm.shard.commits.auto = False
        saying = realm.shard.send("a", "say", "hello")
        await rounds()
        assert socket.got == ["welcome"]
        realm.shard.commits.commit()
        await saying
        await rounds()
        assert socket.got == ["welcome", "hello"]
        realm.stop()

    run(body())


def test_an_open_one_keeps_its_object_awake_and_a_closed_one_does_not(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        await asyncio.sleep(600)
        assert realm.shard.residents.count == 1
        await realm.keeper.close(socket)
        await asyncio.sleep(15)
        assert realm.shard.residents.count == 0
        realm.stop()

    run(body())


def test_it_ends_with_its_object_s_memory(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        await realm.keeper.send(socket, "abort")
        await rounds()
        assert socket.ended
        assert socket.got[-1] == "cut"
        other = await realm.connect("a")
        realm.kill()
        await realm.keeper.send(other, "x")
        assert other.got[-1] == "cut", "the next process does not know it"
        realm.stop()

    run(body())


def test_before_2026_10_01_the_object_is_evicted_and_its_connection_ends(realm_in):
    async def body() -> None:
        realm = realm_in(pending_prevents_eviction=False)
        socket = await realm.connect("a")
        await asyncio.sleep(150)
        assert realm.shard.residents.count == 0
        await rounds()
        assert socket.got[-1] == "cut"
        realm.stop()

    run(body())


def test_an_outgoing_connection_is_the_object_s(realm_in):
    async def body() -> None:
        realm = realm_in()
        await realm.shard.call("a", "out")
        tap = Talker.outgoing
        Talker.end.arrive("from there")
        await rounds()
        assert Talker.heard == ["from there"]
        assert tap.sent == ["from there"]
        await asyncio.sleep(100)
        assert realm.shard.residents.count == 1
        Talker.end.arrive("abort")
        await rounds()
        assert tap.sent[-1] == (1006, ""), "it ends with its object"
        realm.stop()

    run(body())


def test_an_outgoing_connection_that_is_returned_is_relayed(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a", url="https://h/relay")
        Talker.end.arrive("from there")
        await realm.keeper.send(socket, "to there")
        assert socket.got == ["from there"]
        await realm.keeper.close(socket, 4001, "bye")
        assert Talker.outgoing.sent == ["to there", (4001, "bye")]
        other = await realm.connect("a", url="https://h/relay")
        Talker.end.ended(1006, "gone", False)
        assert other.got == ["cut"]
        third = await realm.connect("a", url="https://h/relay")
        await realm.keeper.send(third, "bad frame", FAILED)
        assert Talker.outgoing.sent == [(1006, "")]
        realm.stop()

    run(body())


def test_an_object_may_talk_to_itself(realm_in):
    async def body() -> None:
        realm = realm_in()
        await realm.shard.call("a", "own")
        await realm.shard.call("a", "say", "hello")
        await asyncio.sleep(1)
        await realm.shard.call("a", "say", "close")
        await asyncio.sleep(1)
        assert Talker.heard == [
            "object: hello", "client: hello!", "object: close", "client: close!", ("client", 4000, "over"),
            ("object", 4000, "over", True),
        ]  # fmt: skip
        realm.stop()

    run(body())


def test_a_holder_that_ends_closes_them(realm_in):
    async def body() -> None:
        realm = realm_in()
        await realm.connect("a")
        realm.shard.residents.holder_gone(realm.keeper)
        await rounds()
        assert Talker.heard == [LOST]
        realm.stop()

    run(body())


def test_a_drain_asks_for_events_again(realm_in):
    async def body() -> None:
        realm = realm_in()
        socket = await realm.connect("a")
        await realm.shard.residents.drain(1)
        assert isinstance(await realm.keeper.send(socket, "x"), Overloaded)
        assert not socket.ended
        realm.stop()

    run(body())
