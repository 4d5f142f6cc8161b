"""What leaves an object waits for what was written before it, and for no more (spec: transactions and gates)."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.context import GatedTransport
from perdure.engine.errors import LogFailed, Overloaded, PerdureError
from perdure.engine.gate import OutputGate
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.lateness import CommitWatch
from perdure.engine.limits import Limits

from .box import Box, Plain

REQUEST = HttpRequest("GET", "http://object/", [])


async def rounds(count: int = 20) -> None:
    """Let the loop run everything that is ready."""
    for _ in range(count):
        await asyncio.sleep(0)


class Outside:
    """What objects call; what has left is in `sent`."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def call(self, _key, _id, _name, method, _args, deadline_s=None, on_reset=None, extras=None):
        self.sent.append(method)
        future = asyncio.get_running_loop().create_future()
        future.set_result(method)
        return future

    def fetch(self, _key, _id, _name, request, deadline_s=None, on_reset=None, extras=None):
        return self.call("", b"", None, request.url, b"")


def gated() -> tuple[Outside, GatedTransport]:
    outside = Outside()
    return outside, GatedTransport(outside, asyncio.get_running_loop())


# ---------------------------------------------------------------- options
WRITES = {
    "put": lambda s, **o: s.put("a", 1, **o),
    "put-entries": lambda s, **o: s.put({"a": 1, "b": 2}, **o),
    "delete": lambda s, **o: s.delete("there", **o),
    "delete-many": lambda s, **o: s.delete(["there"], **o),
    "setAlarm": lambda s, **o: s.setAlarm(5_000_000, **o),
    "deleteAlarm": lambda s, **o: s.deleteAlarm(**o),
}
KINDS = {
    **{f"{name}": (write, {}, True) for name, write in WRITES.items()},
    **{f"{name}-unconfirmed": (write, {"allowUnconfirmed": True}, False) for name, write in WRITES.items()},
    "put-concurrent": (WRITES["put"], {"allowConcurrency": True, "noCache": True}, True),
    "kv.put": (lambda s: s.kv.put("a", 1), {}, True),
    "kv.delete": (lambda s: s.kv.delete("there"), {}, True),
    "sql": (lambda s: s.sql.exec("insert into t values(1)"), {}, True),
    "deleteAll": (lambda s: s.deleteAll(), {}, True),
    "transaction": (lambda s: s.transaction(lambda txn: txn.put("a", 1)), {}, True),
    "transaction-unconfirmed": (
        lambda s: s.transaction(lambda txn: txn.put("a", 1, allowUnconfirmed=True)),
        {},
        False,
    ),
    "transactionSync": (lambda s: s.transactionSync(lambda: s.put("a", 1)), {}, True),
    "get": (lambda s, **o: s.get("a", **o), {"allowConcurrency": True}, False),
    "get-many": (lambda s: s.get(["a", "there"]), {}, False),
    "list": (lambda s: s.list(), {}, False),
    "kv.list": (lambda s: list(s.kv.list()), {}, False),
    "getAlarm": (lambda s: s.getAlarm(), {}, False),
    "sql-read": (lambda s: s.sql.exec("select * from t").toArray(), {}, False),
    "delete-of-nothing": (lambda s: s.delete("x"), {}, False),
    "setAlarm-same": (lambda s: s.setAlarm(4_000_000), {}, False),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_closes_the_output_gate(tmp_path, name: str) -> None:
    operation, options, closes = KINDS[name]

    async def prepare(ctx):
        s = ctx.storage
        s.sql.exec("create table t(x)")
        await s.setAlarm(4_000_000)
        await s.put("there", 1)

    async def script(ctx):
        result = operation(ctx.storage, **options)
        if hasattr(result, "__await__"):
            await result

    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            first = box.send(prepare)
            await rounds()
            box.shard.commits.commit()
            await first
            future = box.send(script)
            await rounds(40)
            assert future.done() is not closes
            box.shard.commits.commit()
            await future

    asyncio.run(run())


# ---------------------------------------------------------------- what waits, in which order
def test_calls_and_fetches_after_a_write_wait_in_order_and_those_before_do_not(tmp_path) -> None:
    async def run():
        outside, transport = gated()

        async def script(ctx):
            transport.call("", b"", None, "before", b"")
            await ctx.storage.put("a", 1)
            calls = [
                transport.call("", b"", None, "one", b""),
                transport.fetch("", b"", None, HttpRequest("GET", "two", [])),
                transport.call("", b"", None, "three", b""),
            ]
            assert outside.sent == ["before"]
            return [await call for call in calls]

        async with Box.on(tmp_path, auto=False) as box:
            future = box.send(script)
            await rounds()
            assert outside.sent == ["before"]
            assert not future.done()
            box.shard.commits.commit()
            assert outside.sent == ["before", "one", "two", "three"]
            await future

    asyncio.run(run())


def test_replies_leave_in_the_order_of_their_turns(tmp_path) -> None:
    async def run():
        order: list[str] = []
        async with Box.on(tmp_path, auto=False) as box:
            for name, script in (
                ("read", lambda ctx: ctx.storage.kv.get("a")),
                ("write", lambda ctx: ctx.storage.kv.put("a", 1)),
                ("later read", lambda ctx: ctx.storage.kv.get("a")),
                ("error", lambda ctx: ctx.storage.kv.get(5)),
            ):
                box.send(script).add_done_callback(lambda done, name=name: (done.exception(), order.append(name)))
            await rounds()
            assert order == ["read"]
            box.shard.commits.commit()
            await rounds()
            assert order == ["read", "write", "later read", "error"]

    asyncio.run(run())


def test_a_second_caller_never_sees_an_unconfirmed_value(tmp_path) -> None:
    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            box.send(lambda ctx: ctx.storage.kv.put("a", "unconfirmed")).add_done_callback(
                lambda done: done.exception()
            )
            reading = box.send(lambda ctx: ctx.storage.kv.get("a"))
            await rounds()
            assert not reading.done()
            box.shard.commits.fail()
            with pytest.raises(LogFailed):
                await reading
            assert await box.do(lambda ctx: ctx.storage.kv.get("a")) is None

    asyncio.run(run())


class Streaming(Plain):
    async def fetch(self, _request):
        async def body():
            yield b"before"
            await self.ctx.storage.put("a", 1)
            yield b"after"
            yield b"last"

        return HttpResponse(200, [], body())


def test_chunks_of_a_stream_after_a_write_wait(tmp_path) -> None:
    async def run():
        async with Box.on(tmp_path, kind=Streaming, auto=False) as box:
            response = await box.shard.fetch("a", REQUEST)
            assert await anext(response.body) == b"before"
            second = asyncio.ensure_future(anext(response.body))
            await rounds()
            assert not second.done()
            box.shard.commits.commit()
            assert await second == b"after"
            assert [chunk async for chunk in response.body] == [b"last"]

    asyncio.run(run())


def test_a_stream_whose_commit_fails_fails_for_its_reader(tmp_path) -> None:
    async def run():
        async with Box.on(tmp_path, kind=Streaming, auto=False) as box:
            response = await box.shard.fetch("a", REQUEST)
            assert await anext(response.body) == b"before"
            second = asyncio.ensure_future(anext(response.body))
            await rounds()
            box.shard.commits.fail()
            with pytest.raises(PerdureError, match="Internal error in Durable Object storage write"):
                await second

    asyncio.run(run())


def test_a_failed_commit_drops_what_waited_for_it(tmp_path) -> None:
    async def run():
        outside, transport = gated()

        async def script(ctx):
            await ctx.storage.put("a", 1)
            await transport.call("", b"", None, "never", b"")

        async with Box.on(tmp_path, auto=False) as box:
            running = box.send(script)
            finished = box.send(lambda ctx: ctx.storage.kv.get("a"))
            await rounds()
            box.shard.commits.fail()
            for future in (running, finished):
                with pytest.raises(PerdureError, match="Internal error in Durable Object storage write") as caught:
                    await future
                assert caught.value.durableObjectReset
                assert caught.value.durableObjectId
            await rounds()
            box.shard.commits.commit()
            assert outside.sent == []
            assert await box.do(lambda ctx: ctx.storage.kv.get("a")) is None

    asyncio.run(run())


class Batches:
    """Batches that become durable when a test says so."""

    def __init__(self) -> None:
        self.done = 0
        self.held: list = []

    def touch(self, who) -> int:
        raise AssertionError("not here")

    def durable(self) -> int:
        return self.done

    def hold(self, batch, who, effect, *args) -> None:
        self.held.append((batch, effect, args))

    def release(self, batch: int) -> None:
        self.done = batch
        due, self.held = (
            [each for each in self.held if each[0] <= batch],
            [each for each in self.held if each[0] > batch],
        )
        for _, effect, args in due:
            effect(*args)


def test_a_waiter_needs_all_locks_taken_before_it_and_none_taken_after() -> None:
    batches = Batches()
    gate = OutputGate(batches, None)
    left: list[str] = []
    gate.emit(left.append, "nothing written")
    gate.closing = True  # a write
    gate.emit(left.append, "after the first")
    gate.close(1)
    gate.emit(left.append, "between")
    gate.closing = True  # another
    gate.emit(left.append, "after both")
    gate.close(2)
    assert left == ["nothing written"]
    batches.release(1)
    assert left == ["nothing written", "after the first", "between"]
    assert not gate.open()
    batches.release(2)
    assert left[-1] == "after both"
    assert gate.open()


def test_writes_while_a_commit_is_in_flight_go_into_the_next(tmp_path) -> None:
    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            first = box.send(lambda ctx: ctx.storage.kv.put("a", 1))
            await rounds()
            box.shard.commits.commit()
            second = box.send(lambda ctx: ctx.storage.kv.put("a", 2))
            await rounds()
            await first
            assert not second.done()
            box.shard.commits.commit()
            await second
            assert [record.change for record in box.shard.commits.records] == [1, 2]

    asyncio.run(run())


# ---------------------------------------------------------------- sync
@pytest.mark.parametrize("options", [{}, {"allowUnconfirmed": True}])
def test_sync_waits_for_all_writes_and_holds_the_input_gate(tmp_path, options) -> None:
    async def script(ctx):
        ctx.storage.put("a", 1, options)
        await ctx.storage.sync()

    async def run():
        async with Box.on(tmp_path, auto=False) as box:
            future = box.send(script)
            seen: list[str] = []
            other = box.send(lambda ctx: seen.append("entered"))
            await rounds()
            assert not future.done()
            assert seen == []
            box.shard.commits.commit()
            await future
            await other
            assert await box.do(lambda ctx: ctx.storage.sync()) is None  # nothing was written

    asyncio.run(run())


# ---------------------------------------------------------------- input gate
def test_awaiting_storage_lets_nobody_in(tmp_path) -> None:
    async def increment(ctx):
        s = ctx.storage
        value = (await s.get("n") or 0) + 1
        await s.list()
        await s.getAlarm()
        await s.put("n", value)

    async def run():
        async with Box.on(tmp_path) as box:
            await asyncio.gather(*[box.send(increment) for _ in range(20)])
            assert await box.do(lambda ctx: ctx.storage.kv.get("n")) == 20

    asyncio.run(run())


def test_sections_that_are_not_awaited_end_inside_the_one_that_began_them(tmp_path) -> None:
    """No other event comes between them."""
    order: list[str] = []

    async def script(ctx):
        async def inner():
            await asyncio.sleep(0.002)
            order.append("inner")

        async def outer():
            ctx.blockConcurrencyWhile(inner)
            ctx.blockConcurrencyWhile(inner)

        await ctx.blockConcurrencyWhile(outer)
        order.append("after outer")

    async def run():
        async with Box.on(tmp_path) as box:
            first = box.send(script)
            second = box.send(lambda ctx: order.append("other"))
            await asyncio.gather(first, second)
            assert order == ["inner", "inner", "after outer", "other"]

    asyncio.run(run())


def test_a_failed_section_breaks_the_gate_for_everybody(tmp_path) -> None:
    async def failing(ctx):
        async def body():
            await asyncio.sleep(0.001)
            raise ValueError("broken section")

        await ctx.blockConcurrencyWhile(body)

    async def run():
        async with Box.on(tmp_path) as box:
            futures = [box.send(failing), box.send(lambda ctx: None), box.send(lambda ctx: None)]
            for future in futures:
                with pytest.raises(PerdureError, match="broken section") as caught:
                    await future
                assert caught.value.durableObjectReset
            await box.do(lambda ctx: None)

    asyncio.run(run())


# ---------------------------------------------------------------- commits that take too long
def test_a_commit_slower_than_30_seconds_resets_the_object(tmp_path) -> None:
    async def run():
        assert Limits().commit_ms_max == 30_000
        outside, transport = gated()

        async def late(ctx):
            await ctx.storage.put("a", 1)
            await transport.call("", b"", None, "never", b"")

        async with Box.on(tmp_path, auto=False) as box:
            shard = box.shard
            finished = box.send(lambda ctx: ctx.storage.kv.put("a", 0))
            running = box.send(late)
            await rounds()
            shard.residents._tick()
            shard.clock.s += 20
            shard.residents._tick()
            other = box.send(lambda ctx: ctx.storage.kv.put("b", 1), name="b")
            await rounds()
            shard.clock.s += 10.1
            shard.residents._tick()
            for future in (finished, running):
                with pytest.raises(Overloaded, match="storage operation exceeded timeout") as caught:
                    await future
                assert "reset" in caught.value.message
                assert caught.value.overloaded
                assert caught.value.durableObjectReset
            assert not other.done()  # its write is ten seconds old
            shard.commits.commit()
            await other
            assert outside.sent == []
            assert await box.do(lambda ctx: ctx.storage.kv.get("a")) in (0, 1)

    asyncio.run(run())


def test_commits_that_end_in_time_are_never_late() -> None:
    watch = CommitWatch(30)
    for now in range(200):
        assert not watch.late(now + 2, now, float(now))
    assert not watch.late(500, 500, 1_000.0)
    assert not watch.late(501, 500, 1_000.0)
    assert not watch.late(502, 500, 1_030.0)
    assert watch.late(502, 500, 1_030.1)
    assert not watch.late(502, 501, 1_030.1)
    assert watch.late(502, 501, 1_060.1)
    assert not watch.late(502, 502, 1_060.1)
