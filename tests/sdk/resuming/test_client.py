"""The client in Python on connections that it is given: what `ClientState` decides is done, and nothing is left behind."""

from __future__ import annotations

import asyncio
import pathlib

import pytest
from perdure.engine.errors import NotConnected
from perdure.resuming import Client, Message, Patience, Reset

from .room import Room

ROOT = pathlib.Path(__file__).parents[3]


class Connection:
    """To a room in this process; `cut` ends it."""

    def __init__(self, room: Room) -> None:
        self.room, self.wire = room, room.open()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.more = asyncio.Event()

    async def send(self, text: str) -> None:
        if self.ended.done():
            raise OSError("it has ended")
        self.room.message(self.wire, text)
        self.more.set()

    async def receive(self) -> str | int:
        while not self.wire.down:
            if self.ended.done():
                return self.ended.result()
            self.more.clear()
            await self.more.wait()
        return self.wire.down.popleft()

    async def close(self, code: int) -> None:
        self.cut(code)

    def cut(self, code: int = 1006) -> None:
        if not self.ended.done():
            self.ended.set_result(code)
            self.room.close(self.wire)
            self.more.set()


def dialler(room: Room, opened: list, refusals: list):
    async def dial():
        if refusals:
            refusal = refusals.pop(0)
            if isinstance(refusal, int):
                return refusal
            raise refusal
        opened.append(Connection(room))
        return opened[-1]

    return dial


def client_of(room: Room, opened: list, *refusals, **options) -> Client:
    return Client(dial=dialler(room, opened, list(refusals)), chance=lambda: 0.0, **options)


async def scene_of_a_lost_connection() -> None:
    room, opened, states = Room(), [], []
    async with client_of(room, opened, OSError("nobody"), 1006, on_state=states.append) as client:
        await client.became("live")
        assert states == ["offline", "live"]
        assert await client.send("one") == 1
        opened[0].cut(1012)
        await client.send("two")
        await client.flushed()
        events = client.__aiter__()
        assert [await anext(events) for _ in range(3)] == [
            Reset(None, room.stream._log(), 0),
            Message("one", 1),
            Message("two", 2),
        ]
        assert client.position == (room.stream._log(), 2)
        assert room.handled == ["one", "two"]
    assert (client.state, client.why, states[-1]) == ("ended", "stopped", "ended")
    assert room.ctx.sockets == []
    with pytest.raises(NotConnected):
        await client.send("late")
    assert [event async for event in client] == []


def test_it_carries_on_over_a_lost_connection() -> None:
    asyncio.run(asyncio.wait_for(scene_of_a_lost_connection(), 10))


async def scene_of_a_full_queue() -> None:
    room, opened = Room(), []
    async with client_of(room, opened, patience=Patience(unsent_max=1)) as client:
        await client.send("one")  # it is not connected yet
        second = asyncio.ensure_future(client.send("two"))
        await client.flushed()
        assert await second == 2
        opened[0].cut(4000)
        await asyncio.wait_for(client.became("ended"), 5)
        assert client.why == "closed with 4000"


def test_it_waits_while_too_many_wait_and_ends_when_it_is_sent_away() -> None:
    asyncio.run(asyncio.wait_for(scene_of_a_full_queue(), 10))


def test_the_examples_have_the_client_as_it_is() -> None:
    published = (ROOT / "clients" / "resume.js").read_bytes()
    copies = list((ROOT / "examples").glob("*/public/resume.js"))
    assert len(copies) >= 3
    for copy in copies:
        assert copy.read_bytes() == published, f"copy clients/resume.js to {copy}"
