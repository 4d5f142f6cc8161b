"""Kills and power cuts at any write and any sync, during work, recovery, and the recovery after that."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import PerdureError
from perdure.shards.marks import Marker
from perdure.shards.recovery import DeadLogs

from .disk import SimDisk
from .power import run_seed

SEEDS = 100


@pytest.mark.parametrize("block", range(4))
def test_exactly_the_acknowledged_state_is_there(tmp_path, block: int) -> None:
    for seed in range(block * SEEDS // 4, (block + 1) * SEEDS // 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        asyncio.run(run_seed(seed, str(folder)))


def test_c2_power_cuts_during_recoveries_after_kills(tmp_path) -> None:
    for seed in range(30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        asyncio.run(run_seed(seed, str(folder), crashes=10, alternate=True))


@pytest.mark.long
@pytest.mark.parametrize("block", range(40))
def test_long(tmp_path, block: int) -> None:
    for seed in range(1_000 + block * 25, 1_000 + (block + 1) * 25):
        folder = tmp_path / str(seed)
        folder.mkdir()
        asyncio.run(run_seed(seed, str(folder), crashes=6))


def fails_for_some_seed(tmp_path, disk: type[SimDisk] = SimDisk, seeds: int = 60, alternate: bool = False) -> bool:
    """Whether the check catches a broken build."""
    for seed in range(seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            asyncio.run(run_seed(seed, str(folder), disk, crashes=10 if alternate else 4, alternate=alternate))
        except (AssertionError, PerdureError, KeyError, OSError):
            return True
    return False


class NeverSynced(SimDisk):
    syncs = False


class MarksUnsynced(SimDisk):
    syncs_everything = False


def test_twin_without_any_sync_is_caught(tmp_path) -> None:
    assert fails_for_some_seed(tmp_path, NeverSynced)


def test_c12_twin_that_marks_without_syncing_files_is_caught(tmp_path) -> None:
    assert fails_for_some_seed(tmp_path, MarksUnsynced)


def test_c2_twin_that_believes_an_unsynced_log_is_caught(tmp_path, monkeypatch) -> None:
    """Recovery that applies a readable but unsynced tail, then loses power, mixes two states."""
    read = DeadLogs._read_session

    def careless(self: DeadLogs, *found: object) -> None:
        disk = self._disk
        assert isinstance(disk, SimDisk)
        disk.syncs = False
        try:
            read(self, *found)
        finally:
            disk.syncs = True

    monkeypatch.setattr(DeadLogs, "_read_session", careless)
    assert fails_for_some_seed(tmp_path, seeds=300, alternate=True)


def test_c4_twin_that_drops_segments_too_early_is_caught(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("perdure.shards.files.ObjectFiles.first_needed", lambda self: self._log.number)
    assert fails_for_some_seed(tmp_path)


def test_twin_that_marks_more_than_is_complete_is_caught(tmp_path, monkeypatch) -> None:
    due = Marker._due

    def greedy(self: Marker, chosen: list[bytes]):
        from dataclasses import replace

        return [replace(item, change=self._files.live[item.object_id].change + 1) for item in due(self, chosen)]

    monkeypatch.setattr(Marker, "_due", greedy)
    assert fails_for_some_seed(tmp_path)
