"""Idempotency keys: a repeat gets what was answered first, and runs nothing."""

from __future__ import annotations

import asyncio
import collections

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import InvalidArgument, Overloaded, PerdureError, ValueTooLarge
from perdure.engine.limits import Limits
from perdure.router.retries import Retry, with_key, with_retry
from perdure.testing.virtual import run

from .world import World

RAN: collections.Counter[str] = collections.Counter()


class Thing(DurableObject):
    async def add(self, amount=1):
        RAN["add"] += 1
        value = (await self.ctx.storage.get("value") or 0) + amount
        await self.ctx.storage.put("value", value)
        return value

    async def value(self):
        return await self.ctx.storage.get("value") or 0

    async def slow(self):
        RAN["slow"] += 1
        await asyncio.sleep(2)
        return await self.add()

    async def fails(self):
        RAN["fails"] += 1
        await self.add()
        raise ValueError("for good")

    async def fails_for_now(self):
        RAN["fails_for_now"] += 1
        if RAN["fails_for_now"] == 1:
            raise PerdureError("not now", retryable=True)
        return await self.add()

    async def large(self, size):
        RAN["large"] += 1
        return bytes(size)

    async def aborts(self):
        await self.add()
        if RAN["aborts"] == 0:
            RAN["aborts"] += 1
            self.ctx.abort("once")
        return await self.value()

    async def wipe(self):
        await self.ctx.storage.deleteAll()

    async def names(self):
        return [row.key for row in self.ctx.storage.sql.exec("select key from _cf_ANSWERS")]

    async def fetch(self, request):
        raise AssertionError("is not called")


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


def in_world(tmp_path, script, limits: Limits | None = None) -> None:
    async def whole() -> None:
        async with World.of(Thing, tmp_path, limits) as world:
            await script(world)

    run(whole())


def evict(world: World) -> None:
    """The object leaves memory; its database is closed."""
    (instance,) = world.shard.residents._by_id.values()
    assert instance.quiet()
    world.shard.residents._evict(instance)


def test_a_repeat_gets_the_first_answer_and_runs_nothing(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        assert await with_key(thing, "one").add(5) == 5
        assert await with_key(thing, "two").add(5) == 10
        assert await with_key(thing, "one").add(5) == 5
        evict(world)
        assert await with_key(world.outside("a"), "one").add(5) == 5
        assert await with_key(world.outside("a"), "two").add(5) == 10
        assert await world.outside("a").value() == 10
        assert RAN["add"] == 2

    in_world(tmp_path, script)


def test_calls_without_a_key_cost_no_table(tmp_path) -> None:
    async def script(world: World) -> None:
        await world.outside("a").add()
        assert world.shard.instance("a").storage._answers is None
        connection = world.shard.instance("a").storage.opened().connection
        assert connection.execute("select 1 from sqlite_schema where name = '_cf_ANSWERS'").fetchall() == []
        await with_key(world.outside("a"), "k").add()
        assert connection.execute("select count(*) from _cf_ANSWERS").fetchall() == [(1,)]

    in_world(tmp_path, script)


def test_the_program_does_not_see_the_answers(tmp_path) -> None:
    async def script(world: World) -> None:
        await with_key(world.outside("a"), "k").add()
        with pytest.raises(PerdureError, match="prohibited|not authorized"):
            await world.outside("a").names()

    in_world(tmp_path, script)


def test_the_answer_is_in_the_commit_of_the_turn_that_wrote(tmp_path) -> None:
    async def script(world: World) -> None:
        await world.outside("a").value()
        commits = world.shard.commits
        commits.auto = False
        call = asyncio.ensure_future(with_key(world.outside("a"), "k").add())
        await asyncio.sleep(0.1)
        assert not call.done()
        before = len(commits.records)
        commits.commit()
        assert await call == 1
        assert len(commits.records) == before + 1

    in_world(tmp_path, script)


def test_an_answer_whose_commit_fails_is_gone_with_its_effects(tmp_path) -> None:
    async def script(world: World) -> None:
        await world.outside("a").value()
        commits = world.shard.commits
        commits.auto = False
        call = asyncio.ensure_future(with_key(world.outside("a"), "k").add())
        await asyncio.sleep(0.1)
        commits.fail()
        with pytest.raises(PerdureError, match="the object was reset"):
            await call
        commits.auto = True
        assert await with_key(world.outside("a"), "k").add() == 1
        assert RAN["add"] == 2

    in_world(tmp_path, script)


def test_abort_undoes_the_answer_too(tmp_path) -> None:
    async def script(world: World) -> None:
        with pytest.raises(PerdureError, match="once"):
            await with_key(world.outside("a"), "k").aborts()
        assert await with_key(world.outside("a"), "k").aborts() == 1

    in_world(tmp_path, script)


def test_a_repeat_while_the_first_runs_waits_for_it(tmp_path) -> None:
    async def script(world: World) -> None:
        calls = [asyncio.ensure_future(with_key(world.outside("a"), "k").slow()) for _ in range(3)]
        await asyncio.sleep(1)
        calls.append(asyncio.ensure_future(with_key(world.outside("a"), "k").slow()))
        assert await asyncio.gather(*calls) == [1, 1, 1, 1]
        assert RAN["slow"] == 1

    in_world(tmp_path, script)


def test_if_the_first_is_cancelled_the_repeat_runs(tmp_path) -> None:
    async def script(world: World) -> None:
        first = asyncio.ensure_future(with_key(world.outside("a"), "k").slow())
        await asyncio.sleep(0.5)
        repeat = asyncio.ensure_future(with_key(world.outside("a"), "k").slow())
        await asyncio.sleep(0.5)
        world.shard.residents.cancel(world.wires.sent[0])
        with pytest.raises(PerdureError, match="cancelled"):
            await first
        assert await repeat == 1
        assert RAN["slow"] == 2

    in_world(tmp_path, script)


def test_an_error_of_the_program_is_kept_with_what_it_wrote(tmp_path) -> None:
    async def script(world: World) -> None:
        for _ in range(2):
            with pytest.raises(PerdureError, match="for good") as caught:
                await with_key(world.outside("a"), "k").fails()
            assert caught.value.remote
        assert await world.outside("a").value() == 1
        assert RAN["fails"] == 1

    in_world(tmp_path, script)


def test_an_error_that_a_repeat_may_cure_is_not_kept(tmp_path) -> None:
    async def script(world: World) -> None:
        with pytest.raises(PerdureError, match="not now"):
            await with_key(world.outside("a"), "k").fails_for_now()
        assert await with_key(world.outside("a"), "k").fails_for_now() == 1

    in_world(tmp_path, script)


def test_a_key_is_for_one_call(tmp_path) -> None:
    async def script(world: World) -> None:
        await with_key(world.outside("a"), "k").add(1)
        for other in ("add", "slow"):
            with pytest.raises(InvalidArgument, match="was used for another call"):
                await getattr(with_key(world.outside("a"), "k"), other)(*([2] if other == "add" else []))
        assert await with_key(world.outside("b"), "k").add(2) == 2, "another object's keys are its own"

    in_world(tmp_path, script)


def test_after_the_window_the_call_runs_again(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        assert await with_key(thing, "k").add() == 1
        await asyncio.sleep(0.9)
        assert await with_key(thing, "k").add() == 1
        await asyncio.sleep(0.2)
        assert await with_key(thing, "k").add() == 2

    in_world(tmp_path, script, Limits(idempotency_window_ms=1_000))


def test_keys_are_bounded_and_swept(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        for number in range(5):
            await with_key(thing, f"k{number}").add()
        with pytest.raises(Overloaded, match="Too many idempotency keys"):
            await with_key(thing, "k5").add()
        assert await with_key(thing, "k0").add() == 1, "repeats are answered"
        assert await thing.value() == 5, "what was refused has not run"
        await asyncio.sleep(1.1)
        assert await with_key(thing, "k5").add() == 6
        rows = world.shard.instance("a").storage.opened().connection.execute("select key from _cf_ANSWERS").fetchall()
        assert rows == [("k5",)]

    in_world(tmp_path, script, Limits(idempotency_window_ms=1_000, idempotency_keys_max=5))


def test_bytes_of_answers_are_bounded(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        await with_key(thing, "k0").large(600)
        await with_key(thing, "k1").large(600)
        with pytest.raises(Overloaded, match="Too many idempotency keys"):
            await with_key(thing, "k2").large(1)

    in_world(tmp_path, script, Limits(idempotency_bytes_max=1_000))


def test_an_answer_that_is_too_large_is_not_kept_but_the_call_does_not_run_again(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        assert len(await with_key(thing, "k").large(2_000)) == 2_000
        with pytest.raises(ValueTooLarge, match="has run; its answer of 20.. bytes was not kept"):
            await with_key(thing, "k").large(2_000)
        assert RAN["large"] == 1

    in_world(tmp_path, script, Limits(idempotency_answer_bytes_max=1_000))


def test_delete_all_forgets_the_answers_before_it(tmp_path) -> None:
    async def script(world: World) -> None:
        thing = world.outside("a")
        await with_key(thing, "k").add()
        await with_key(thing, "wipe").wipe()
        assert await with_key(thing, "k").add() == 1
        assert RAN["add"] == 2
        await with_key(thing, "wipe").wipe()
        assert await thing.value() == 1, "the deleteAll() itself is remembered"

    in_world(tmp_path, script)


def test_objects_use_keys_too(tmp_path) -> None:
    class Caller(Thing):
        async def call(self):
            other = self.env.stub("other")
            return [await with_key(other, "k").add(), await with_key(other, "k").add()]

    async def script() -> None:
        async with World.of(Caller, tmp_path) as world:
            assert await world.outside("a").call() == [1, 1]
            assert world.wires.sent[-1].chain, "beside the chain"

    run(script())


@pytest.mark.parametrize("key", ["", "k" * 257, None, 5])
def test_what_is_no_key(tmp_path, key) -> None:
    async def script(world: World) -> None:
        with pytest.raises(InvalidArgument, match="an idempotency key is a text of 1 to 256 characters"):
            with_key(world.outside("a"), key)
        with pytest.raises(InvalidArgument, match="with_key takes a stub"):
            with_key(object(), "k")

    in_world(tmp_path, script)


def test_objects_retry_too(tmp_path) -> None:
    class Caller(Thing):
        async def call(self):
            policy = Retry(even_if_it_may_have_run=True, rng=lambda: 0.5)
            await self.ctx.storage.put("before", 1)
            return await with_retry(self.env.stub("other"), policy).fails_for_now()

    async def script() -> None:
        async with World.of(Caller, tmp_path) as world:
            assert await world.outside("a").call() == 1
            assert [call.method for call in world.wires.sent] == ["call", "fails_for_now", "fails_for_now"]
            assert asyncio.get_running_loop().time() >= 0.05

    run(script())
