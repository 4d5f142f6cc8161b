"""Kills and power cuts at any write and any sync, during work, recovery, and the recovery after that."""

from __future__ import annotations

import pytest
from perdure.engine.errors import PerdureError
from perdure.router.control import Message
from perdure.shards import recovery
from perdure.shards.archivist import Archivist
from perdure.shards.committer import Committer
from perdure.shards.files import ObjectFiles
from perdure.shards.marks import Marker
from perdure.shards.records import DELETE, Head
from perdure.shards.recovery import DeadLogs
from perdure.shards.replay import Place
from perdure.testing import virtual
from perdure.testing.disk import SimDisk

from .machine import Stopped
from .power import run_seed

SEEDS = 100


@pytest.mark.parametrize("block", range(4))
def test_exactly_the_acknowledged_state_is_there(tmp_path, block: int) -> None:
    for seed in range(block * SEEDS // 4, (block + 1) * SEEDS // 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        virtual.run(run_seed(seed, str(folder)))


def test_c2_power_cuts_during_recoveries_after_kills(tmp_path) -> None:
    for seed in range(30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        virtual.run(run_seed(seed, str(folder), crashes=10, alternate=True))


@pytest.mark.long
@pytest.mark.parametrize("block", range(40))
def test_long(tmp_path, block: int) -> None:
    for seed in range(1_000 + block * 25, 1_000 + (block + 1) * 25):
        folder = tmp_path / str(seed)
        folder.mkdir()
        virtual.run(run_seed(seed, str(folder), crashes=6))


def fails_for_some_seed(
    tmp_path,
    disk: type[SimDisk] = SimDisk,
    seeds: int = 60,
    alternate: bool = False,
    first: int = 0,
    travels: int = 0,
    calm: bool = False,
) -> bool:
    """Whether the check catches a broken build."""
    for seed in range(first, first + seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            virtual.run(
                run_seed(
                    seed,
                    str(folder),
                    disk,
                    crashes=10 if alternate else 4,
                    alternate=alternate,
                    travels=travels,
                    calm=calm,
                )
            )
        except (AssertionError, PerdureError, KeyError, OSError, Stopped):
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


@pytest.mark.timeout(400)
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
    assert fails_for_some_seed(tmp_path, first=20, seeds=1_000, alternate=True, calm=True)


def test_c4_twin_that_drops_segments_too_early_is_caught(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("perdure.shards.files.ObjectFiles.first_needed", lambda self: self._log.number)
    assert fails_for_some_seed(tmp_path, seeds=100, calm=True)


def test_twin_that_marks_more_than_is_complete_is_caught(tmp_path, monkeypatch) -> None:
    due = Marker._due

    def greedy(self: Marker, chosen: list[bytes]):
        from dataclasses import replace

        return [replace(item, change=self._files.live[item.object_id].change + 1) for item in due(self, chosen)]

    monkeypatch.setattr(Marker, "_due", greedy)
    assert fails_for_some_seed(tmp_path)


# ---------------------------------------------------------------------- whole files
class NewFilesUnsynced(SimDisk):
    """A file that is to replace an object's is renamed before it is synced."""

    def open(self, path, *, create=False, exclusive=False, write=True):
        fd = super().open(path, create=create, exclusive=exclusive, write=write)
        if path.endswith(".new"):
            self.unsynced.add(fd)
        return fd

    def close(self, fd):
        self.unsynced.discard(fd)
        super().close(fd)

    def sync_data(self, fd):
        if fd not in self.unsynced:
            super().sync_data(fd)

    def __init__(self, root: str) -> None:
        self.unsynced: set[int] = set()
        super().__init__(root)


def test_twin_that_renames_before_the_file_is_synced_is_caught(tmp_path) -> None:
    assert fails_for_some_seed(tmp_path, NewFilesUnsynced, seeds=200)


def test_twin_that_lets_the_log_go_before_the_folder_is_synced_is_caught(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ObjectFiles, "sync_place", lambda self, path: None)
    assert fails_for_some_seed(tmp_path, seeds=200)


def test_twin_that_syncs_only_the_nearest_folder_is_caught(tmp_path, monkeypatch) -> None:
    """The folder of the class, and that of all objects, may be as new as the file."""
    monkeypatch.setattr(ObjectFiles, "sync_place", lambda self, path: self._disk.sync_folder(path.rpartition("/")[0]))
    assert fails_for_some_seed(tmp_path, seeds=1000, travels=3)


def test_twin_that_counts_parts_without_their_commit_is_caught(tmp_path, monkeypatch) -> None:
    plan = recovery.plan

    def greedy(object_id: bytes, places, mark):
        from dataclasses import replace

        found: list[Place] = sorted(places, key=lambda place: (place.log, place.position))
        if found and found[-1].part < 0:
            found[-1] = replace(found[-1], part=-found[-1].part - 1)
        return plan(object_id, found, mark)

    monkeypatch.setattr(recovery, "plan", greedy)
    assert fails_for_some_seed(tmp_path, seeds=200)


def test_twin_without_delete_records_is_caught(tmp_path, monkeypatch) -> None:
    appended = Committer.appended

    async def forgetful(self: Committer, heads: list[Head]) -> None:
        await appended(self, [head for head in heads if head.kind != DELETE])

    monkeypatch.setattr(Committer, "appended", forgetful)
    assert fails_for_some_seed(tmp_path, seeds=200)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twin_that_confirms_before_the_rename_is_caught(tmp_path, monkeypatch) -> None:
    """History says that a file was replaced, and it was not."""
    prepare = Archivist._prepare

    def hasty(self: Archivist, job: Message) -> Message:
        return {**prepare(self, job), **self._confirm(job)}

    monkeypatch.setattr(Archivist, "_prepare", hasty)
    assert fails_for_some_seed(tmp_path, seeds=1000, travels=3)


def test_twin_that_never_confirms_again_is_caught(tmp_path, monkeypatch) -> None:
    """Killed between the rename and its confirmation, the new generation is missing from history."""
    ask = Archivist._confirm

    def once(self: Archivist, job: Message) -> Message:
        return ask(self, job) if self._history.base(bytes.fromhex(str(job["object"]))) is None else {}

    monkeypatch.setattr(Archivist, "_confirm", once)
    assert fails_for_some_seed(tmp_path, seeds=1000, travels=3)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twin_that_overlooks_a_gap_in_history_is_caught(tmp_path, monkeypatch) -> None:
    """What was given up on a full disk is missing at the end: the state at a point would be an older one."""
    monkeypatch.setattr(Archivist, "_newest", lambda self, job: {"newest": [1 << 60, 0]})
    assert fails_for_some_seed(tmp_path, seeds=1000, travels=3)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_twin_that_rebuilds_from_nothing_is_caught(tmp_path, monkeypatch) -> None:
    """A file that a mark speaks of is emptied, and the disk is full before it is whole again."""
    opened = recovery._open_base
    monkeypatch.setattr(
        recovery, "_open_base", lambda disk, path, object_id, todo, believed: opened(disk, path, object_id, todo, False)
    )
    assert fails_for_some_seed(tmp_path, seeds=1000, travels=3)
