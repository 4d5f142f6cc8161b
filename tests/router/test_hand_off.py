"""Two sessions of one shard, real sockets between: what follows a hand-off, in which order, and by which link it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from perdure.engine.calls import FETCH, Call
from perdure.engine.errors import HostGone, NotConnected, Overloaded, PerdureError, ShardLost
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.ids import ClassKey
from perdure.engine.references import RpcStub
from perdure.engine.stubs import Namespace
from perdure.engine.values import pack, unpack
from perdure.router import server
from perdure.router.client import Client
from perdure.router.lanes import Lane
from perdure.router.relay import Relay
from perdure.router.server import Acceptor
from perdure.router.slots import GROUPS, ShardPlace, SlotMap

KEY = ClassKey("p-Counter")
ID = KEY.id_from_name("a")


class Session:
    """A shard that notes what arrives; `answer` is for the test to say."""

    def __init__(self, folder: Path, name: str, slot_map: SlotMap) -> None:
        self.name = name
        self.calls: list[Call] = []
        self.arrived = asyncio.Event()
        self.cancelled: list[Call] = []
        self.acceptor = Acceptor(
            f"ipc://{folder}/{name}",
            asyncio.get_running_loop(),
            index=0,
            session=name,
            slot_map=slot_map,
            classes={"Counter": KEY.unique},
            deliver=self._deliver,
            cancel=self.cancelled.append,
            operate=self._deliver,
            stop_operation=self.cancelled.append,
            report=lambda *_: None,
        )

    def _deliver(self, call: Call) -> None:
        self.calls.append(call)
        self.arrived.set()

    async def until(self, count: int) -> None:
        while len(self.calls) < count:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 10)

    def answer(self, call: Call, value: object) -> None:
        call.answer(call, pack(value))

    def methods(self) -> list[str]:
        return [call.method for call in self.calls]


def place(folder: Path, epoch: int, session: str, *, there: bool = True) -> SlotMap:
    return SlotMap(epoch, (0,) * GROUPS, {0: ShardPlace(session, f"ipc://{folder}/{session}" if there else None)})


def call(client: Client, method: str) -> asyncio.Future[object]:
    return cast("asyncio.Future[object]", client.call(KEY.unique, ID, "a", method, pack([]), 20.0))


class Scene:
    """A client, an old session, a new one; `tell` says that the new one has the shard now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        loop = asyncio.get_running_loop()
        first = place(folder, 1, "old")
        self.old = Session(folder, "old", first)
        self.new = Session(folder, "new", place(folder, 2, "new"))
        self.client = Client.in_process(loop, first, {"Counter": KEY.unique}, role="test")

    def tell(self, *who: object) -> None:
        """The map with the new session, to those: all when nobody is named."""
        second = place(self.folder, 2, "new")
        for each in who or (self.client, self.old.acceptor):
            if isinstance(each, Client):
                each.adopt(second, {})
            else:
                cast("Acceptor", each).adopt(second, {})

    async def close(self) -> None:
        await self.client.close()
        self.old.acceptor.close()
        self.new.acceptor.close()


def run(tmp_path: Path, body: Callable[[Scene], Awaitable[None]]) -> None:
    async def within() -> None:
        scene = Scene(tmp_path)
        try:
            await asyncio.wait_for(body(scene), 20)
        finally:
            await scene.close()

    asyncio.run(within())


@pytest.mark.parametrize("first", ["client", "shard"])
def test_what_has_begun_is_answered_there_and_the_rest_moves_in_order(tmp_path: Path, first: str) -> None:
    """Whoever hears first of the new session: no call overtakes one that was made before it."""

    async def body(scene: Scene) -> None:
        old, new, client = scene.old, scene.new, scene.client
        begun, waiting = call(client, "begun"), call(client, "waiting")
        await old.until(2)
        old.acceptor.hold(lambda _: False)
        old.acceptor.take_back(old.calls[1])
        held = [call(client, f"held{number}") for number in range(3)]
        if first == "client":
            scene.tell(client)
            later = call(client, "later")
            await asyncio.sleep(0)
            scene.tell(old.acceptor)
        else:
            scene.tell(old.acceptor)
            later = call(client, "later")
        await new.until(5)
        assert new.methods() == ["waiting", "held0", "held1", "held2", "later"]
        for each in new.calls:
            new.answer(each, f"new {each.method}")
        assert await asyncio.gather(waiting, *held, later) == [f"new {name}" for name in new.methods()]
        assert not begun.done()
        old.answer(old.calls[0], "old begun")
        assert await begun == "old begun"
        assert old.methods() == ["begun", "waiting"]

    run(tmp_path, body)


def test_nothing_reaches_the_new_session_before_the_old_one_has_given_back(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, new, client = scene.old, scene.new, scene.client
        call(client, "begun")
        await old.until(1)
        old.acceptor.hold(lambda _: False)
        held = call(client, "held")
        await asyncio.sleep(0)
        scene.tell(client)
        later = call(client, "later")
        probe = Client.in_process(asyncio.get_running_loop(), place(scene.folder, 2, "new"), {}, role="probe")
        try:
            reached = call(probe, "probe")
            await new.until(1)
            new.answer(new.calls[0], None)
            await reached  # a round trip: what was sent before it would have arrived
            assert new.methods() == ["probe"]
            scene.tell(old.acceptor)
            await new.until(3)
            assert new.methods() == ["probe", "held", "later"]
            assert not held.done()
            assert not later.done()
        finally:
            await probe.close()

    run(tmp_path, body)


def test_a_chain_that_leads_from_here_is_let_in(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, client = scene.old, scene.client
        seen: list[object] = []

        def admits(links: object) -> bool:
            seen.append(links)
            return True

        old.acceptor.hold(admits)
        outside = call(client, "outside")
        from perdure.engine.calls import Extras

        extras = Extras.from_wire([[[ID, 7, 8, "x"]], None])
        client.call(KEY.unique, ID, "a", "chained", pack([]), 20.0, None, extras)
        await old.until(1)
        assert old.methods() == ["chained"]
        assert not outside.done()
        assert len(seen) == 1

    run(tmp_path, body)


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * size


async def read(found: Call) -> bytes:
    assert found.request is not None
    return b"".join([chunk async for chunk in cast("AsyncIterator[bytes]", found.request.body)])


def test_a_request_whose_body_streams_moves_with_it(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, new, client = scene.old, scene.new, scene.client
        request = HttpRequest("POST", "http://x/", [], chunks(12, 200_000))
        answer = client.fetch(KEY.unique, ID, "a", request, 20.0)
        await old.until(1)
        old.acceptor.hold(lambda _: False)
        old.acceptor.take_back(old.calls[0])
        held = client.fetch(KEY.unique, ID, "a", HttpRequest("POST", "http://x/", [], chunks(3, 10)), 20.0)
        scene.tell()
        for number, expected in ((0, 12 * 200_000), (1, 30)):
            await new.until(number + 1)
            found = new.calls[number]
            assert found.kind == FETCH
            data = await read(found)
            assert len(data) == expected
            found.answer(found, HttpResponse(200, [], b"%d" % len(data)))
        assert (await answer).body == b"2400000"
        assert (await held).body == b"30"

    run(tmp_path, body)


def test_a_relay_follows_a_hand_off_too(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, new = scene.old, scene.new
        loop = asyncio.get_running_loop()
        relay = Relay(f"ipc://{scene.folder}/router", loop, place(scene.folder, 1, "old"), {}, lambda *_: None)
        client = Client(loop)
        try:
            await client.open(f"ipc://{scene.folder}/router", relay=True)
            begun = call(client, "begun")
            await old.until(1)
            old.acceptor.hold(lambda _: False)
            held = [call(client, f"held{number}") for number in range(2)]
            request = HttpRequest("POST", "http://x/", [], chunks(3, 10))
            streamed = client.fetch(KEY.unique, ID, "a", request, 20.0)
            probe = call(scene.client, "probe")  # what the relay has sent meets the hold before it moves
            await asyncio.sleep(0)
            relay.adopt(place(scene.folder, 2, "new"), {})
            later = call(client, "later")
            scene.tell()
            await new.until(5)
            mine = [name for name in new.methods() if name != "probe"]
            assert mine == ["held0", "held1", "fetch", "later"]
            for each in new.calls:
                if each.kind == FETCH:
                    assert await read(each) == b"".join([chunk async for chunk in chunks(3, 10)])
                    each.answer(each, HttpResponse(200, [], b"whole"))
                else:
                    new.answer(each, each.method)
            old.answer(old.calls[0], "begun")
            answers = await asyncio.gather(begun, *held, later, probe)
            assert answers == ["begun", "held0", "held1", "later", "probe"]
            assert (await streamed).body == b"whole"
        finally:
            await client.close()
            relay.close()

    run(tmp_path, body)


def test_a_call_that_waits_for_a_newer_map_keeps_its_body_and_its_cancellation(tmp_path: Path) -> None:
    """The client knows a newer map than the shard."""

    async def body(scene: Scene) -> None:
        new, loop = scene.new, asyncio.get_running_loop()
        third = place(scene.folder, 3, "new")
        client = Client.in_process(loop, third, {}, role="test")
        try:
            gone = call(client, "gone")
            request = HttpRequest("POST", "http://x/", [], chunks(2, 10))
            answer = client.fetch(KEY.unique, ID, "a", request, 20.0)
            while new.acceptor.waiting < 5:  # two calls, and the three chunks of a body
                await asyncio.sleep(0)
            gone.cancel()
            while new.acceptor.waiting > 4:
                await asyncio.sleep(0)
            new.acceptor.adopt(third, {})
            await new.until(1)
            assert new.methods() == ["fetch"]
            assert len(await read(new.calls[0])) == 20
            new.calls[0].answer(new.calls[0], HttpResponse(200, [], b"x"))
            assert (await answer).body == b"x"
        finally:
            await client.close()

    run(tmp_path, body)


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PARKED_MAX", 2)

    async def body(scene: Scene) -> None:
        scene.old.acceptor.hold(lambda _: False)
        calls = [call(scene.client, f"c{number}") for number in range(3)]
        with pytest.raises(Overloaded, match="too many calls wait"):
            await calls[2]
        assert not calls[0].done()
        scene.tell()
        await scene.new.until(2)
        assert scene.new.methods() == ["c0", "c1"]

    run(tmp_path, body)


def test_who_dies_before_it_gave_back_fails_what_was_sent_and_lets_the_rest_go(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, new, client = scene.old, scene.new, scene.client
        begun = call(client, "begun")
        await old.until(1)
        old.acceptor.hold(lambda _: False)
        scene.tell(client)
        later = call(client, "later")
        lane = cast("dict[int, Lane]", client._lanes)[0]
        (link,) = lane._leaving
        lane._on_lost(link, "disconnected")
        with pytest.raises(PerdureError, match="was lost while the call was running"):
            await begun
        await new.until(1)
        assert new.methods() == ["later"]
        new.answer(new.calls[0], unpack(pack(1)))
        assert await later == 1

    run(tmp_path, body)


def test_an_answer_that_was_sent_before_the_process_ended_is_heard(tmp_path: Path) -> None:
    """The monitor tells of the end before the last message is read: that message counts."""

    async def body(scene: Scene) -> None:
        old, client = scene.old, scene.client
        begun = call(client, "begun")
        await old.until(1)
        scene.tell()
        lane = cast("dict[int, Lane]", client._lanes)[0]
        (link,) = lane._leaving
        old.answer(old.calls[0], "the last word")
        old.acceptor.close()  # and the loop does not go round
        assert link._monitor.poll(10_000)
        link._monitored()
        assert await begun == "the last word"

    run(tmp_path, body)


def test_what_is_held_when_the_process_ends_has_not_run_and_may_be_tried_again(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, client = scene.old, scene.client
        begun = call(client, "begun")
        await old.until(1)
        old.acceptor.hold(lambda _: False)
        held = call(client, "held")
        while not old.acceptor.held:
            await asyncio.sleep(0)
        old.acceptor.close()
        with pytest.raises(NotConnected, match="has not run") as raised:
            await held
        assert raised.value.retryable
        with pytest.raises(ShardLost):
            await begun

    run(tmp_path, body)


def test_what_was_sent_by_reference_lives_as_long_as_the_old_process(tmp_path: Path) -> None:
    """The link to it stays after the hand-off, until it goes or nothing of it is held."""

    async def body(scene: Scene) -> None:
        old, client = scene.old, scene.client
        asked, other = call(client, "asked"), call(client, "other")
        await old.until(2)
        for each in old.calls:
            each.answer(each, old.acceptor._exports.pack(lambda: 42))
        stub, kept = cast("list[RpcStub]", await asyncio.gather(asked, other))
        scene.tell()
        await asyncio.sleep(0.05)
        assert await stub() == 42
        stub.dispose()
        assert await kept() == 42
        old.acceptor.close()
        with pytest.raises(HostGone, match="no longer running"):
            while True:
                await kept()

    run(tmp_path, body)


def test_a_call_that_moves_takes_its_functions_along(tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        old, new, client = scene.old, scene.new, scene.client
        stub = Namespace(KEY, client).getByName("a")
        moved = cast("asyncio.Future[object]", stub.method(lambda: 42))
        await old.until(1)
        old.acceptor.hold(lambda _: False)
        old.acceptor.take_back(old.calls[0])
        scene.tell()
        await new.until(1)
        arrived = new.calls[0]
        assert arrived.received is not None
        (function,) = cast("list[RpcStub]", arrived.received.unpack(arrived.payload))
        new.answer(arrived, await function())
        assert await moved == 42
        await asyncio.sleep(0.01)
        assert client.exports.count == 0

    run(tmp_path, body)
