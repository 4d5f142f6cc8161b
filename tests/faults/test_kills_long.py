"""The kill tests at full length: 50 shards one after the other, everything 20 times."""

from __future__ import annotations

import pytest

from ..system.test_kills import kill_everything, kill_rounds

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize("seed", [2, 5])
def test_shards_are_killed_fifty_times(tmp_path, seed: int) -> None:
    kill_rounds(tmp_path, 50, seed)


@pytest.mark.parametrize("seed", [4, 6])
def test_everything_is_killed_twenty_times(tmp_path, seed: int) -> None:
    kill_everything(tmp_path, 20, seed)
