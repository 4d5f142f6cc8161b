"""Sockets whose shard or gateway is killed again and again: none is closed, no message is lost, none comes twice, all in order.

Every user's connection must live through the whole run. The broken twins show that the tests would see it otherwise; their users,
and those of the worst moments, are held by the test's own process, so that nothing but shards is in the way.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time

import perdure
import pytest
from perdure.engine.http import HttpRequest

from ..system.runtime import Runtime, serving
from .socket_crowd import Crowd
from .socket_holder import held_here
from .socket_kills import Outcome, Plan, over_tcp_of, play
from .socket_rooms import (
    ACKNOWLEDGES_BEFORE_THE_COMMIT,
    DIES_BEFORE_EFFECTS_LEAVE,
    DIES_BEFORE_THE_COMMIT,
    PROGRAM,
    WITHOUT_OUTBOX,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
SHORT = Plan(sockets=200, objects=20, seconds=10, kills=8, reloads=1, each_per_s=1.0, guests_every_s=0.25)
WORST = dataclasses.replace(SHORT, seconds=6, kills=0, reloads=0, guests_every_s=None, settle_s=8)


def assert_kept(outcome: Outcome, plan: Plan) -> None:
    """Nothing has become of anything; most messages came back."""
    assert not outcome.faults, f"{outcome.faults}\n{outcome.said[-4000:]}"
    assert outcome.kills == plan.kills
    assert outcome.reloads == plan.reloads
    assert outcome.pauses.messages > plan.sockets * plan.each_per_s * plan.seconds * 0.5
    print(outcome.pauses)


def deaths(outcome: Outcome) -> int:
    """Shards that have ended, whoever ended them."""
    return sum("died" in line and "process='shard" in line for line in outcome.said.splitlines())


def test_shards_and_gateways_are_killed_while_the_code_is_reloaded(tmp_path) -> None:
    outcome = play(tmp_path, SHORT, 1, over_tcp_of)
    assert_kept(outcome, SHORT)
    assert deaths(outcome) >= 2


def test_shards_are_killed_under_the_sockets_of_a_client_process(tmp_path) -> None:
    plan = dataclasses.replace(SHORT, victims=("shard",))
    outcome = play(tmp_path, plan, 1, held_here)
    assert_kept(outcome, plan)
    assert deaths(outcome) == plan.kills


def test_shards_are_killed_while_they_recover(tmp_path) -> None:
    """A shard takes longer to come back than the next kill takes to come."""
    plan = dataclasses.replace(
        SHORT, seconds=6, kills=20, reloads=0, each_per_s=0.5, guests_every_s=None, victims=("shard",), settle_s=40
    )
    assert_kept(play(tmp_path, plan, 3, over_tcp_of), plan)


async def _beside_an_orphan(runtime: Runtime) -> float:
    """Seconds until a user hears its own message, sent when its shard is killed; another socket of the room has no connection."""
    async with held_here(runtime) as connect, perdure.connect(runtime.address) as client:
        user = await Crowd(runtime.url.rstrip("/"), 1, connect).join("room0")
        orphan = HttpRequest("GET", "http://x/room0/orphan", [("upgrade", "websocket")])
        object_id = client.namespace("Room").idFromName("room0").raw
        answer = await client.fetch("rooms-Room", object_id, "room0", orphan)
        assert answer.web_socket is not None, "it is accepted, and nobody opens it"
        (shard,) = runtime.pids("shard")
        os.kill(shard, signal.SIGKILL)
        user.say(time.perf_counter())
        while not user.latencies_s:
            assert not user.told.closed
            await asyncio.sleep(0.05)
        return user.latencies_s[0]


def test_neighbours_do_not_wait_for_a_socket_that_nobody_holds(tmp_path) -> None:
    program = tmp_path / "rooms.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(tmp_path / "data"), "--shards", "1", "--gateways", "1") as runtime:
        assert asyncio.run(_beside_an_orphan(runtime)) < 5


@pytest.mark.parametrize("moment", [DIES_BEFORE_EFFECTS_LEAVE, DIES_BEFORE_THE_COMMIT], ids=["durable", "written"])
def test_a_shard_dies_at_the_worst_moment(tmp_path, moment: str) -> None:
    plan = dataclasses.replace(WORST, prelude=moment)
    outcome = play(tmp_path, plan, 2, held_here)
    assert_kept(outcome, plan)
    assert deaths(outcome) >= 2, "no shard has died: the test shows nothing"


def test_a_twin_without_the_outbox_is_caught(tmp_path) -> None:
    plan = dataclasses.replace(WORST, prelude=WITHOUT_OUTBOX + DIES_BEFORE_EFFECTS_LEAVE)
    outcome = play(tmp_path, plan, 2, held_here)
    assert any(" heard: " in line for line in outcome.faults.lost), outcome.faults


def test_a_twin_that_acknowledges_before_the_commit_is_caught(tmp_path) -> None:
    plan = dataclasses.replace(WORST, prelude=ACKNOWLEDGES_BEFORE_THE_COMMIT + DIES_BEFORE_THE_COMMIT)
    outcome = play(tmp_path, plan, 2, held_here)
    assert any(" recorded: " in line for line in outcome.faults.lost), outcome.faults
