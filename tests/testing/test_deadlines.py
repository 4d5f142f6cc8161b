"""Deadlines and cancellation travel through chains of objects."""

from __future__ import annotations

import asyncio

import perdure
import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import DeadlineExceeded, InvalidArgument
from perdure.engine.rpc_target import RpcTarget
from perdure.testing import World
from perdure.testing.virtual import run


class Waiting(RpcTarget):
    def __init__(self, link):
        self.link = link

    async def wait(self):
        return await self.link.wait()


class Link(DurableObject):
    """One of a chain; the class notes what became of each."""

    seen: list[tuple[str, object]] = []

    async def ask(self, path, how="call"):
        """The next of the path; the last one waits for ever."""
        name = self.ctx.id.name
        began = asyncio.get_running_loop().time()
        try:
            if not path:
                await self.ctx.storage.put("asked", True)
                return await self.wait()
            stub = self.env.Link.getByName(path[0])
            if how == "fetch":
                return await (await stub.fetch("http://link/" + "/".join(path[1:]))).text()
            if how == "section":
                return await self.ctx.blockConcurrencyWhile(lambda: stub.ask(path[1:], how))
            if how == "target" and len(path) == 1:
                return await (await stub.target()).wait()
            return await stub.ask(path[1:], how)
        except asyncio.CancelledError:
            self.seen.append((name, "cancelled", round(asyncio.get_running_loop().time() - began, 3)))
            raise
        except DeadlineExceeded:
            self.seen.append((name, "late", round(asyncio.get_running_loop().time() - began, 3)))
            raise

    async def wait(self):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.seen.append((self.ctx.id.name, "ended", 0))
            raise

    async def target(self):
        return Waiting(self)

    async def fetch(self, request):
        from perdure.sdk.response import Response

        path = [part for part in request.url.split("/", 3)[3].split("/") if part]
        return Response(str(await self.ask(path, "fetch")))

    async def later(self, name):
        """Its answer is there at once; what it does after it has time of its own."""
        self.ctx.waitUntil(self.after(name))
        return "done"

    async def after(self, name):
        await asyncio.sleep(2)
        await self.env.Link.getByName(name).ask([])

    async def begin_alarm(self, after_ms, path):
        await self.ctx.storage.put("path", path)
        import time

        await self.ctx.storage.setAlarm(time.time() * 1000 + after_ms)

    async def alarm(self):
        path = await self.ctx.storage.get("path")
        await self.env.Link.getByName(path[0]).ask(path[1:])

    async def here(self):
        return True


def in_a_world(script):
    async def inside():
        Link.seen = []
        async with World([Link], shards=2) as world:
            await script(world)

    run(inside())


@pytest.mark.parametrize("how", ["call", "fetch", "target"])
def test_what_is_left_goes_down_the_chain_and_who_was_late_comes_up(how) -> None:
    async def script(world: World) -> None:
        began = world.loop.now_s
        stub = perdure.with_deadline(world.namespace("Link").getByName("a"), 5)
        with pytest.raises(DeadlineExceeded, match=r"no answer within 4\.\d+ s: .*/a → .*/b → ") as caught:
            await stub.ask(["b", "c"], how)
        assert ("callback" if how == "target" else "/c") in caught.value.message
        assert 4.5 < world.loop.now_s - began < 5
        await world.settle()
        assert ("c", "ended", 0) in Link.seen
        for name in "abc":  # nobody is left behind
            assert await world.namespace("Link").getByName(name).here()
            assert world.state(world.namespace("Link").getByName(name)) == "idle"

    in_a_world(script)


def test_a_caller_that_gives_up_ends_the_chain() -> None:
    async def script(world: World) -> None:
        asked = asyncio.ensure_future(world.namespace("Link").getByName("a").ask(["b", "c"]))
        await world.advance(seconds=1)
        asked.cancel()
        await world.settle()
        assert sorted(Link.seen) == [
            ("a", "cancelled", 1.0),
            ("b", "cancelled", 1.0),
            ("c", "cancelled", 1.0),
            ("c", "ended", 0),
        ]

    in_a_world(script)


def test_the_default_is_shared_by_the_chain() -> None:
    async def script(world: World) -> None:
        with pytest.raises(DeadlineExceeded):
            await world.namespace("Link").getByName("a").ask(["b", "c"])
        assert 29 < world.loop.now_s < 30
        await world.settle()
        assert [who for who, what, _ in Link.seen if what == "late"] == ["b", "a"]

    in_a_world(script)


def test_a_section_is_not_cut_in_the_middle() -> None:
    """Its caller is told; the event ends when the section has."""

    async def script(world: World) -> None:
        stub = perdure.with_deadline(world.namespace("Link").getByName("a"), 3)
        with pytest.raises(DeadlineExceeded):
            await stub.ask(["b", "c"], "section")
        await world.settle()
        assert await world.namespace("Link").getByName("c").here()

    in_a_world(script)


def test_alarms_and_work_after_the_answer_have_time_of_their_own() -> None:
    async def script(world: World) -> None:
        space = world.namespace("Link")
        assert await perdure.with_deadline(space.getByName("a"), 1).later("b") == "done"
        await perdure.with_deadline(space.getByName("c"), 1).begin_alarm(500, ["d"])
        await world.advance(seconds=20)
        assert world.state(space.getByName("b")) == world.state(space.getByName("d")) == "running"
        assert Link.seen == []

    in_a_world(script)


def test_what_a_deadline_may_be() -> None:
    async def script(world: World) -> None:
        stub = world.namespace("Link").getByName("a")
        for seconds in (0, -1, 86_401):
            with pytest.raises(InvalidArgument, match="a deadline is more than 0"):
                perdure.with_deadline(stub, seconds)
        with pytest.raises(InvalidArgument, match="takes a stub"):
            perdure.with_deadline(world, 1)

    in_a_world(script)
