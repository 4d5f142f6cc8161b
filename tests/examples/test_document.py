"""document: what one writes the others have, conflicting edits converge, and all of it is there after whatever dies."""

from __future__ import annotations

import json

from pycrdt import (
    Decoder,
    Doc,
    Encoder,
    Text,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)

from .stage import ask, example

SYNC, AWARENESS = 0, 1


class Writer:
    """What a page is: a document of its own, and a socket that speaks y-websocket's protocol."""

    def __init__(self, world) -> None:
        self.world, self.client = world, None
        self.doc = Doc()
        self.text = self.doc.get("text", type=Text)
        self.there: dict[int, object] = {}
        self.heard = True
        self.doc.observe(self.changed)

    async def connect(self, name: str = "a") -> None:
        self.client = await self.world.connect(f"/document/{name}")
        self.client.send(create_sync_message(self.doc))
        await self.hear()

    def changed(self, event) -> None:
        if self.client is not None and not self.heard:
            self.client.send(create_update_message(event.update))

    def write(self, at: int, what: str) -> None:
        self.heard = False
        self.text.insert(at, what)
        self.heard = True

    async def hear(self) -> None:
        """All that has come by now."""
        await self.world.settle()
        while self.client.received:
            message = await self.client.receive()
            if message[0] == SYNC:
                reply = handle_sync_message(message[1:], self.doc)
                if reply is not None:
                    self.client.send(reply)
            elif message[0] == AWARENESS:
                states = Decoder(Decoder(message[1:]).read_message())
                for _ in range(states.read_var_uint()):
                    client, _, state = states.read_var_uint(), states.read_var_uint(), states.read_var_string()
                    self.there[client] = json.loads(state)
            await self.world.settle()

    def is_at(self, client: int, clock: int, state: object) -> None:
        encoder = Encoder()
        for number in (1, client, clock):
            encoder.write_var_uint(number)
        encoder.write_var_string(json.dumps(state))
        self.client.send(create_awareness_message(encoder.to_bytes()))


async def writers(world, count: int) -> list[Writer]:
    made = [Writer(world) for _ in range(count)]
    for writer in made:
        await writer.connect()
    return made


async def all_hear(*everybody: Writer) -> None:
    for _ in range(3):
        for writer in everybody:
            await writer.hear()


@example("document")
async def test_conflicting_edits_converge(world) -> None:
    ann, ben = await writers(world, 2)
    ann.write(0, "The quick fox")
    await all_hear(ann, ben)
    assert str(ben.text) == "The quick fox"
    ann.write(10, "brown ")  # at the same place, neither has heard the other
    ben.write(10, "red ")
    await all_hear(ann, ben)
    assert str(ann.text) == str(ben.text)
    assert sorted(str(ann.text).split()) == ["The", "brown", "fox", "quick", "red"]
    assert await ask(world, "GET /document/a.txt") == (200, str(ann.text))


@example("document")
async def test_who_was_away_merges_and_who_comes_later_has_all(world) -> None:
    ann, ben = await writers(world, 2)
    ann.write(0, "one ")
    await all_hear(ann, ben)
    ben.client.close(1000)
    await world.settle()
    ben.client = None
    ann.write(0, "zero ")
    ben.write(4, "two ")
    await all_hear(ann)
    await ben.connect()
    await all_hear(ann, ben)
    assert str(ann.text) == str(ben.text) == "zero one two "
    await world.restart()
    (late,) = await writers(world, 1)
    assert str(late.text) == "zero one two "


@example("document")
async def test_crashes_are_not_seen(world) -> None:
    ann, ben = await writers(world, 2)
    for number in range(12):
        (ann, ben)[number % 2].write(0, f"{number} ")
        if number % 4 == 1:
            await world.crash(world.namespace("Document").getByName("a"))
        await world.advance(milliseconds=300)
        await all_hear(ann, ben)
    assert str(ann.text) == str(ben.text)
    assert sorted(map(int, str(ann.text).split())) == list(range(12))
    assert await ask(world, "GET /document/a.txt") == (200, str(ann.text))


@example("document")
async def test_many_updates_are_one_and_large_ones_lie_in_parts(world) -> None:
    (ann,) = await writers(world, 1)
    for number in range(405):
        ann.write(0, f"{number} ")
        if number % 50 == 0:
            await ann.hear()
    ann.write(0, "x" * 2_500_000)
    await ann.hear()
    rows = await world.storage(world.namespace("Document").getByName("a")).sql(
        "SELECT count(DISTINCT number) AS updates, max(length(bytes)) AS longest, count(*) AS rows FROM updates"
    )
    assert rows[0]["updates"] < 10
    assert rows[0]["longest"] <= 1 << 20
    await world.evict(world.namespace("Document").getByName("a"))
    (late,) = await writers(world, 1)
    assert str(late.text) == str(ann.text)


@example("document")
async def test_cursors_are_seen_also_by_who_comes_later_and_go_with_their_owner(world) -> None:
    ann, ben = await writers(world, 2)
    ann.is_at(7, 1, {"name": "Ann", "at": 3})
    await all_hear(ann, ben)
    assert ben.there == {7: {"name": "Ann", "at": 3}}
    await world.advance(seconds=30)  # the object sleeps; sockets and what they keep do not
    assert world.state(world.namespace("Document").getByName("a")) == "cold"
    late = Writer(world)
    await late.connect()
    assert late.there == {7: {"name": "Ann", "at": 3}}
    ann.client.close(1000)
    await all_hear(ben, late)
    assert ben.there == late.there == {7: None}


@example("document")
async def test_nonsense_ends_its_own_socket_only(world) -> None:
    ann, ben = await writers(world, 2)
    for nonsense in (b"\x00\x02\x09garbage!!", b"\x01\x05abc", "text", b"\x00\x00\xff\xff\xff"):
        bad = await world.connect("/document/a")
        bad.send(nonsense)
        code, _ = await bad.closed()
        assert code in (1003, 1007), nonsense
    ann.write(0, "still here")
    await all_hear(ann, ben)
    assert str(ben.text) == "still here"
