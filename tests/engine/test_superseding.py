"""A shard lets its objects go: what has not begun is taken back, what runs loses its storage and is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from perdure.engine.errors import PerdureError, StorageUnavailable
from perdure.engine.superseding import events_ended, supersede, take_waiting

from .box import RESULTS, Box
from .shelf import LoopClock

Body = Callable[[Box], Awaitable[None]]


def run(tmp_path: Path, body: Body, *, auto: bool = True) -> None:
    async def within() -> None:
        async with Box.on(tmp_path, auto=auto) as box:
            box.shard.residents.clock = LoopClock()  # time goes on while it waits
            await asyncio.wait_for(body(box), 20)

    asyncio.run(within())


async def begun(box: Box, name: str = "a") -> None:
    while not any(event.begun for event in box.instance(name).events):
        await asyncio.sleep(0)
    for _ in range(10):  # its turn is over
        await asyncio.sleep(0)


def test_what_runs_goes_on_without_storage_and_is_answered(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def reads(ctx: object) -> object:
        await ctx.storage.put("x", 1)
        await go_on.wait()
        try:
            await ctx.storage.get("x")
        except PerdureError as error:
            return error
        return None

    async def waits(ctx: object) -> str:
        await go_on.wait()
        return "answered"

    async def body(box: Box) -> None:
        first, second = box.send(reads), box.send(waits, name="b")
        await begun(box)
        await begun(box, "b")
        instance = box.instance()
        await supersede(box.shard.residents)
        assert not instance.storage.is_open()
        assert len(box.shard.residents.instances) == 0
        go_on.set()
        await asyncio.gather(first, second)
        error = RESULTS.pop(first.number)
        assert isinstance(error, StorageUnavailable)
        assert error.retryable
        assert "its code was updated" in error.message
        assert "storage is no longer accessible" in error.message
        assert RESULTS.pop(second.number) == "answered"

    run(tmp_path, body)


def test_timers_and_tasks_of_what_runs_go_on(tmp_path: Path) -> None:
    async def sleeps(ctx: object) -> str:
        await asyncio.gather(asyncio.sleep(0.05), asyncio.create_task(asyncio.sleep(0.06)))
        return "awake"

    async def body(box: Box) -> None:
        sent = box.send(sleeps)
        await begun(box)
        await supersede(box.shard.residents)
        await sent
        assert RESULTS.pop(sent.number) == "awake"

    run(tmp_path, body)


@pytest.mark.parametrize("kind", ["transaction", "turn"])
def test_who_has_uncommitted_writes_is_reset(tmp_path: Path, kind: str) -> None:
    """Nothing that is not committed may be told of."""
    stop = asyncio.Event()

    async def in_transaction(ctx: object) -> str:
        async def writes(_: object) -> None:
            await ctx.storage.put("x", 2)
            await stop.wait()

        await ctx.storage.transaction(writes)
        return "never told"

    async def in_a_turn(ctx: object) -> str:
        ctx.storage.sql.exec("create table if not exists t(x)")
        while not stop.is_set():  # its turn never ends
            ctx.storage.sql.exec("insert into t values(1)")
            await asyncio.sleep(0)
        return "never told"

    async def body(box: Box) -> None:
        await box.do(lambda ctx: ctx.storage.put("x", 1))
        sent = box.send(in_transaction if kind == "transaction" else in_a_turn)
        await begun(box)
        await supersede(box.shard.residents, 0.02)
        with pytest.raises(StorageUnavailable, match="storage is no longer accessible") as raised:
            await sent
        assert raised.value.retryable
        stop.set()

    run(tmp_path, body)


def test_what_waits_is_taken_back_in_order_and_runs_nothing(tmp_path: Path) -> None:
    ran: list[str] = []
    go_on = asyncio.Event()

    async def holds(ctx: object) -> None:
        async def section() -> None:
            await go_on.wait()

        await ctx.blockConcurrencyWhile(section)
        ran.append("holds")

    async def body(box: Box) -> None:
        first = box.send(holds)
        await begun(box)
        for name in ("one", "two", "chained"):
            box.send(lambda ctx, name=name: ran.append(name))
        await asyncio.sleep(0)
        instance = box.instance()
        waiting = [event.call for event in instance.events][1:]
        assert instance.queued == 3
        taken = take_waiting(box.shard.residents.instances, lambda call: call is waiting[2])
        assert taken == waiting[:2]
        assert instance.queued == 1
        assert box.shard.residents.runs(instance.object_id)
        go_on.set()
        await first
        assert await events_ended(box.shard.residents, 5)
        assert ran == ["holds", "chained"]
        assert not box.shard.residents.runs(instance.object_id)

    run(tmp_path, body)


def test_the_wait_for_running_events_is_bounded(tmp_path: Path) -> None:
    async def body(box: Box) -> None:
        forever = asyncio.Event()
        box.send(lambda ctx: forever.wait())
        await begun(box)
        assert not await events_ended(box.shard.residents, 0.01)

    run(tmp_path, body)


def test_a_commit_that_is_not_durable_is_waited_for(tmp_path: Path) -> None:
    """An idle object's last write is on its way: its storage stays until that is durable."""

    async def body(box: Box) -> None:
        sent = box.send(lambda ctx: ctx.storage.put("x", 1))
        await begun_and_ended(box)
        going = asyncio.create_task(supersede(box.shard.residents, 10))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not going.done()
        assert len(box.shard.residents.instances) == 1
        box.shard.commits.commit()
        await going
        await sent

    async def begun_and_ended(box: Box) -> None:
        while not box.instance().touched:
            await asyncio.sleep(0)

    run(tmp_path, body, auto=False)
