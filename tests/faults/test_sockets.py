"""Sockets whose shard or gateway is killed again and again: none is closed, no message is lost, none comes twice, all in order.

Every user's connection must live through the whole run. The broken twins show that the tests would see it otherwise; their users,
and those of the worst moments, are held by the test's own process, so that nothing but shards is in the way.
"""

from __future__ import annotations

import dataclasses

import pytest

from .socket_holder import held_here
from .socket_kills import Outcome, Plan, over_tcp_of, play
from .socket_rooms import (
    ACKNOWLEDGES_BEFORE_THE_COMMIT,
    DIES_BEFORE_EFFECTS_LEAVE,
    DIES_BEFORE_THE_COMMIT,
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
