"""`run_sync`: plain functions of objects and Workers that wait, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import time
import weakref

import pytest
from perdure.engine import blocking
from perdure.engine.blocking import Steps, can_block, run_sync
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.engine.interruption import TurnInterrupted, may_raise
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.virtual import run


def timeless(test):
    """The test in virtual time."""

    @functools.wraps(test)
    def inside(**given):
        return run(test(**given))

    return inside


class Blocker(DurableObject):
    ended: list[str] = []

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.made = run_sync(self._slowly("made"))
        self.seen: list[str] = []

    async def _slowly(self, value, seconds=1.0):
        await asyncio.sleep(seconds)
        return value

    def method(self):
        return run_sync(self._slowly("method"))

    async def in_task(self):
        def work():
            return run_sync(self._slowly("task"))

        async def begin():
            return work()

        return await asyncio.gather(begin(), begin())

    async def in_section(self):
        def body():
            return run_sync(self._slowly("section"))

        return await self.ctx.blockConcurrencyWhile(body)

    def nested(self):
        async def outer():
            return [run_sync(self._slowly("inner")), await self._slowly("outer")]

        return run_sync(outer())

    def logged(self, name, seconds=1.0):
        self.seen.append(f"{name} begins")
        run_sync(asyncio.sleep(seconds))
        self.seen.append(f"{name} ends")
        return self.made

    async def log(self):
        return list(self.seen)

    def raising(self):
        async def fail():
            await asyncio.sleep(1)
            raise ValueError("as asked")

        try:
            run_sync(fail())
        except ValueError as error:
            return str(error)
        return None

    async def stored_first(self):
        await self.ctx.storage.put("a", 1)
        run_sync(asyncio.sleep(1))
        return await self.ctx.storage.get("a")

    def wait_forever(self):
        try:
            run_sync(asyncio.get_running_loop().create_future())
        finally:
            Blocker.ended.append("finally")

    async def bounded(self):
        async def work():
            run_sync(asyncio.sleep(100))

        try:
            async with asyncio.timeout(2):  # noqa: ASYNC100 - what is tested: it waits without `await`
                run_sync(work())
        except TimeoutError:
            return "timeout"
        return None

    async def abort(self):
        self.ctx.abort("enough")

    def inside_transaction(self):
        return self.ctx.storage.transactionSync(lambda: run_sync(asyncio.sleep(1)))

    def from_storage(self):
        run_sync(self.ctx.storage.put("k", [1, 2]))
        return run_sync(self.ctx.storage.get("k"))

    def call_other(self, name):
        return run_sync(self.env.Blocker.getByName(name).method())

    def interruptible(self):
        async def waited():
            before = may_raise(sys._getframe())
            await asyncio.sleep(1)
            return [before, may_raise(sys._getframe())]

        return [may_raise(sys._getframe()), *run_sync(waited()), may_raise(sys._getframe())]

    def interrupted(self):
        run_sync(asyncio.sleep(1))
        raise TurnInterrupted("as the watchdog does")

    async def call_back(self, function):
        return await function(1)

    async def lend(self):
        def function(number):
            run_sync(asyncio.sleep(1))
            return number + 10

        return await self.env.Blocker.getByName("other").call_back(function)

    def in_callback(self):
        done = asyncio.get_running_loop().create_future()

        def callback():
            try:
                run_sync(asyncio.sleep(1))
            except PerdureError as error:
                done.set_result(error.message)

        asyncio.get_running_loop().call_later(1, callback)
        return run_sync(done)


class Default(WorkerEntrypoint):
    def fetch(self, request):
        stub = self.env.Blocker.getByName("worker")
        if request.url.endswith("/tasks"):

            async def ask():
                return run_sync(stub.method())

            return Response(" ".join(run_sync(_all(ask(), ask()))))
        if request.url.endswith("/lend"):

            def function(number):
                run_sync(asyncio.sleep(1))
                return number + 1

            return Response(str(run_sync(stub.call_back(function))))
        if request.url.endswith("/body"):

            async def body():
                yield run_sync(stub.method()).encode()

            return Response(body())
        return Response(run_sync(stub.method()))


async def _all(*work):
    return await asyncio.gather(*work)


def world():
    return World([Blocker, Default])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("method", "method"),
        ("in_task", ["task", "task"]),
        ("in_section", "section"),
        ("nested", ["inner", "outer"]),
        ("raising", "as asked"),
        ("stored_first", 1),
        ("bounded", "timeout"),
        ("from_storage", [1, 2]),
        ("interruptible", [True] * 4),
        ("lend", 11),
    ],
)
@timeless
async def test_a_plain_function_waits(method, expected):
    async with world() as here:
        assert await getattr(here.namespace("Blocker").getByName("a"), method)() == expected


@timeless
async def test_other_events_of_the_object_go_on_meanwhile():
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        first, second = stub.logged("first", 5), stub.logged("second", 1)
        assert [await first, await second] == ["made", "made"]
        assert await stub.log() == ["first begins", "second begins", "second ends", "first ends"]


@timeless
async def test_nobody_enters_while_the_constructor_waits():
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        assert await asyncio.gather(*(stub.logged(str(number), 0) for number in range(3))) == ["made"] * 3
        assert (await stub.log())[:5:2] == ["0 begins", "1 begins", "2 begins"]
        assert await stub.log() == await stub.log()  # one object: the same list
        await here.evict(stub)
        assert await stub.log() == []


@timeless
async def test_a_reset_ends_what_is_blocked_and_runs_its_finally():
    Blocker.ended.clear()
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        waiting = asyncio.ensure_future(stub.wait_forever())
        await here.advance(seconds=5)
        with pytest.raises(PerdureError, match="enough"):
            await stub.abort()
        with pytest.raises(PerdureError, match="enough"):
            await waiting
        assert Blocker.ended == ["finally"]
        stub = here.namespace("Blocker").getByName("a")
        assert await stub.method() == "method"


@timeless
async def test_nothing_waits_inside_transaction_sync():
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        with pytest.raises(PerdureError, match="cannot wait inside transactionSync"):
            await stub.inside_transaction()
        assert await stub.method() == "method"


@timeless
async def test_a_callback_of_the_loop_is_told_that_it_cannot_wait():
    async with world() as here:
        assert "cannot wait here" in await here.namespace("Blocker").getByName("a").in_callback()


@timeless
async def test_an_interruption_ends_the_step_and_its_stack_is_used_again():
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        for _ in range(3):
            with pytest.raises(PerdureError, match="as the watchdog does"):
                await stub.interrupted()
        assert await stub.method() == "method"


@timeless
async def test_objects_wait_for_each_other():
    async with world() as here:
        assert await here.namespace("Blocker").getByName("a").call_other("b") == "method"


@pytest.mark.parametrize(
    ("path", "expected"), [("/", "method"), ("/tasks", "method method"), ("/body", "method"), ("/lend", "2")]
)
@timeless
async def test_the_worker_waits_too(path, expected):
    async with world() as here:
        response = await here.fetch(path)
        assert await response.text() == expected


@timeless
async def test_a_crash_while_it_waits():
    async with world() as here:
        stub = here.namespace("Blocker").getByName("a")
        waiting = asyncio.ensure_future(stub.wait_forever())
        await here.advance(seconds=5)
        await here.crash(stub)
        with pytest.raises(PerdureError):
            await waiting
        assert await stub.method() == "method"


# ------------------------------------------------------------------ the machine itself
def test_outside_of_events_it_gives_what_is_done_and_refuses_the_rest():
    async def at_once():
        return 5

    assert run_sync(at_once()) == 5
    assert not can_block()
    with pytest.raises(TypeError, match="takes an awaitable, not int"):
        run_sync(5)  # type: ignore[arg-type]
    with pytest.raises(PerdureError, match="cannot wait here"):
        run_sync(asyncio.sleep(0))


def test_a_cancellation_reaches_the_plain_function():
    seen = []

    def work():
        try:
            run_sync(asyncio.sleep(100))
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main():
        async def outer():
            work()

        task = asyncio.Task(Steps(outer()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert seen == ["cancelled"]


def test_context_variables_are_those_of_the_task():
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    async def change():
        await asyncio.sleep(1)
        variable.set(variable.get() + 1)
        return variable.get()

    async def outer():
        variable.set(10)
        first = run_sync(change())
        await asyncio.sleep(1)
        return [first, variable.get(), run_sync(change())]

    async def main():
        return await asyncio.gather(asyncio.Task(Steps(outer())), asyncio.Task(Steps(outer()))), variable.get()

    assert run(main()) == ([[11, 11, 12]] * 2, 0)


def test_stacks_are_used_again():
    async def outer():
        for _ in range(100):
            await asyncio.sleep(0)
            run_sync(asyncio.sleep(0))

    async def main():
        await asyncio.gather(*(asyncio.Task(Steps(outer())) for _ in range(10)))

    blocking._idle.stacks.clear()
    run(main())
    assert 1 <= len(blocking._idle.stacks) <= 11


def test_who_ignores_the_end_is_left():
    ended = []

    async def outer():
        while True:
            try:
                run_sync(asyncio.sleep(0))
            except GeneratorExit:
                ended.append(1)
                if len(ended) == 3:
                    raise

    steps = Steps(outer())
    steps.send(None)
    steps.close()
    assert len(ended) == 3


def test_an_idle_stack_keeps_nothing_alive():
    class Thing:
        pass

    async def outer():
        thing = Thing()
        run_sync(asyncio.sleep(0))
        held.append(weakref.ref(thing))
        return thing

    async def main():
        await asyncio.Task(Steps(outer()))

    held: list[weakref.ref[Thing]] = []
    run(main())
    gc.collect()
    assert held[0]() is None


class Prepared(DurableObject):
    """Its constructor waits, and has sections."""

    failures = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.steps: list[str] = []
        if Prepared.failures:
            Prepared.failures -= 1
            run_sync(asyncio.sleep(1))
            raise ValueError("not yet")

        @ctx.blockConcurrencyWhile
        async def prepare():
            await asyncio.sleep(1)
            self.steps.append("prepared")

        run_sync(asyncio.sleep(2))
        self.steps.append("constructed")
        run_sync(ctx.blockConcurrencyWhile(self._more))

    async def _more(self):
        await asyncio.sleep(1)
        self.steps.append("more")

    async def log(self):
        return list(self.steps)

    async def alarm(self):
        self.steps.append("alarm")

    async def wake_later(self):
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + 60_000)


@timeless
async def test_sections_of_a_constructor_that_waits_end_before_the_first_event():
    async with World([Prepared]) as here:
        stub = here.namespace("Prepared").getByName("a")
        assert await asyncio.gather(stub.log(), stub.log()) == [["prepared", "constructed", "more"]] * 2


@timeless
async def test_a_constructor_that_waits_and_fails():
    async with World([Prepared]) as here:
        Prepared.failures = 1
        stub = here.namespace("Prepared").getByName("a")
        results = await asyncio.gather(stub.log(), stub.log(), return_exceptions=True)
        assert all(isinstance(result, PerdureError) and "not yet" in result.message for result in results)
        stub = here.namespace("Prepared").getByName("a")
        assert await stub.log() == ["prepared", "constructed", "more"]


@timeless
async def test_an_alarm_wakes_an_object_whose_constructor_waits():
    async with World([Prepared]) as here:
        stub = here.namespace("Prepared").getByName("a")
        await stub.wake_later()
        await here.evict(stub)
        await here.advance(minutes=2)
        await stub.wake_later()
        await here.advance(seconds=65)
        assert "alarm" in await stub.log()


@timeless
async def test_inspect_knows_the_state_of_steps() -> None:
    """Libraries that cancel tasks ask it: anyio does for each task of a group."""
    blocked = asyncio.get_running_loop().create_future()

    async def work():
        states.append(inspect.getcoroutinestate(steps))
        await asyncio.sleep(0)
        run_sync(blocked)
        await asyncio.sleep(0)

    states: list[str] = []
    steps = Steps(work())
    states.append(inspect.getcoroutinestate(steps))
    steps.send(None)
    states.append(inspect.getcoroutinestate(steps))
    assert steps.send(None) is blocked
    states.append(inspect.getcoroutinestate(steps))
    blocked.set_result(None)
    steps.send(None)
    states.append(inspect.getcoroutinestate(steps))
    with pytest.raises(StopIteration):
        steps.send(None)
    states.append(inspect.getcoroutinestate(steps))
    created, running, suspended, closed = "CORO_CREATED", "CORO_RUNNING", "CORO_SUSPENDED", "CORO_CLOSED"
    assert states == [created, running, suspended, suspended, suspended, closed]
