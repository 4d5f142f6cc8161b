"""A session hands over to the next while its process lives on: what the next finds, and what the old one can still do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import DataFolderError, PerdureError, StorageUnavailable
from perdure.shards.leaving import LINGER_S_MAX, Leaving
from perdure.shards.log import lock_session
from perdure.shards.recovery import DeadLogs
from perdure.testing import virtual

from ..sim.machine import Machine
from .session import RESULTS, Session, on_a_loop


def logs_of(session: Session) -> DeadLogs:
    return DeadLogs(LocalDisk(), f"{session.root}/log", lambda _: True)


def put(ctx: object, value: int) -> object:
    return ctx.storage.put("x", value)


def get(ctx: object) -> object:
    return ctx.storage.get("x")


async def hand_over(session: Session) -> Machine:
    """The old machine, which lives on; the session's new one has begun."""
    old = session.machine
    loop = asyncio.get_running_loop()
    old.session.start(lambda work, name: loop.create_task(work, name=name))
    await old.session.hand_over()
    session.start()
    return old


@on_a_loop
async def test_a_living_session_is_never_replayed_and_one_that_has_handed_over_is(tmp_path: Path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(put, 1)
        name = session.machine.log.session
        with pytest.raises(DataFolderError, match="still being written by a living process"):
            logs_of(session).read([name])
        old = await hand_over(session)
        dead = logs_of(session)
        dead.read([name])
        assert session.id() in dead.objects, "what no mark covers is left in the log"
        dead.close()
        old.abandon(ended=True)


@on_a_loop
async def test_the_next_session_has_everything_and_what_ran_is_answered_by_the_old_one(tmp_path: Path) -> None:
    async with Session.on(tmp_path) as session:
        go_on = asyncio.Event()

        async def long(ctx: object) -> object:
            await ctx.storage.put("x", 7)
            await go_on.wait()
            try:
                await ctx.storage.put("x", 8)
            except PerdureError as error:
                return error
            return None

        for number in range(40):
            await session.do(put, number, name=f"o{number}")
        await session.cycle()
        for number in range(0, 40, 2):
            await session.do(put, number + 100, name=f"o{number}")
        running = session.send(long)
        while not session.machine.residents.runs(session.id()):
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        old = await hand_over(session)
        for number in range(40):
            assert await session.do(get, name=f"o{number}") == (number if number % 2 else number + 100)
        assert await session.do(get) == 7
        await session.do(put, 9)
        go_on.set()
        await running
        error = RESULTS.pop(running.number)  # type: ignore[attr-defined]
        assert isinstance(error, StorageUnavailable)
        assert await session.do(get) == 9
        assert not old.stopped.done()
        await session.restart(kill=True)
        assert await session.do(get) == 9
        old.abandon(ended=True)


@on_a_loop
async def test_its_lock_is_free_before_anybody_is_told(tmp_path: Path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(put, 1)
        folder = session.machine.log.folder
        old = await hand_over(session)
        with pytest.raises(DataFolderError):
            lock_session(session.machine.log.folder, exclusive=False)
        fd = lock_session(folder, exclusive=False)  # shared with the new session, which reads it
        os.close(fd)
        old.abandon(ended=True)


@on_a_loop
async def test_ahead_of_time_everything_is_marked_while_it_serves(tmp_path: Path) -> None:
    async with Session.on(tmp_path) as session:
        for number in range(10):
            await session.do(put, number, name=f"o{number}")
        machine = session.machine
        loop = asyncio.get_running_loop()
        machine.session.start(lambda work, name: loop.create_task(work, name=name))
        assert len(machine.files.live) == 10
        await asyncio.wait_for(machine.marker.mark_ahead(), 10)
        assert machine.files.live == {}
        await session.do(put, 1)


@on_a_loop
async def test_an_armed_alarm_is_armed_in_the_next_session(tmp_path: Path) -> None:
    async with Session.on(tmp_path) as session:
        await session.do(put, 1)
        machine = session.machine
        await session.do(lambda ctx: ctx.storage.setAlarm(int(machine.clock.s * 1000) + 60_000))
        old = await hand_over(session)
        assert await session.do(lambda ctx: ctx.storage.getAlarm()) == int(machine.clock.s * 1000) + 60_000
        old.abandon(ended=True)


@on_a_loop
async def test_a_hand_over_while_it_still_recovers_leaves_the_rest_to_the_next_session(tmp_path: Path) -> None:
    """Dead logs that are not dropped yet: of a killed session, of one that has handed over, of both again."""
    async with Session.on(tmp_path) as session:
        for number in range(12):
            await session.do(put, number, name=f"o{number}")
        await session.restart(kill=True)
        for number in range(0, 12, 3):
            await session.do(put, number + 100, name=f"o{number}")
        left = [await hand_over(session)]
        assert len(session.machine.dead_sessions) == 2
        assert not left[0].recovered
        for number in range(0, 12, 4):
            await session.do(put, number + 200, name=f"o{number}")
        left.append(await hand_over(session))
        assert len(session.machine.dead_sessions) == 3
        await session.restart(kill=True)
        wanted = {number: number for number in range(12)}
        wanted |= {number: number + 100 for number in range(0, 12, 3)}
        wanted |= {number: number + 200 for number in range(0, 12, 4)}
        assert {number: await session.do(get, name=f"o{number}") for number in range(12)} == wanted
        await session.cycle()
        assert session.machine.recovered
        await session.restart(kill=True)
        assert {number: await session.do(get, name=f"o{number}") for number in range(12)} == wanted
        for old in left:
            old.abandon(ended=True)


def test_who_holds_calls_that_nobody_has_taken_over_yet_lingers(tmp_path: Path) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        acceptor = SimpleNamespace(owes=0, held=1, flush=lambda: None)
        residents = SimpleNamespace(superseded={})
        leaving = Leaving(loop, SimpleNamespace(residents=residents), acceptor, SimpleNamespace())  # type: ignore[arg-type]
        lingering = asyncio.ensure_future(leaving.linger())
        await asyncio.sleep(10)
        assert not lingering.done()
        acceptor.held = 0
        await asyncio.sleep(0.1)
        assert lingering.done()
        acceptor.held = 1
        began_s = loop.time()
        await Leaving(loop, SimpleNamespace(residents=residents), acceptor, SimpleNamespace()).linger()  # type: ignore[arg-type]
        assert loop.time() - began_s == pytest.approx(LINGER_S_MAX, abs=0.1)

    virtual.run(body())
