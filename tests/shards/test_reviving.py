"""A supervisor never misses a restart: starts that fail, deaths that nobody heard of, reloads that break off in the middle."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest
from perdure.engine.errors import PerdureError
from perdure.sdk.config import Config
from perdure.sdk.crons import Cron
from perdure.shards.children import Child, Phase
from perdure.testing.virtual import run

from .fake_children import FakeChild, Stage, supervising


@pytest.fixture
def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def perform(body: Callable[[Stage], Awaitable[None]], shards: int = 1) -> None:
        async def whole() -> None:
            async with supervising(tmp_path, monkeypatch, shards) as stage:
                await body(stage)

        run(whole())

    return perform


def test_a_shard_that_is_killed_is_started_again_at_once(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        old.die()
        assert stage.shard(0) is not old

    on_stage(body)


@pytest.mark.parametrize(
    "error", [BlockingIOError(11, "Resource temporarily unavailable"), MemoryError(), apsw.FullError("disk is full")]
)
@pytest.mark.parametrize("times", [1, 7])
def test_a_start_that_fails_is_tried_until_it_does_not(on_stage, error: Exception, times: int) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        FakeChild.fails = [error] * times
        old.die()
        assert stage.shard(0) is old
        await stage.until(lambda: stage.shard(0) is not old)
        stage.shard(0).say("ready")
        assert stage.shard(0).phase is Phase.SERVING

    on_stage(body)


def test_a_death_that_the_loop_was_not_told_of_is_found(on_stage) -> None:
    async def body(stage: Stage) -> None:
        for process in (stage.shard(0), stage.gateway(0)):
            process.die_unheard()
            await stage.until(lambda process=process: process.phase is Phase.DEAD)
            assert process not in (stage.shard(0), stage.gateway(0))

    on_stage(body)


def test_an_exception_while_a_death_is_dealt_with_loses_neither_the_restart_nor_the_log(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        session = old.start["session"]
        os.mkdir(f"{stage.supervisor._data.path}/log/{session}")
        old.pulse.running = lambda: 1 / 0  # type: ignore[assignment]
        with pytest.raises(ZeroDivisionError):
            old.die()
        await stage.until(lambda: stage.shard(0) is not old)
        assert stage.shard(0).start["dead_sessions"] == [session]

    on_stage(body)


def test_a_process_that_cannot_be_started_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(fails: str) -> None:
        loop = asyncio.get_running_loop()
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match="too many"):
            Child(loop, "perdure.shards.shard", "shard 0", {}, [], lambda *_: None, lambda _: None)
        assert os.listdir("/proc/self/fd") == before, fails

    def too_many(*_: object, **__: object) -> None:
        raise OSError(24, "too many open files")

    for where, name in ((subprocess, "Popen"), (os, "pidfd_open")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, too_many)
            asyncio.run(body(name))


# ---------------------------------------------------------------------- crons of a generation
@pytest.mark.parametrize("fails", [True, False])
def test_crons_are_those_of_the_code_that_serves(on_stage, monkeypatch, fails: bool) -> None:
    async def body(stage: Stage) -> None:
        supervisor = stage.supervisor
        new = Cron.parse("*/5 * * * *")

        async def prepare(*_: object) -> list[Config]:
            return [Config("w", "entry.py", crons=(new,))]

        monkeypatch.setattr(supervisor._migrations, "prepare_all", prepare)
        reloading, standby = await _standing_by(stage)
        assert supervisor._crons._crons == ()
        if fails:
            standby.die()
            await _until_given_up(stage, reloading)
            assert supervisor._crons._crons == ()
            return
        old, before = stage.shard(0), stage.gateway(0)
        old.say("marked")
        await asyncio.sleep(0)
        old.say("released", session=old.start["session"])
        await stage.until(lambda: stage.shard(0) is not old)
        stage.shard(0).say("ready")
        await stage.until(lambda: stage.gateway(0) is not before)
        assert supervisor._crons._crons == (), "the gateway from before runs them"
        stage.gateway(0).say("ready")
        await reloading
        assert supervisor._crons._crons == (new,)

    on_stage(body)


# ---------------------------------------------------------------------- reloads that break off
async def _standing_by(stage: Stage) -> tuple[asyncio.Task[object], FakeChild]:
    """A reload up to where the old process is asked to mark."""
    reloading = stage.reload()
    await stage.until(lambda: any(child.start.get("standby") for child in FakeChild.all))
    standby = stage.standby()
    standby.say("standby")
    await stage.until(lambda: {"type": "mark_ahead"} in stage.shard(0).sent)
    return reloading, standby


async def _until_given_up(stage: Stage, reloading: asyncio.Task[object]) -> None:
    """Every process that stands by dies, until the reload gives up."""
    while not reloading.done():
        for child in [child for child in FakeChild.all if child.start.get("standby")]:
            if "session" not in child.start:
                child.die()
        await asyncio.sleep(0.05)
    with pytest.raises(PerdureError, match="dies again and again"):
        await reloading


@pytest.mark.parametrize("released", [True, False])
def test_a_reload_that_gives_up_leaves_no_shard_without_a_process(on_stage, released: bool) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        reloading, standby = await _standing_by(stage)
        if released:
            old.say("marked")
            await stage.until(lambda: any(message["type"] == "release" for message in old.sent))
            standby.die()
            await asyncio.sleep(0)
            old.say("released", session=old.start["session"])
        else:
            standby.die()
            await asyncio.sleep(0)
            old.die()
        await _until_given_up(stage, reloading)
        assert stage.shard(0) is not old
        assert stage.shard(0).phase is Phase.STARTING
        stage.shard(0).say("ready")
        old.die(0)
        await asyncio.sleep(3)
        assert stage.shard(0).phase is Phase.SERVING, "one session, and only one"
        assert sum(child.name == "shard 0" and child.phase is not Phase.DEAD for child in FakeChild.all) == 1

    on_stage(body)


def test_one_that_stands_by_cannot_be_started_while_the_shard_is_free(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        reloading, standby = await _standing_by(stage)
        FakeChild.fails = [BlockingIOError(11, "Resource temporarily unavailable")] * 2
        standby.die()
        old.die()
        await stage.until(lambda: not FakeChild.fails and stage.standby() is not standby)
        stage.standby().say("standby")
        await stage.until(lambda: stage.shard(0) is not old)
        stage.shard(0).say("ready")
        before = stage.gateway(0)
        await stage.until(lambda: stage.gateway(0) is not before)
        stage.gateway(0).say("ready")
        assert (await reloading)["shards"] == 1

    on_stage(body)


def test_one_that_stands_by_and_never_gets_ready_is_killed(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        reloading, standby = await _standing_by(stage)
        standby.die()
        old.die()
        await stage.until(lambda: stage.standby() is not standby)
        hanging = stage.standby()
        await asyncio.sleep(65)
        assert hanging.phase is Phase.DEAD
        stage.standby().say("standby")
        await stage.until(lambda: stage.shard(0) is not old)
        reloading.cancel()

    on_stage(body)


def test_a_shard_killed_by_the_watchdog_in_its_hand_off_is_recovered_by_the_new_code(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        os.mkdir(f"{stage.supervisor._data.path}/log/{old.start['session']}")
        reloading, standby = await _standing_by(stage)
        old.say("marked")
        await stage.until(lambda: any(message["type"] == "release" for message in old.sent))
        old.killed_as_stuck = True
        old.die()
        await stage.until(lambda: stage.shard(0) is standby)
        assert standby.start["dead_sessions"] == [old.start["session"]]
        reloading.cancel()

    on_stage(body)


def test_the_new_process_cannot_be_given_its_session(on_stage, monkeypatch) -> None:
    """The counter of sessions cannot be written: the reload fails, and the shard is started like after any death."""

    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        reloading, standby = await _standing_by(stage)
        supervisor = stage.supervisor
        following = supervisor._next
        fails = [apsw.FullError("disk is full")]
        monkeypatch.setattr(supervisor, "_next", lambda key: _raise(fails.pop()) if fails else following(key))
        old.die()
        with pytest.raises(apsw.FullError):
            await reloading
        await stage.until(lambda: stage.shard(0) is not old)
        await stage.until(lambda: standby.phase is Phase.DEAD)
        assert "standby" not in stage.shard(0).start

    on_stage(body)


def test_reloads_at_once_are_made_one_after_the_other_and_signals_do_not_pile_up(on_stage) -> None:
    async def body(stage: Stage) -> None:
        for _ in range(20):
            stage.supervisor._on_hangup()
        generations: list[FakeChild] = []
        for _ in range(400):
            await asyncio.sleep(0.05)
            for child in list(FakeChild.all):
                if child.start.get("standby") and child.phase is Phase.STARTING and child not in generations:
                    generations.append(child)
                    child.say("standby")
                elif child.sent and child.sent[-1] == {"type": "mark_ahead"}:
                    child.say("marked")
                elif child.sent and child.sent[-1]["type"] == "release" and child.phase is Phase.SERVING:
                    child.say("released", session=child.start["session"])
                    child.phase = Phase.DRAINING
                elif child.phase is Phase.STARTING and ("session" in child.start or child.name == "gateway 0"):
                    child.say("ready")
        assert len(generations) == 2
        assert stage.shard(0) is generations[1]

    on_stage(body)


def _raise(error: Exception) -> int:
    raise error


async def _hand_off(stage: Stage) -> None:
    """The old process of shard 0 does as it is asked, and the new one serves."""
    old = stage.shard(0)
    await stage.until(lambda: {"type": "mark_ahead"} in old.sent)
    old.say("marked")
    await stage.until(lambda: any(message["type"] == "release" for message in old.sent))
    old.say("released", session=old.start["session"])
    await stage.until(lambda: stage.shard(0) is not old)
    stage.shard(0).say("ready")
    old.die(0)


def _living(name: str) -> list[FakeChild]:
    return [child for child in FakeChild.all if child.name == name and child.phase in (Phase.STARTING, Phase.SERVING)]


def test_a_reload_of_a_shard_that_is_about_to_be_started_again(on_stage) -> None:
    """Code that dies at its start is replaced by code that does not."""

    async def body(stage: Stage) -> None:
        for _ in range(3):
            stage.shard(0).die()
            await stage.until(lambda: stage.shard(0).phase is Phase.STARTING)
        stage.shard(0).die()
        dead = stage.shard(0)
        reloading = stage.reload()
        await stage.until(lambda: any(child.start.get("standby") for child in FakeChild.all))
        standby = stage.standby()
        standby.say("standby")
        await stage.until(lambda: stage.shard(0) is not dead)
        stage.shard(0).say("ready")
        await _hand_off(stage)
        before = stage.gateway(0)
        await stage.until(lambda: stage.gateway(0) is not before)
        stage.gateway(0).say("ready")
        await reloading
        assert stage.shard(0) is standby
        await asyncio.sleep(10)
        assert _living("shard 0") == [standby]

    on_stage(body)


def test_a_reload_fills_the_place_of_a_gateway_that_is_about_to_be_started_again(on_stage) -> None:
    async def body(stage: Stage) -> None:
        for _ in range(5):
            stage.gateway(0).die()
            if stage.gateway(0).phase is Phase.DEAD:
                await asyncio.sleep(0.05)
            await stage.until(lambda: stage.gateway(0).phase is Phase.STARTING)
        reloading, _ = await _standing_by(stage)
        stage.gateway(0).die()  # again in 5 s
        before = stage.gateway(0)
        await _hand_off(stage)
        await stage.until(lambda: stage.gateway(0) is not before)
        new = stage.gateway(0)
        new.say("ready")
        await reloading
        await asyncio.sleep(10)
        assert stage.gateway(0) is new
        assert _living("gateway 0") == [new]
        assert before not in stage.supervisor._retired

    on_stage(body)
