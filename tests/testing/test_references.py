"""What travels by reference, in a world: functions, targets, stubs, streams; how long they live."""

from __future__ import annotations

import asyncio
import gc

import pytest
from perdure.engine.errors import PerdureError
from perdure.engine.value_types import register
from perdure.router.retries import Retry, with_retry
from perdure.sdk.workers import DurableObject, RpcTarget
from perdure.testing import World
from perdure.testing.virtual import run


class Session(RpcTarget):
    limit = 5

    def __init__(self, start: int) -> None:
        self.count = start

    def increment(self, by: int = 1) -> int:
        self.count += by
        return self.count

    @property
    def value(self) -> int:
        return self.count

    def child(self):
        return Session(self.count * 10)

    def fetch(self):
        return "an ordinary name here"


class Writer(RpcTarget):
    def __init__(self, storage):
        self.storage = storage

    async def add(self, by):
        count = (await self.storage.get("count") or 0) + by
        await self.storage.put("count", count)
        return count


class Mixin:
    def mixed(self):
        return "mixed in"


class Kinds(Mixin, RpcTarget):
    def fail(self):
        raise ValueError("on purpose")

    def put(self, *args):
        return list(args)


class Base(DurableObject):
    def get(self):
        return "got"

    async def delete(self):
        return "deleted"


class Host(Mixin, Base):
    async def put(self, *args):
        return list(args)

    def kinds(self):
        return Kinds()

    async def slow_stream(self):
        await asyncio.sleep(100)
        yield 1
        await asyncio.sleep(100)
        yield 2

    async def section_calls_what_was_sent_before(self, name):
        other = self.env.Host.getByName(name)
        await other.keep(lambda: 1)
        await self.ctx.blockConcurrencyWhile(other.use_kept)

    async def sum_later(self, numbers):
        async def work():
            await asyncio.sleep(1)
            self.sum = sum([number async for number in numbers])

        self.ctx.waitUntil(work())

    async def summed(self):
        return self.sum

    async def note(self, number, *_more):
        self.__dict__.setdefault("noted", []).append(number)
        return list(self.noted)

    async def counter(self):
        count = 0

        def add(by: int) -> int:
            nonlocal count
            count += by
            return count

        return add

    def make(self, start: int):
        return Session(start)

    @property
    def session(self):
        return Session(7)

    async def call_back(self, function, *args):
        return await function(*args)

    async def keep(self, function):
        self.kept = function.dup()

    async def keep_without_dup(self, function):
        self.kept = function

    async def use_kept(self, *args):
        return await self.kept(*args)

    async def pass_on(self, name, function, *args):
        return await self.env.Host.getByName(name).call_back(function, *args)

    async def counter_of(self, name):
        return await self.env.Host.getByName(name).counter()

    async def other(self, name):
        return self.env.Host.getByName(name)

    async def who(self):
        return self.ctx.id.name

    async def call_stub(self, stub):
        return await stub.who()

    async def in_section(self, name):
        async def body():
            def answer():
                return 12345

            return await self.env.Host.getByName(name).call_back(answer)

        return await self.ctx.blockConcurrencyWhile(body)

    async def store(self, what):
        await self.ctx.storage.put("x", what)

    async def store_function(self):
        await self.ctx.storage.put("x", lambda: 1)

    async def echo(self, value):
        return value

    async def store_parcel(self):
        await self.ctx.storage.put("x", Parcel("p", 1))

    def writer(self):
        return Writer(self.ctx.storage)

    async def stored(self):
        return await self.ctx.storage.get("count")

    async def abort(self):
        self.ctx.abort("gone")

    async def numbers(self, count):
        self.closed = False
        try:
            for number in range(count):
                yield {"n": number}
        finally:
            self.closed = True
            await self.ctx.storage.put("closed", True)

    async def fails(self):
        yield 1
        raise ValueError("in the middle")

    async def was_closed(self):
        return [self.closed, await self.ctx.storage.get("closed")]

    async def total(self, numbers):
        return sum([each async for each in numbers])


def in_world(work, **options):
    async def main():
        async with World([Host], shards=2, **options) as world:
            await asyncio.wait_for(work(world, world.namespace("Host").getByName("a")), 36_000)

    run(main())


def test_edge_38_a_returned_closure_keeps_its_state():
    async def work(world, a):
        add = await a.counter()
        assert [await add(2), await add(1), await add(-5)] == [2, 3, -2]

    in_world(work)


def test_a_function_is_forwarded_to_a_third_party():
    async def work(world, a):
        add = await a.counter_of("b")
        assert await add(2) == 2
        assert await a.pass_on("b", lambda text: text + "!", "hi") == "hi!"

    in_world(work)


def test_callers_functions_run_at_the_caller():
    async def work(world, a):
        seen = []
        assert await a.call_back(seen.append, 3) is None
        assert seen == [3]

        async def later(x, y):
            await asyncio.sleep(1)
            return x * y

        assert await a.call_back(later, 6, 7) == 42

    in_world(work)


def test_targets_methods_and_properties():
    async def work(world, a):
        session = await a.make(1)
        assert await session.increment() == 2
        assert await session.increment(5) == 7
        assert await session.value == 7
        assert await session.fetch() == "an ordinary name here"
        assert await (await session.child()).increment() == 71
        assert await session.limit == 5
        with pytest.raises(PerdureError, match='does not implement the method "count"'):
            await session.count
        with pytest.raises(PerdureError, match='"limit" is not a function'):
            await session.limit()
        with pytest.raises(PerdureError, match="is a reserved method"):
            await session.constructor()

    in_world(work)


def test_pipelining_and_properties_of_objects():
    async def work(world, a):
        assert await a.make(12).increment(3) == 15
        assert await a.make(12).value == 12
        assert await a.make(2).child().increment() == 21
        assert await a.session.value == 7
        assert await a.session.increment() == 8
        with pytest.raises(PerdureError, match="Can't pipeline on RPC"):
            await a.who().upper()

    in_world(work)


def test_parameters_are_disposed_unless_duplicated():
    async def work(world, a):
        await a.keep(lambda x: x + 1)
        assert await a.use_kept(1) == 2
        await a.keep_without_dup(lambda x: x + 1)
        with pytest.raises(PerdureError, match="RPC stub used after being disposed"):
            await a.use_kept(1)

    in_world(work)


def test_use_after_disposal():
    async def work(world, a):
        add = await a.counter()
        other = add.dup()
        add.dispose()
        with pytest.raises(PerdureError, match="RPC stub used after being disposed"):
            await add(1)
        assert await other(1) == 1
        with other:
            pass
        with pytest.raises(PerdureError, match="RPC stub used after being disposed"):
            await other(1)

    in_world(work)


def test_stubs_of_objects_are_forwarded():
    async def work(world, a):
        b = await a.other("b")
        assert await b.who() == "b"
        assert await a.call_stub(b) == "b"

    in_world(work)


def test_edge_40_a_function_made_in_a_critical_section_is_delivered_into_it():
    async def work(world, a):
        assert await asyncio.wait_for(a.in_section("b"), 5) == 12345
        assert await asyncio.wait_for(a.in_section("a2"), 5) == 12345

    in_world(work)


def test_storage_refuses_what_travels_by_reference():
    async def work(world, a):
        for call in (a.store_function(), a.store(lambda: 1)):
            with pytest.raises(PerdureError, match="DataCloneError|Could not serialize"):
                await call

    in_world(work)


def test_the_host_dies():
    async def work(world, a):
        add = await a.counter()
        with pytest.raises(PerdureError, match="gone"):
            await a.abort()
        with pytest.raises(PerdureError, match="execution context which hosts this callback.*no longer running"):
            await add(1)
        add = await world.namespace("Host").getByName("a").counter()
        await world.crash(a)
        with pytest.raises(PerdureError, match="execution context which hosts this callback.*no longer running"):
            await add(1)

    in_world(work)


def test_streams_of_items():
    async def work(world, a):
        stream = await a.numbers(100)
        assert [item["n"] async for item in stream] == list(range(100))
        stream = await a.numbers(1000)
        assert await anext(stream) == {"n": 0}
        await stream.aclose()
        await world.settle()
        assert await a.was_closed() == [True, True]

        async def mine():
            for number in range(50):
                yield number

        assert await a.total(mine()) == sum(range(50))
        failing = await a.fails()
        assert await anext(failing) == 1
        with pytest.raises(PerdureError, match="in the middle"):
            await anext(failing)

    in_world(work)


def test_nothing_is_left_over():
    async def work(world, a):
        add = await a.counter()
        await a.call_back(lambda: 1)
        stream = await a.numbers(5)
        assert len([1 async for _ in stream]) == 5
        del add, stream
        gc.collect()
        await world.settle()
        assert {found.count for found in world.network._exports.values()} == {0}

    in_world(work)


def test_from_code_of_another_loop_and_of_none():
    with World([Host]) as world:
        a = world.namespace("Host").getByName("a")
        add = a.counter()
        assert [add(2), add(1)] == [2, 3]
        assert a.make(4).increment() == 5

    async def main():
        async with World([Host]) as other:
            a = other.namespace("Host").getByName("a")
            add = await a.counter()
            assert [await add(2), await add(1)] == [2, 3]
            assert await a.make(4).increment() == 5
            assert await a.make(4).child().value == 40
            assert [item["n"] async for item in await a.numbers(3)] == [0, 1, 2]

    asyncio.run(main())


def test_calls_that_are_tried_again_can_be_called_on_too():
    async def work(world, a):
        patient = with_retry(a, Retry())
        assert await patient.make(3).increment() == 4

    in_world(work)


def test_an_object_stays_in_memory_while_somebody_has_something_of_it():
    async def work(world, a):
        add = await a.counter()
        assert await add(1) == 1
        await world.advance(minutes=30)
        assert await add(1) == 2
        add.dispose()
        await world.advance(seconds=30)
        assert world._process(a).instance(a.id.raw) is None

    in_world(work)


def test_calls_of_what_a_call_gave_are_no_requests_of_their_own():
    async def work(world, a):
        instance = world._process(a).instance
        session = await a.make(1)
        before = instance(a.id.raw).meters.requests
        for _ in range(5):
            await session.increment()
        assert instance(a.id.raw).meters.requests == before

    in_world(work)


class Parcel:
    """A value that crosses as its parts."""

    def __init__(self, name, body):
        self.name, self.body = name, body


register(Parcel, 250, lambda parcel: {"name": parcel.name, "body": parcel.body}, lambda p: Parcel(p.name, p.body))


def test_registered_values_cross_as_their_parts_with_streams_in_them():
    async def body():
        yield b"one"
        yield b"two"

    async def work(world, a):
        got = await a.echo([{"x": Parcel("p", body())}])
        parcel = got[0]["x"]
        assert isinstance(parcel, Parcel)
        assert [bytes(chunk) async for chunk in parcel.body] == [b"one", b"two"]
        with pytest.raises(PerdureError, match='Could not serialize object of type "Parcel"'):
            await a.store_parcel()
        with pytest.raises(TypeError, match="<class 'tuple'> cannot be sent over RPC"):
            a.echo(Parcel("p", [(1, 2)]))

    in_world(work)


def test_what_cannot_travel_by_reference():
    async def work(world, a):
        class Plain:
            pass

        with pytest.raises(PerdureError, match='^DataCloneError: Could not serialize object of type "Plain"'):
            a.call_back(lambda: 1, Plain())
        with pytest.raises(TypeError, match="<class 'tuple'> cannot be sent over RPC"):
            a.call_back(lambda: 1, [(1, 2)])
        with pytest.raises(TypeError, match="<class 'bytearray'> cannot be sent over RPC"):
            a.call_back(lambda: 1, {"x": bytearray(1)})
        assert world.network.exports_of(None).count == 0

    in_world(work)


def test_stubs_look_like_what_they_are():
    async def work(world, a):
        add = await a.counter()
        assert bool(add)
        with pytest.raises(TypeError, match="^'RpcStub' object has no len\\(\\)$"):
            len(add)
        with pytest.raises(TypeError, match="^'RpcStub' object is not iterable$"):
            iter(add)
        path = add
        for _ in range(64):
            path = path.x
        with pytest.raises(PerdureError, match="property path is too deep \\(max 64\\)"):
            getattr(path, "x")  # noqa: B009 - it raises
        path = a.session
        for _ in range(63):
            path = path.x
        with pytest.raises(PerdureError, match="property path is too deep \\(max 64\\)"):
            getattr(path, "x")  # noqa: B009 - it raises

    in_world(work)


def test_passing_a_stub_on_transfers_it():
    async def work(world, a):
        add = await a.counter()
        assert await a.call_back(add, 1) == 1
        with pytest.raises(PerdureError, match="RPC stub used after being disposed"):
            await add(1)
        other = await a.counter()
        mine = other.dup()
        assert await a.call_back(other, 1) == 1
        assert await mine(1) == 2
        again = await a.echo(await a.counter())
        assert await again(5) == 5

    in_world(work)


def test_unawaited_calls_run_and_warn_of_nothing():
    async def work(world, a):
        session = await a.make(1)
        session.increment()
        a.make(1).increment()
        await world.settle()
        assert await session.value == 2

    in_world(work)


def test_calls_on_one_result_run_in_order():
    async def work(world, a):
        session = a.make(0)
        calls = [session.increment() for _ in range(6)]
        assert await asyncio.gather(*calls) == [1, 2, 3, 4, 5, 6]
        assert await (await session).value == 6

    in_world(work)


def test_a_target_of_an_object_runs_in_its_turns():
    """Writes of a call of it are durable before its answer leaves; calls of it do not interleave between suspensions."""

    async def work(world, a):
        writer = await a.writer()
        assert await asyncio.gather(*[writer.add(1) for _ in range(5)]) == [1, 2, 3, 4, 5]
        await world.crash(a)
        assert await world.namespace("Host").getByName("a").stored() == 5

    in_world(work)


def test_the_result_of_a_cancelled_call():
    async def work(world, a):
        made = a.make(1)
        made.cancel()
        with pytest.raises(PerdureError, match="RPC promise used after being disposed"):
            await made.increment()

    in_world(work)


def test_keyword_arguments_and_inherited_methods():
    async def work(world, a):
        assert await a.put("key", "value", ttl=60) == ["key", "value", {"ttl": 60}]
        assert await a.get() == "got"
        assert await a.delete() == "deleted"
        target = await a.kinds()
        assert await target.put(1, ttl=2) == [1, {"ttl": 2}]
        assert await target.mixed() == "mixed in"
        with pytest.raises(PerdureError, match="takes 1 positional argument but 2 were given"):
            await target.mixed(1)
        with pytest.raises(PerdureError, match="takes 1 positional argument but 2 were given"):
            await a.get(1)

    in_world(work)


def test_calls_arrive_in_order_also_with_streams_in_them():
    async def numbers():
        yield 1

    async def work(world, a):
        calls = [a.note(0), a.note(1, numbers()), a.note(2), a.note(3, lambda: 1), a.note(4)]
        assert await asyncio.gather(*calls) == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]

    in_world(work)


def test_the_bound_holds_for_calls_of_references():
    async def work(world, a):
        big = "x" * (33 << 20)
        with pytest.raises(PerdureError, match="limited to 32MiB, but the size of this value was: 346030.. bytes"):
            a.call_back(lambda: big, big)
        with pytest.raises(PerdureError, match="limited to 32MiB, but the size of this value was: 346030.. bytes"):
            await a.call_back(lambda: big)

    in_world(work)


def test_exceptions_as_values():
    async def work(world, a):
        got = await a.echo([ValueError("inside"), {"e": PerdureError("ours", name="RangeError")}])
        assert str(got[0]) == "Error: inside"
        assert str(got[1]["e"]) == "RangeError: ours"
        assert str(await a.call_back(lambda: ValueError("back"))) == "Error: back"

    in_world(work)


def test_a_call_of_a_reference_has_a_deadline_and_is_cancelled():
    ended = []

    async def hangs():
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(True)

    async def work(world, a):
        with pytest.raises(PerdureError, match="no answer within 30 s"):
            await a.call_back(hangs)
        await world.settle()
        assert ended == [True]
        slow = await a.slow_stream()
        assert await anext(slow) == 1  # a stream's next item may take its time

    in_world(work)


def test_a_section_that_waits_for_a_call_of_what_was_sent_before_it_is_told():
    async def work(world, a):
        with pytest.raises(PerdureError, match="waits for a critical section that waits for the call"):
            await a.section_calls_what_was_sent_before("b")

    in_world(work)


def test_what_an_object_raises_in_what_it_sent_arrives_as_from_a_method():
    async def work(world, a):
        target = await a.kinds()
        with pytest.raises(PerdureError, match="(?s)PythonError: Traceback.*ValueError: on purpose") as raised:
            await target.fail()
        assert raised.value.remote
        assert await target.mixed() == "mixed in"

        def fail():
            raise KeyError("mine")

        with pytest.raises(PerdureError, match="KeyError: 'mine'"):
            await a.call_back(fail)

    in_world(work)


def test_a_stream_is_read_on_after_its_call_has_returned_and_passed_on():
    async def numbers():
        for number in range(40):
            yield number

    async def work(world, a):
        assert await a.sum_later(numbers()) is None
        await world.advance(seconds=2)
        assert await a.summed() == sum(range(40))
        begun = await a.numbers(30)
        assert (await anext(begun))["n"] == 0
        rest = await a.echo(begun)
        assert [item["n"] async for item in rest] == list(range(1, 30))

    in_world(work)


def test_a_reader_that_gives_up_loses_no_item():
    async def work(world, a):
        stream = await a.slow_stream()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await anext(stream)
        assert [item async for item in stream] == [1, 2]


def test_a_function_is_called_before_it_is_there():
    async def work(world, a):
        assert await a.counter()(2) == 2
        counter = a.counter()
        assert await asyncio.gather(counter(1), counter(2)) == [1, 3]
        with pytest.raises(PerdureError, match="is not a function"):
            await a.get()(1)

    in_world(work)


@pytest.mark.parametrize("how", ["restart", "lose_power", "evict"])
def test_the_end_of_the_host_in_other_ways(how):
    async def work(world, a):
        add = await a.counter()
        await a.keep(lambda: 1)
        before = world.now
        if how == "restart":
            await world.restart()
        elif how == "lose_power":
            await world.lose_power()
        else:
            world._process(a).instance(a.id.raw).evict()
        assert (world.now - before).total_seconds() < 5, "what is held holds no shutdown up"
        with pytest.raises(PerdureError, match="execution context which hosts this callback.*no longer running"):
            await add(1)
        await world.settle()
        fresh = await world.namespace("Host").getByName("a").counter()
        assert await fresh(1) == 1
        gc.collect()
        await world.settle()
        assert world.network.exports_of(None).count == 0, "what the old instance had kept is let go"

    in_world(work)
