"""WebSockets of a program in a world: the chat of tests/programs through its Worker, in virtual time, over crashes."""

from __future__ import annotations

import json
import os

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.clients import ConnectionEnded, ConnectionRefused
from perdure.testing.virtual import run

CHAT = os.path.join(os.path.dirname(__file__), "..", "programs", "chat-sockets")


def in_chat(test):
    """Runs the test with a world that serves the chat."""

    def inside():
        async def go():
            async with World(CHAT) as world:
                await test(world)

        run(go())

    inside.__name__ = test.__name__
    return inside


def said(user, text):
    return json.dumps({"user": user, "text": text})


@in_chat
async def test_the_chat_over_http(world):
    assert "text/html" in (await world.fetch("/")).headers["content-type"]
    for path, status, text in (
        ("/room/x", 400, "Expected WebSocket upgrade"),
        ("/room/", 400, "Room name required"),
        ("/elsewhere", 404, "Not found"),
    ):
        response = await world.fetch(path)
        assert (response.status, await response.text()) == (status, text)
    for path, status in (("/room/", 400), ("/elsewhere", 404)):
        with pytest.raises(ConnectionRefused) as refused:
            await world.connect(path)
        assert refused.value.response.status == status


@in_chat
async def test_two_clients_talk_in_a_room_that_is_forwarded_by_the_worker(world):
    ada, bob = await world.connect("/room/x?user=ada"), await world.connect("/room/x?user=bob")
    ada.send("hello")
    bob.send(b"123")
    for client in (ada, bob):
        assert [await client.receive(), await client.receive()] == [said("ada", "hello"), said("bob", "3 bytes")]
    late = await world.connect("/room/x?user=eve")
    assert [await late.receive(), await late.receive()] == [said("ada", "hello"), said("bob", "3 bytes")]
    room = world.namespace("ChatRoom").getByName("x")
    assert await room.present() == ["ada", "bob", "eve"]
    ada.close(3001, "bye")
    assert await ada.closed() == (1000, "left with 3001")
    assert json.loads(await bob.receive()) == {"left": "ada"}
    assert await room.present() == ["bob", "eve"]
    with pytest.raises(ConnectionEnded):
        ada.send("late")


@in_chat
async def test_a_room_hibernates_and_wakes(world):
    ada = await world.connect("/room/x?user=ada")
    ada.send("one")
    await ada.receive()
    room = world.namespace("ChatRoom").getByName("x")
    await world.advance(minutes=5)
    assert world.state(room) == "cold"
    ada.send("ping")
    assert await ada.receive() == "pong"
    assert world.state(room) == "cold"
    ada.send("two")
    assert await ada.receive() == said("ada", "two")
    assert world.state(room) != "cold"


@in_chat
async def test_a_crash_of_the_shard_is_a_pause(world):
    ada, bob = await world.connect("/room/x?user=ada"), await world.connect("/room/x?user=bob")
    room = world.namespace("ChatRoom").getByName("x")
    for number in range(6):
        ada.send(f"{number}")
        await world.crash(room)
    expected = [said("ada", str(number)) for number in range(6)]
    for client in (ada, bob):
        assert [await client.receive() for _ in range(6)] == expected
    await world.settle()
    assert (ada.received, bob.received, ada.code) == ([], [], None)
    assert await room.count() == 6


@in_chat
async def test_new_code_is_a_pause(world):
    ada = await world.connect("/room/x?user=ada")
    ada.send("before")
    assert await ada.receive() == said("ada", "before")
    await world.restart()
    ada.send("after")
    assert await ada.receive() == said("ada", "after")


@in_chat
async def test_a_client_that_vanishes_is_told_to_the_room(world):
    ada, bob = await world.connect("/room/x?user=ada"), await world.connect("/room/x?user=bob")
    ada.vanish()
    assert json.loads(await bob.receive()) == {"left": "ada"}
    assert await ada.closed() == (1006, "disconnected without sending Close frame")


@in_chat
async def test_accept_and_listeners_in_an_object(world):
    hall = world.namespace("Hall").getByName("x")
    ada, bob = await world.connect("/hall/x"), await world.connect("/hall/x")
    ada.send("hello")
    assert [await ada.receive(), await bob.receive()] == ["1: hello"] * 2
    await world.advance(minutes=30)
    assert world.state(hall) != "cold"
    bob.close(1000)
    assert (await bob.closed())[0] == 1000
    assert await hall.here() == 1


@in_chat
async def test_sockets_by_accept_end_with_the_process_of_the_object(world):
    ada = await world.connect("/hall/x")
    await world.crash(world.namespace("Hall").getByName("x"))
    assert (await ada.closed())[0] == 1006


@in_chat
async def test_a_worker_relays_both_ways(world):
    ada = await world.connect("/relay/x?user=ada")
    ada.send("hello")
    assert await ada.receive() == "relayed " + said("ada", "hello")
    bob = await world.connect("/room/x?user=bob")
    assert await bob.receive() == said("ada", "hello")
    await world.crash(world.namespace("ChatRoom").getByName("x"))
    bob.send("still there?")
    assert await ada.receive() == "relayed " + said("bob", "still there?")
    ada.close(1000, "done")
    assert (await ada.closed())[0] == 1000
    assert json.loads(await received_after(bob, said("bob", "still there?"))) == {"left": "ada"}


async def received_after(client, message):
    assert await client.receive() == message
    return await client.receive()


class Fragile(DurableObject):
    """Fails when it is told to, in each way."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        if type(self).refuses_to_start:
            raise RuntimeError("it cannot start")

    refuses_to_start = False

    async def fetch(self, request):
        client, server = WebSocketPair()
        self.ctx.acceptWebSocket(server)
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        if message == "abort" and not await self.ctx.storage.get("aborted"):
            await self.ctx.storage.put("aborted", True)
            await self.ctx.storage.sync()
            self.ctx.abort("enough")
        elif message == "raise":
            raise ValueError("a mistake")
        ws.send(f"got {message}")


class Tough(Fragile):
    sockets_survive_reset = True


class Door(WorkerEntrypoint):
    async def fetch(self, request):
        namespace = self.env.Tough if "tough" in request.url else self.env.Fragile
        return await namespace.getByName("a").fetch(request)


Door.__name__ = "Default"


def among_fragile(test):
    def inside():
        async def go():
            async with World([Fragile, Tough, Door]) as world:
                await test(world)

        try:
            run(go())
        finally:
            Fragile.refuses_to_start = False

    inside.__name__ = test.__name__
    return inside


@among_fragile
async def test_an_abort_cuts_the_connection_off(world):
    client = await world.connect("/fragile")
    client.send("abort")
    assert await client.closed() == (1006, "disconnected without sending Close frame")
    again = await world.connect("/fragile")
    again.send("x")
    assert await again.receive() == "got x"


@among_fragile
async def test_a_class_may_have_its_sockets_outlive_an_abort(world):
    client = await world.connect("/tough")
    client.send("abort")
    client.send("x")
    await world.advance(seconds=5)
    assert (client.code, client.received) == (None, ["got abort", "got x"])


@among_fragile
async def test_an_object_that_cannot_start_again_loses_its_sockets(world):
    client = await world.connect("/fragile")
    await world.evict(world.namespace("Fragile").getByName("a"))
    Fragile.refuses_to_start = True
    client.send("x")
    await world.advance(seconds=5)
    assert client.code == 1006


@among_fragile
async def test_what_a_handler_raises_closes_nothing(world):
    client = await world.connect("/fragile")
    client.send("raise")
    client.send("x")
    assert await client.receive() == "got x"
    assert [record.event for record in world.log if record.level != "info"]
