"""AbortSignals as arguments and results of calls (spec: rpc)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk import js
from perdure.sdk.workers import DurableObject
from perdure.testing import World
from perdure.testing.virtual import run


class Worker(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.log = []
        self.signal = None

    async def work(self, signal):
        """Until it is told to stop."""
        self.log.append(signal.aborted)
        stopped = asyncio.get_running_loop().create_future()
        signal.addEventListener("abort", lambda _event: stopped.set_result(None))
        if not signal.aborted:
            await stopped
        self.log.append(str(getattr(signal.reason, "message", signal.reason)))
        return self.log[-1]

    async def keep(self, signal):
        self.signal = signal

    async def forget(self):
        self.signal = None

    async def state(self):
        return [self.signal.aborted, str(self.signal.reason)]

    async def check(self, signal):
        signal.throwIfAborted()

    async def through(self, signal):
        return await self.env.Worker.getByName("third").work(signal)

    async def next(self, *_given):
        self.log.append(len(self.log))
        return self.log[-1]

    async def own(self, reason):
        """Gives a signal, and aborts it later."""
        controller = js.AbortController.new()

        async def later():
            await asyncio.sleep(2)
            controller.abort(reason)

        self.ctx.waitUntil(later())
        return controller.signal

    async def gives_to_another_and_dies(self):
        self.controller = js.AbortController.new()
        await self.env.Worker.getByName("other").keep(self.controller.signal)

    async def die(self):
        self.ctx.abort("gone")


def in_world(work):
    async def main():
        async with World([Worker], shards=2) as world:
            await work(world, world.namespace("Worker").getByName("a"))

    run(main())


@pytest.mark.parametrize("method", ["work", "through"])
def test_an_abort_at_the_callers_side_arrives_with_its_reason(method) -> None:
    async def work(_world, a):
        controller = js.AbortController.new()
        working = getattr(a, method)(controller.signal)
        await asyncio.sleep(1)
        assert not working.done()
        controller.abort("enough")
        assert await working == "enough"

    in_world(work)


def test_one_that_is_aborted_arrives_so() -> None:
    async def work(_world, a):
        assert await a.work(js.AbortSignal.abort("before")) == "before"
        controller = js.AbortController.new()
        sent = a.work(controller.signal)
        controller.abort()  # before it has arrived
        assert await sent == "The operation was aborted"
        with pytest.raises(PerdureError, match="The operation was aborted") as caught:
            await a.check(js.AbortSignal.abort())
        assert caught.value.name == "AbortError"

    in_world(work)


def test_one_that_is_kept_is_aborted_long_after_the_call() -> None:
    async def work(_world, a):
        controller = js.AbortController.new()
        await a.keep(controller.signal)
        await asyncio.sleep(60)
        assert await a.state() == [False, "None"]
        controller.abort("late")
        await asyncio.sleep(1)
        assert await a.state() == [True, "late"]

    in_world(work)


def test_one_that_an_object_gives_aborts_at_its_callers() -> None:
    async def work(_world, a):
        signal = await a.own("later")
        assert not signal.aborted
        await asyncio.sleep(3)
        assert (signal.aborted, signal.reason) == (True, "later")

    in_world(work)


def test_who_loses_its_trigger_is_aborted() -> None:
    async def work(world, a):
        await a.gives_to_another_and_dies()
        with pytest.raises(PerdureError, match="gone"):
            await a.die()
        await asyncio.sleep(2)
        aborted, reason = await world.namespace("Worker").getByName("other").state()
        assert aborted
        assert "implicitly aborted because the connection back to its trigger was lost" in reason

    in_world(work)


def test_calls_with_signals_arrive_in_order_and_nothing_is_left_over() -> None:
    async def work(_world, a):
        controller = js.AbortController.new()
        calls = [a.next(controller.signal) if index % 2 else a.next() for index in range(6)]
        assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4, 5]
        await a.keep(controller.signal)
        await a.forget()
        await asyncio.sleep(3)
        assert not controller.signal._listeners.get("abort")

    in_world(work)
