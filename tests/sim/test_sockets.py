"""Sockets under deaths, delays and power cuts: every message is handled once, what handlers send arrives once and in order.

All of it is the real thing but the wire: what holds the connections, the shard's side, the objects, the log. The broken twins
show that the simulations would tell.
"""

from __future__ import annotations

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.gate import OutputGate
from perdure.engine.socket_calls import SocketCall
from perdure.engine.stored_sockets import StoredSockets
from perdure.engine.web_socket_pair import WebSocketPair
from perdure.router.held_socket import Numbered
from perdure.router.held_sockets import HeldSockets
from perdure.router.wire import decode, encode
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.sdk.workers import DurableObject
from perdure.testing import Simulation, World, simulate
from perdure.testing.clients import ConnectionEnded, ConnectionRefused
from perdure.testing.holding import Link
from perdure.testing.virtual import run

EACH = 8
KINDS = ("write", "plain", "wait", "write")


class Other(DurableObject):
    async def ask(self):
        return 1


class Room(DurableObject):
    """Everybody hears each message; `write` is stored, `plain` is not, `wait` calls another object in between."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS noted (text TEXT)")

    async def fetch(self, request):
        client, server = WebSocketPair.new().object_values()
        self.ctx.acceptWebSocket(server, [request.url.rpartition("=")[2]])
        return Response(None, status=101, web_socket=client)

    async def webSocketMessage(self, ws, message):
        kind = message.split()[0]
        if kind == "wait":
            self.tell(f"{message} before")
            await self.ask()
        if kind != "plain":
            self.ctx.storage.sql.exec("INSERT INTO noted VALUES (?)", message)
        self.tell(message)

    async def ask(self):
        try:
            await self.env.Other.getByName("o").ask()
        except PerdureError:  # of another shard, whose process has died
            await self.env.Other.getByName("o").ask()

    def tell(self, text):
        for each in self.ctx.getWebSockets():
            each.send(text)

    async def webSocketClose(self, ws, code, reason, clean):
        self.ctx.storage.sql.exec("INSERT INTO noted VALUES (?)", f"closed {self.ctx.getTags(ws)[0]} {code}")
        if clean:
            ws.close(code, reason)

    async def noted(self):
        return [row.text for row in self.ctx.storage.sql.exec("SELECT text FROM noted ORDER BY rowid")]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await self.env.Room.getByName(request.url.split("/")[3].split("?")[0]).fetch(request)


CLASSES = [Other, Room, Default]


async def connect(world: World, room: str, who: str):
    """A death may come in between."""
    for _ in range(20):
        try:
            return await world.connect(f"/{room}?who={who}")
        except (ConnectionRefused, PerdureError):
            await world.advance(seconds=1)
    raise AssertionError("nobody answers")


async def noted(world: World, room: str) -> list[str]:
    for _ in range(20):
        try:
            return await world.namespace("Room").getByName(room).noted()
        except PerdureError:
            await world.advance(seconds=1)
    raise AssertionError("nobody answers")


async def talk(world: World, *, rooms: int = 1) -> None:
    """Two clients a room send and hear; every one must hear all once, each sender's in order."""
    names = [f"r{number}" for number in range(rooms)]
    clients = {room: [await connect(world, room, who) for who in "ab"] for room in names}
    sent: dict[tuple[str, str], list[str]] = {}
    for number in range(EACH):
        for room in names:
            for who, client in zip("ab", clients[room], strict=True):
                message = f"{KINDS[number % len(KINDS)]} {who}{number}"
                sent.setdefault((room, who), []).append(message)
                client.send(message)
        if number % 3 == 2:
            await world.advance(milliseconds=20)
    await world.advance(seconds=30)
    for room in names:
        mine = [sent[room, who] for who in "ab"]
        everything = [message for messages in mine for message in messages]
        # A response that was lost on its way has left a socket that nobody holds: it is closed, and is none of these.
        stored = [text for text in await noted(world, room) if not text.startswith("closed")]
        assert sorted(stored) == sorted(m for m in everything if not m.startswith("plain")), "each is handled once"
        before = [f"{message} before" for message in everything if message.startswith("wait")]
        for client in clients[room]:
            assert client.code is None, "no connection has ended"
            heard = client.received
            assert sorted(map(str, heard)) == sorted([*everything, *before]), "what is sent arrives once"
            for messages in mine:
                at_once = [message for message in messages if not message.startswith("wait")]
                assert [message for message in heard if message in at_once] == at_once, "in order"
    room = names[0]
    clients[room][0].close(4000, "bye")
    assert (await clients[room][0].closed())[0] == 4000  # who dies before the answer has left takes its reason along
    assert (await noted(world, room)).count("closed a 4000") == 1


@simulate(seeds=60, program=CLASSES)
async def test_every_message_once_whatever_dies(world):
    await talk(world)


@simulate(seeds=25, program=CLASSES, shards=2)
async def test_the_same_over_two_shards(world):
    await talk(world, rooms=2)


# ---------------------------------------------------------------------- what the simulations must catch
async def chatter(world):
    await talk(world)


def caught(match: str, seeds: int = 300) -> bool:
    simulation = Simulation(chatter, CLASSES)
    for seed in range(seeds):
        error = simulation.run(seed).error
        if error is not None:
            assert isinstance(error, AssertionError), error
            if match in str(error):
                return True
    return False


def test_acknowledged_before_the_commit_is_caught(monkeypatch):
    emit = OutputGate.emit

    def hasty(self, effect, *args):
        if args and isinstance(args[0], SocketCall):
            effect(*args)
        else:
            emit(self, effect, *args)

    def at_once(self, frame, size):
        if self.process.alive:
            self.back(self.way.arrive, self, decode(encode([frame])))

    monkeypatch.setattr(OutputGate, "emit", hasty)
    monkeypatch.setattr(Link, "_send", at_once)  # a door may be emptied in the middle of a round
    assert caught("handled once")


def test_without_an_outbox_is_caught(monkeypatch):
    def forgets(self, cause, entries, number=0):
        self.newest += 1
        return self.newest

    monkeypatch.setattr(StoredSockets, "add", forgets)
    assert caught("arrives once")


def test_a_holder_that_forgets_what_it_had_is_caught(monkeypatch):
    monkeypatch.setattr(HeldSockets, "_had", lambda self, of, cause, count: 0)
    assert caught("arrives once")


def test_a_holder_that_sends_nothing_again_is_caught(monkeypatch):
    monkeypatch.setattr(Numbered, "go_back", lambda self, number=0: False)
    assert caught("handled once")


# ---------------------------------------------------------------------- the keeper dies
def in_world(test):
    def inside():
        async def go():
            async with World(CLASSES) as world:
                await test(world)

        run(go())

    inside.__name__ = test.__name__
    return inside


@in_world
async def test_a_keeper_that_dies_cuts_its_connections_and_objects_are_told(world):
    a, b = await connect(world, "r", "a"), await connect(world, "r", "b")
    a.send("write 1")
    await world.settle()
    assert [b.received, a.received] == [["write 1"], ["write 1"]]
    await world.lose_keeper()
    assert [a.code, b.code] == [1006, 1006]
    await world.settle()
    assert sorted((await noted(world, "r"))[1:]) == ["closed a 1006", "closed b 1006"]
    c = await connect(world, "r", "c")
    c.send("write 2")
    assert await c.receive() == "write 2"


@in_world
async def test_an_object_that_sleeps_is_told_that_the_keeper_has_died(world):
    a = await connect(world, "r", "a")
    room = world.namespace("Room").getByName("r")
    await world.advance(minutes=5)
    assert world.state(room) == "cold"
    await world.lose_keeper()
    assert a.code == 1006
    await world.settle()
    assert await noted(world, "r") == ["closed a 1006"]


@in_world
async def test_a_keeper_that_dies_with_the_shard_away_tells_the_next(world):
    a = await connect(world, "r", "a")
    room = world.namespace("Room").getByName("r")
    a.send("write 1")
    await a.receive()
    await world.crash(room, restart=False)
    a.send("lost with the keeper")
    await world.lose_keeper()
    with pytest.raises(ConnectionEnded):
        await a.receive()
    await world.restart(room)
    await world.settle()
    assert await noted(world, "r") == ["write 1", "closed a 1006"]
