"""An event past its deadline ends also when its caller does not say so."""

from __future__ import annotations

import asyncio
from math import inf

import pytest
from perdure.engine.calls import RPC, Call, Extras
from perdure.engine.durable import DurableObject
from perdure.engine.errors import DeadlineExceeded
from perdure.engine.values import EMPTY_ARGS, unpack
from perdure.testing.virtual import run

from .world import World


class Slow(DurableObject):
    seen: list[str] = []

    async def wait(self):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise

    async def section(self):
        await self.ctx.blockConcurrencyWhile(self.work)
        await asyncio.sleep(100)

    async def work(self):
        await asyncio.sleep(5)
        self.seen.append("worked")

    async def quick(self):
        self.seen.append("ran")
        return "quick"


def deliver(world: World, method: str, within_s: float, trail=((7, "Slow/first"),)) -> asyncio.Future:
    heard = asyncio.get_running_loop().create_future()
    object_id = world.shard.key.id_from_name("a")
    call = Call(
        world.shard.key.unique, object_id, "a", RPC, method, EMPTY_ARGS, lambda _call, result: heard.set_result(result)
    )
    call.within_s = within_s
    call.chain, call.trail = ((world.shard.key.id_from_name("first"), 6),), trail
    world.shard.residents.deliver(call)
    return heard


def in_a_world(script, tmp_path):
    async def inside():
        Slow.seen = []
        async with World.of(Slow, tmp_path) as world:
            await script(world)

    run(inside())


def test_what_runs_is_cancelled_and_named(tmp_path) -> None:
    async def script(world: World) -> None:
        heard = deliver(world, "wait", 3)
        await asyncio.sleep(2.9)
        assert not heard.done()
        await asyncio.sleep(1.3)
        assert isinstance(heard.result(), DeadlineExceeded)
        assert "within 3 s: Slow/first → " in heard.result().message
        assert Slow.seen == ["cancelled"]
        assert unpack(await deliver(world, "quick", 3)) == "quick"

    in_a_world(script, tmp_path)


def test_a_section_ends_first_and_what_waits_behind_it_never_runs(tmp_path) -> None:
    async def script(world: World) -> None:
        first = deliver(world, "section", 1)
        behind = deliver(world, "quick", 2)
        await asyncio.sleep(4)
        assert isinstance(behind.result(), DeadlineExceeded)
        assert not first.done()
        await asyncio.sleep(2.5)
        assert first.done()
        assert Slow.seen == ["worked"]

    in_a_world(script, tmp_path)


def test_without_a_deadline_it_goes_on(tmp_path) -> None:
    async def script(world: World) -> None:
        heard = deliver(world, "wait", inf)
        await asyncio.sleep(99)
        assert not heard.done()
        await asyncio.sleep(2)
        assert unpack(heard.result()) is None

    in_a_world(script, tmp_path)


@pytest.mark.parametrize(
    ("given", "read"), [([[], None], inf), ([[], None, True], inf), ([[], None, False, 1500], 1.5)]
)
def test_calls_of_references_say_what_is_left(given, read) -> None:
    assert Extras.from_wire(given).within_s == read
