"""sync: clients in a world, which speak as TinyBase's synchroniser does: through the object, and with it alone."""

from __future__ import annotations

import json

import pytest

from .modules import Sql, modules
from .stage import ask, example

CLOCK = "OhqqeV{}----Z21Zg"


@pytest.fixture
def client_of():
    """Makes clients: the store and the protocol of the object, on the other side of a socket."""
    with modules("sync", "mergeable", "peer") as (mergeable, peer):

        class Client:
            def __init__(self, world) -> None:
                self.world, self.store = world, mergeable.Mergeable(Sql())

            async def connect(self) -> None:
                key = f"{id(self):024}"
                self.socket = await self.world.connect("/store/a", headers={"Sec-WebSocket-Key": key})
                self.say(
                    "", "r.1", peer.GET_HASHES, ""
                )  # as startSync does: what do you have? then: this is what I have
                self.say("", None, peer.HASHES, self.store.hashes())
                await self.hear()

            def say(self, to, *message) -> None:
                self.socket.send(f"{to}\n{json.dumps(message)}")

            def change(self, row, cell, value, clock) -> None:
                changes = [[{"items": [{row: [{cell: [value, CLOCK.format(clock)]}]}]}], [{}], 1]
                assert self.store.merge(changes[0], changes[1])
                if self.socket.code is None:
                    self.say("", None, peer.CHANGES, changes)

            async def hear(self) -> None:
                for _ in range(20):
                    await self.world.settle()
                    for text in self.socket.received:
                        await self.socket.receive()
                        sender, _, said = text.partition("\n")
                        request, kind, body = json.loads(said)
                        if kind == peer.RESPONSE and request == "r.1":  # it differs: ask as the real one does
                            answers = [said for said in peer.asked_back(self.store, body) if said[1] != peer.HASHES]
                        else:
                            answers, _ = peer.answer(
                                self.store, request, kind, body, int(self.world.now.timestamp() * 1000)
                            )
                            answers = [said for said in answers if kind != peer.HASHES or said[1] != peer.HASHES]
                        for answer in answers:
                            self.say(sender, *answer)

        yield Client


async def content(world) -> dict:
    return (await ask(world, "GET /store/a"))[1]["tables"]


@example("sync")
async def test_changes_are_passed_on_and_kept(world, client_of) -> None:
    ann, ben = client_of(world), client_of(world)
    await ann.connect()
    await ben.connect()
    ann.change("1", "text", "milk", 1)
    ben.change("2", "text", "bread", 2)
    for client in (ann, ben):
        await client.hear()
    assert ann.store.hashes() == ben.store.hashes() != [0, 0]
    assert await content(world) == {"items": {"1": {"text": "milk"}, "2": {"text": "bread"}}}
    await world.lose_power()
    assert await content(world) == {"items": {"1": {"text": "milk"}, "2": {"text": "bread"}}}


@example("sync")
async def test_who_comes_alone_later_gets_everything_from_the_object(world, client_of) -> None:
    ann = client_of(world)
    await ann.connect()
    ann.change("1", "text", "milk", 1)
    await ann.hear()
    ann.socket.close(1000)
    await world.advance(seconds=60)
    assert world.state(world.namespace("Store").getByName("a")) == "cold"
    ben = client_of(world)
    await ben.connect()
    await ben.hear()
    assert ben.store.hashes() == ann.store.hashes()


@example("sync")
async def test_edits_made_apart_merge_cell_by_cell(world, client_of) -> None:
    ann, ben = client_of(world), client_of(world)
    await ann.connect()
    await ben.connect()
    ann.change("1", "text", "milk", 1)
    for client in (ann, ben):
        await client.hear()
    ben.socket.close(1000)
    await world.settle()
    ann.change("1", "text", "oat milk", 2)
    ben.change("1", "done", True, 3)
    ben.change("1", "text", "goat milk", 4)
    ben.change("9", "text", "figs", 5)
    await world.crash(world.namespace("Store").getByName("a"))
    await world.advance(seconds=1)
    await ben.connect()
    for _ in range(3):
        for client in (ann, ben):
            await client.hear()
    assert ann.store.hashes() == ben.store.hashes()
    assert await content(world) == {"items": {"1": {"text": "goat milk", "done": True}, "9": {"text": "figs"}}}


@example("sync")
async def test_an_answer_to_a_question_from_before_the_crash_is_understood(world, client_of) -> None:
    ann = client_of(world)
    await ann.connect()
    ann.socket.close(1000)
    await world.settle()
    ann.change("1", "text", "milk", 1)
    await ann.connect()
    assert await content(world) == {"items": {"1": {"text": "milk"}}}
    bad = await world.connect("/store/a", headers={"Sec-WebSocket-Key": "x" * 24})
    bad.send('\n["r.2",2,[0,0]]')
    await world.settle()
    asked = [said for said in bad.received if "S.tables" in said]
    assert asked
    await world.crash(world.namespace("Store").getByName("a"))
    await world.advance(seconds=1)
    bad.send('S\n["S.tables",0,[[{"more":[{"2":[{"text":["eggs","OhqqeV9----Z21Zg"]}]}]}],{}]]')
    await ann.hear()
    assert (await content(world))["more"] == {"2": {"text": "eggs"}}
    assert ann.store.roots["t"].children["more"].children["2"].children["text"].value == "eggs"


@example("sync")
async def test_nonsense_ends_its_own_socket_only(world, client_of) -> None:
    ann = client_of(world)
    await ann.connect()
    changes, hashes = '\n[null,3,[[{"t":1}],[{}],1]]', '\n["r",4,7]'
    for nonsense in ("no newline", "\nno json", "S\n[1,2]", b'\n[null,1,""]', changes, hashes):
        bad = await world.connect("/store/a", headers={"Sec-WebSocket-Key": "y" * 24})
        bad.send(nonsense)
        assert (await bad.closed())[0] == 1007, nonsense
    ann.change("1", "text", "milk", 1)
    await world.settle()
    assert await content(world) == {"items": {"1": {"text": "milk"}}}
