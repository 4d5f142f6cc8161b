"""Gates and turns: what may interleave, and what never does (spec: transactions and gates; hazards C16, C17, C18, C22, C23)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ObjectReset, PerdureError, ProgramBug
from perdure.engine.limits import Limits

from .box import Box
from .shelf import Shard


class Counter(DurableObject):
    async def increment(self, amount=1):
        value = (await self.ctx.storage.get("value") or 0) + amount
        await self.ctx.storage.put("value", value)
        return value

    async def gathered(self):
        """Read and write through gather: still one turn."""
        (value,) = await asyncio.gather(self.ctx.storage.get("value"))
        await asyncio.gather(self.ctx.storage.put("value", (value or 0) + 1))
        return (value or 0) + 1

    async def split(self):
        value = await self.ctx.storage.get("value") or 0
        await asyncio.sleep(0.01)
        await self.ctx.storage.put("value", value + 1)
        return value + 1

    async def blocked(self):
        async def body():
            value = await self.ctx.storage.get("value") or 0
            await asyncio.sleep(0.01)
            await self.ctx.storage.put("value", value + 1)
            return value + 1

        return await self.ctx.blockConcurrencyWhile(body)

    async def value(self):
        return await self.ctx.storage.get("value") or 0


def test_increments_by_plain_await_never_interleave(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Counter, tmp_path)
        results = await asyncio.gather(*[shard.send("a", "increment") for _ in range(50)])
        assert sorted(results) == list(range(1, 51))
        assert results == list(range(1, 51))  # and in the order sent
        shard.stop()

    asyncio.run(run())


def test_c23_gather_over_storage_does_not_split_the_turn(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Counter, tmp_path)
        await asyncio.gather(*[shard.send("a", "gathered") for _ in range(10)])
        assert await shard.call("a", "value") == 10
        shard.stop()

    asyncio.run(run())


def test_a_real_suspension_lets_others_in(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Counter, tmp_path)
        await asyncio.gather(*[shard.send("a", "split") for _ in range(5)])
        assert await shard.call("a", "value") == 1
        shard.stop()

    asyncio.run(run())


def test_block_concurrency_while_holds_others_back(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Counter, tmp_path)
        results = await asyncio.gather(*[shard.send("a", "blocked") for _ in range(5)])
        assert results == [1, 2, 3, 4, 5]
        shard.stop()

    asyncio.run(run())


class Starting(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.blockConcurrencyWhile(self.prepare)

    async def prepare(self):
        await asyncio.sleep(0.01)
        await self.ctx.storage.put("ready", True)

    async def ready(self):
        return await self.ctx.storage.get("ready")


def test_an_unawaited_section_of_the_constructor_ends_before_the_first_event(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Starting, tmp_path)
        assert await shard.call("a", "ready") is True
        shard.stop()

    asyncio.run(run())


class Failing(DurableObject):
    tries = 0

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Failing.tries += 1
        if Failing.tries == 1:
            raise ValueError("not yet")

    async def hello(self):
        return "hello"


def test_a_constructor_that_raises_fails_its_callers_and_the_next_event_tries_again(tmp_path) -> None:
    async def run() -> None:
        Failing.tries = 0
        shard = Shard(Failing, tmp_path)
        first, second = shard.send("a", "hello"), shard.send("a", "hello")
        for future in (first, second):
            with pytest.raises(PerdureError, match="not yet"):
                await future
        assert await shard.call("a", "hello") == "hello"
        shard.stop()

    asyncio.run(run())


class Cancelled(DurableObject):
    async def wait(self):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await self.ctx.storage.put("cleaned", True)
            raise

    async def timed(self):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "timed out"

    async def cleaned(self):
        return await self.ctx.storage.get("cleaned")


def test_c16_a_cancelled_handler_sees_its_cancellation(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Cancelled, tmp_path)
        future = shard.send("a", "wait")
        await asyncio.sleep(0.01)
        shard.residents.cancel(future.call)
        with pytest.raises(PerdureError, match="cancelled"):
            await future
        assert await shard.call("a", "cleaned") is True
        shard.stop()

    asyncio.run(run())


def test_c16_timeouts_inside_handlers_are_timeouts(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Cancelled, tmp_path)
        assert await asyncio.gather(shard.send("a", "timed"), shard.send("a", "timed")) == ["timed out"] * 2
        shard.stop()

    asyncio.run(run())


class Outside(DurableObject):
    other: Outside | None = None

    async def remember(self):
        Outside.other = self

    async def intrude(self):
        try:
            await Outside.other.ctx.storage.put("k", 1)
        except ProgramBug as error:
            return str(error)

    async def thread(self):
        try:
            await asyncio.to_thread(lambda: self.ctx.storage.put("k", 1))
        except ProgramBug as error:
            return str(error)

    async def callback(self):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def later():
            self.ctx.storage.put("from callback", 1)
            done.set_result(None)

        loop.call_later(0.005, later)
        await done
        return await self.ctx.storage.get("from callback")

    async def value(self):
        return await self.ctx.storage.get("k")


def test_c17_storage_belongs_to_the_running_turn(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Outside, tmp_path)
        await shard.call("a", "remember")
        assert "from a turn of" in await shard.call("b", "intrude")
        assert "from another thread" in await shard.call("a", "thread")
        assert await shard.call("a", "callback") == 1
        assert await shard.call("a", "value") is None
        shard.stop()

    asyncio.run(run())


class Aborting(DurableObject):
    async def abort(self, reason):
        await self.ctx.storage.put("counter", 888)
        try:
            self.ctx.abort(reason)
        except Exception:
            return "swallowed"

    async def value(self):
        return await self.ctx.storage.get("counter")

    async def put(self, value):
        await self.ctx.storage.put("counter", value)


def test_abort_undoes_the_turn_and_resets(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Aborting, tmp_path)
        await shard.call("a", "put", 7)
        with pytest.raises(ObjectReset, match="test broken") as caught:
            await shard.call("a", "abort", "test broken")
        assert caught.value.message == "test broken"
        assert caught.value.durableObjectReset
        assert await shard.call("a", "value") == 7
        shard.stop()

    asyncio.run(run())


def test_c18_an_abort_undoes_only_its_own_turn(tmp_path) -> None:
    """Turns that share a commit: the one that aborts takes nothing of those before it along."""

    async def run() -> None:
        shard = Shard(Aborting, tmp_path, auto=False)
        first = shard.send("a", "put", 7)
        second = shard.send("a", "abort", "no")
        await asyncio.sleep(0.01)
        shard.commits.commit()
        await first
        with pytest.raises(ObjectReset):
            await second
        shard.commits.auto = True
        assert await shard.call("a", "value") == 7
        shard.stop()

    asyncio.run(run())


class Sections(DurableObject):
    async def in_transaction(self, fail=False):
        async def body(txn):
            await txn.put("a", 1)
            await asyncio.sleep(0.005)
            await self.ctx.storage.put("b", 2)
            if fail:
                raise ValueError("no")
            return "ok"

        return await self.ctx.storage.transaction(body)

    async def both(self):
        found = await self.ctx.storage.get(["a", "b", "missing"])
        return dict(found)

    async def forever(self):
        async def body():
            await asyncio.sleep(60)

        await self.ctx.blockConcurrencyWhile(body)


def test_transactions_commit_or_roll_back_whole(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Sections, tmp_path)
        with pytest.raises(PerdureError, match="no"):
            await shard.call("a", "in_transaction", True)
        assert await shard.call("a", "both") == {}
        assert await shard.call("a", "in_transaction") == "ok"
        assert await shard.call("a", "both") == {"a": 1, "b": 2}
        shard.stop()

    asyncio.run(run())


def test_a_section_is_bounded_in_time(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Sections, tmp_path, limits=Limits(critical_section_ms_max=50))
        with pytest.raises(PerdureError, match="blockConcurrencyWhile"):
            await shard.call("a", "forever")
        assert await shard.call("a", "both") == {}
        shard.stop()

    asyncio.run(run())


def test_a_full_mailbox_refuses_at_once(tmp_path) -> None:
    async def run() -> None:
        shard = Shard(Counter, tmp_path, limits=Limits(mailbox_length_max=10))
        futures = [shard.send("a", "increment") for _ in range(15)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        refused = [r for r in results if isinstance(r, PerdureError)]
        assert len(refused) == 5
        assert all(error.overloaded for error in refused)
        shard.stop()

    asyncio.run(run())


def test_a_queue_at_the_gate_does_not_get_a_commit_for_each(tmp_path) -> None:
    """Waiters let in one a loop round would each pay for a sync, and under load the queue would never empty."""

    class Busy(Counter):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            ctx.blockConcurrencyWhile(lambda: asyncio.sleep(0.005))

    async def run() -> None:
        shard = Shard(Busy, tmp_path)
        results = await asyncio.gather(*[shard.send("a", "increment") for _ in range(64)])
        assert results == list(range(1, 65))
        assert shard.commits.open < 16
        order: list[int] = []
        for number in range(20):  # the queue keeps its order when turns suspend
            future = shard.send("a", "split" if number % 3 == 0 else "value")
            future.add_done_callback(lambda _, number=number: order.append(number))
        await asyncio.sleep(0.1)
        assert [n for n in order if n % 3] == [n for n in range(20) if n % 3]
        shard.stop()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["transactions", "tasks"])
def test_deep_nesting_unwinds_before_another_event_enters(tmp_path, kind) -> None:
    """Each level ends in a loop round of its own, and none of them suspends: the turn is not quiet meanwhile."""
    seen: list[str] = []

    async def nested(ctx, depth: int) -> None:
        if depth == 0:
            return
        if kind == "transactions":
            await ctx.storage.transaction(lambda txn: nested(ctx, depth - 1))
        else:
            await asyncio.ensure_future(nested(ctx, depth - 1))

    async def first(ctx) -> None:
        ctx.storage.put("a", 1)
        await nested(ctx, 8)
        seen.append("first")

    async def second(ctx) -> None:
        seen.append("second")

    async def run() -> None:
        async with Box.on(tmp_path) as box:
            await asyncio.gather(box.send(first), box.send(second))

    asyncio.run(run())
    assert seen == ["first", "second"]
