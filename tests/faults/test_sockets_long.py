"""Sockets under kills at full length: 2,000 of 200 objects, a kill a second for a minute, five reloads."""

from __future__ import annotations

import pytest

from .socket_kills import Plan, play
from .test_sockets import assert_kept

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300)]
LONG = Plan(
    sockets=2_000, objects=200, seconds=60, kills=60, reloads=5, each_per_s=0.25, guests_every_s=0.5, settle_s=40
)


@pytest.mark.parametrize("seed", [1, 2])
def test_sixty_kills_and_five_reloads_in_a_minute(tmp_path, seed: int) -> None:
    assert_kept(play(tmp_path, LONG, seed), LONG)
