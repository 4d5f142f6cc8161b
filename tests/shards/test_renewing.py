"""A shard that has asked is renewed by the way of a reload; what goes wrong leaves it serving. A supervisor in virtual time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from perdure.shards import renewing
from perdure.shards.children import Phase
from perdure.shards.renewing import ASKED_S_MAX, PAUSE_S, PAUSE_S_MAX, WAIT_S, Schedule
from perdure.testing.virtual import run

from .fake_children import FakeChild, Stage, supervising


@pytest.fixture
def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def perform(body: Callable[[Stage], Awaitable[None]], shards: int = 1) -> None:
        monkeypatch.setattr(renewing, "resident_bytes", lambda _: 50 << 20)

        async def whole() -> None:
            async with supervising(tmp_path, monkeypatch, shards) as stage:
                await body(stage)

        run(whole())

    return perform


def ask(child: FakeChild) -> None:
    child.say("outgrown", before_mib=90, began_mib=50)


def asked_to_leave(child: FakeChild) -> bool:
    return any(message["type"] in ("mark_ahead", "release") for message in child.sent)


def standbys() -> list[FakeChild]:
    return [child for child in FakeChild.all if child.start.get("standby")]


async def ready_to_renew(stage: Stage, index: int = 0) -> FakeChild:
    """The new process, which stands by; the shard has said that it still sleeps."""
    before = len(standbys())
    ask(stage.shard(index))
    await stage.until(lambda: len(standbys()) > before)
    standby = stage.standby()
    standby.say("standby")
    await asyncio.sleep(1)
    assert not asked_to_leave(stage.shard(index)), "it must say so once more"
    ask(stage.shard(index))
    await stage.until(lambda: {"type": "mark_ahead"} in stage.shard(index).sent)
    return standby


async def renew(stage: Stage, index: int = 0) -> FakeChild:
    old = stage.shard(index)
    standby = await ready_to_renew(stage, index)
    old.say("marked")
    await stage.until(lambda: old.sent[-1]["type"] == "release")
    assert old.sent[-1] == {"type": "release", "wait_s": WAIT_S, "reason": "inactive"}
    old.say("released", session=old.start["session"])
    await stage.until(lambda: stage.shard(index) is standby)
    standby.say("ready")
    old.die(0)
    await asyncio.sleep(0)
    return standby


def test_it_is_handed_off_to_a_new_process(on_stage, capfd) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        gateway = stage.gateway(0)
        os.mkdir(f"{stage.supervisor._data.path}/log/{old.start['session']}")
        new = await renew(stage)
        assert new.start["dead_sessions"] == [old.start["session"]]
        assert new.start["program"] == old.start["program"]
        assert stage.gateway(0) is gateway
        await asyncio.sleep(5)
        assert stage.shard(0) is new
        assert [child for child in FakeChild.all if child.name == "shard 0" and child.phase is not Phase.DEAD] == [new]

    on_stage(body)
    said = "".join(capfd.readouterr())
    assert "shard_renewed" in said
    assert "after_mib=50" in said
    assert "before_mib=90" in said


def test_not_again_for_some_minutes(on_stage) -> None:
    async def body(stage: Stage) -> None:
        await renew(stage)
        ask(stage.shard(0))
        await asyncio.sleep(PAUSE_S - 60)
        ask(stage.shard(0))
        await asyncio.sleep(1)
        assert len(standbys()) == 1
        await asyncio.sleep(60)
        await renew(stage)
        assert len(standbys()) == 2

    on_stage(body)


def test_one_shard_at_a_time_and_each_by_itself(on_stage) -> None:
    async def body(stage: Stage) -> None:
        await ready_to_renew(stage, 0)
        ask(stage.shard(1))
        await asyncio.sleep(1)
        assert len(standbys()) == 1
        old = stage.shard(0)
        old.say("marked")
        await stage.until(lambda: old.sent[-1]["type"] == "release")
        old.say("released", session=old.start["session"])
        await stage.until(lambda: stage.shard(0) is not old)
        stage.shard(0).say("ready")
        await asyncio.sleep(1)
        await renew(stage, 1)
        assert len(standbys()) == 2

    on_stage(body, 2)


def test_a_program_that_cannot_be_imported_leaves_the_shard_serving_and_the_next_try_is_later(on_stage, capfd) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        for pause_s in (PAUSE_S, 2 * PAUSE_S):
            before = len(standbys())
            ask(old)
            await stage.until(lambda before=before: len(standbys()) > before)
            stage.standby().die(1)
            await asyncio.sleep(pause_s - 60)
            ask(old)
            await asyncio.sleep(1)
            assert len(standbys()) == before + 1
            await asyncio.sleep(60)
        assert stage.shard(0) is old
        assert old.phase is Phase.SERVING
        assert not asked_to_leave(old)
        await renew(stage)

    on_stage(body)
    assert "".join(capfd.readouterr()).count("renewal_failed") == 2


def test_a_shard_that_wakes_meanwhile_is_left_alone(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        ask(old)
        await stage.until(standbys)
        ask(old)  # before who stands by is ready: that says nothing of now
        stage.standby().say("standby")
        await asyncio.sleep(ASKED_S_MAX + 1)
        assert stage.standby().phase is Phase.DEAD
        assert stage.shard(0) is old
        assert not asked_to_leave(old)
        ask(old)
        await asyncio.sleep(1)
        assert len(standbys()) == 1, "it has cost a process"

    on_stage(body)


def test_who_dies_before_the_hand_off_is_started_again_as_after_any_death(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        ask(old)
        await stage.until(standbys)
        old.die()
        new = stage.shard(0)
        assert new is not old
        assert "standby" not in new.start
        new.say("ready")
        stage.standby().say("standby")
        ask(new)  # another process: it has not outgrown what stands by
        await asyncio.sleep(ASKED_S_MAX + 1)
        assert stage.shard(0) is new
        assert stage.standby().phase is Phase.DEAD

    on_stage(body)


def test_who_dies_in_the_hand_off_is_recovered_by_the_new_process(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        os.mkdir(f"{stage.supervisor._data.path}/log/{old.start['session']}")
        standby = await ready_to_renew(stage)
        old.die()
        await stage.until(lambda: stage.shard(0) is standby)
        assert standby.start["dead_sessions"] == [old.start["session"]]
        standby.say("ready")
        await asyncio.sleep(1)
        assert stage.shard(0).phase is Phase.SERVING

    on_stage(body)


def test_a_reload_waits_for_a_renewal_and_there_is_none_during_a_reload(on_stage) -> None:
    async def body(stage: Stage) -> None:
        old = stage.shard(0)
        standby = await ready_to_renew(stage)
        reloading = stage.reload()
        await asyncio.sleep(1)
        assert standbys() == [standby]
        old.say("marked")
        await stage.until(lambda: old.sent[-1]["type"] == "release")
        old.say("released", session=old.start["session"])
        await stage.until(lambda: stage.shard(0) is standby)
        standby.say("ready")
        await stage.until(lambda: len(standbys()) == 2)
        ask(standby)
        await asyncio.sleep(1)
        assert len(standbys()) == 2
        reloading.cancel()

    on_stage(body)


def test_a_drain_ends_a_renewal(on_stage) -> None:
    async def body(stage: Stage) -> None:
        ask(stage.shard(0))
        await stage.until(standbys)
        stage.supervisor._on_signal()
        await stage.until(lambda: stage.standby().phase is Phase.DEAD)
        await stage.until(lambda: stage.shard(0).phase is Phase.DEAD)
        assert len(standbys()) == 1

    on_stage(body)


def test_pauses_double_up_to_six_hours_and_a_success_begins_anew() -> None:
    schedule = Schedule()
    assert schedule.allows(0, 0.0)
    pauses = [schedule.failed(0, 0.0) for _ in range(9)]
    assert pauses[:3] == [600, 1200, 2400]
    assert max(pauses) == PAUSE_S_MAX
    assert not schedule.allows(0, PAUSE_S_MAX - 1)
    assert schedule.allows(1, 0.0)
    schedule.renewed(0, 50_000.0)
    assert not schedule.allows(0, 50_000.0 + PAUSE_S - 1)
    assert schedule.allows(0, 50_000.0 + PAUSE_S)
    assert schedule.failed(0, 60_000.0) == PAUSE_S
