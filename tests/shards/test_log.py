"""The shard log: segments, how they end, what is damage and what was never acknowledged (hazards C3, C4, C28, K7)."""

from __future__ import annotations

import errno
import os

import pytest
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import DataFolderError, LogDamaged, StorageFull, VersionMismatch
from perdure.shards.log import SessionLog, delete_session, lock_session, sessions
from perdure.shards.records import COMMIT, MARK, TRIM, Head
from perdure.shards.recovery import DeadLogs
from perdure.shards.segment import SegmentReader

SESSION = "000000000001-aaaaaaaa"
ID = bytes(range(32))


class FailingDisk(LocalDisk):
    """Fails the next operations of a name."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}

    def _check(self, name: str) -> None:
        if name in self.fail:
            raise OSError(self.fail[name], os.strerror(self.fail[name]))

    def sync_data(self, fd):
        self._check("sync_data")
        super().sync_data(fd)

    def pwritev(self, fd, parts, offset):
        self._check("pwritev")
        super().pwritev(fd, parts, offset)

    def allocate(self, fd, length):
        self._check("allocate")
        super().allocate(fd, length)


def commit(change: int, object_id: bytes = ID, pages: tuple[int, ...] = (1,)) -> Head:
    return Head(COMMIT, object_id, "w-C", "name", 1, change, 3, None, 0, 0, pages)


def page(seed: int) -> bytes:
    return bytes([seed % 256]) * 2048 + os.urandom(2048)


def add(log: SessionLog, *heads: Head) -> None:
    log.append(heads, [page(head.change) for head in heads for _ in head.pages])
    log.sync()


def changes(folder, disk=None) -> list[int]:
    dead = DeadLogs(disk or LocalDisk(), str(folder), lambda _: True)
    dead.read(sessions(LocalDisk(), str(folder)))
    try:
        return [place.change for place in dead.plan(ID).places] if ID in dead.objects else []
    finally:
        dead.close()


def make(tmp_path, disk=None, segment_bytes: int = 32 << 10) -> SessionLog:
    return SessionLog(disk or LocalDisk(), str(tmp_path), SESSION, segment_bytes)


def test_what_was_synced_is_read_back_over_many_segments(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 101):
        add(log, commit(change))
    assert log.number > 3
    log.close(clean=False)
    assert changes(tmp_path) == list(range(1, 101))


def test_a_lost_index_is_scanned_instead(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 31):
        add(log, commit(change))
    ends = dict(log._ends)
    log.close(clean=False)
    for number, (end, index_at) in ends.items():
        assert index_at == end
        with open(f"{tmp_path}/{SESSION}/{number:08d}.segment", "r+b") as file:
            file.seek(end)
            file.write(bytes(64))
    assert changes(tmp_path) == list(range(1, 31))


def test_marks_leave_out_what_they_cover(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 6):
        add(log, commit(change))
    log.append([Head(MARK, ID, generation=1, change=3)], [], control=True)
    log.sync()
    log.close(clean=False)
    assert changes(tmp_path) == [4, 5]


@pytest.mark.parametrize("cut", [1, 30, 70, 400])
def test_a_torn_last_batch_was_never_acknowledged(tmp_path, cut: int) -> None:
    log = make(tmp_path)
    add(log, commit(1))
    end = log._position
    add(log, commit(2))
    log.close(clean=False)
    with open(f"{tmp_path}/{SESSION}/00000001.segment", "r+b") as file:
        file.seek(end + cut)
        file.write(bytes(100_000))
    assert changes(tmp_path) == [1]


def test_c28_a_bad_batch_before_a_good_one_is_damage(tmp_path) -> None:
    log = make(tmp_path)
    add(log, commit(1))
    first_end = log._position
    add(log, commit(2))
    add(log, commit(3))
    log.close(clean=False)
    path = f"{tmp_path}/{SESSION}/00000001.segment"
    with open(path, "r+b") as file:
        file.seek(first_end + 80)
        file.write(b"rot")
    with pytest.raises(LogDamaged, match="00000001.segment is damaged"):
        changes(tmp_path)
    assert os.path.exists(path)


def test_c28_damage_in_a_sealed_segment_is_found_when_it_is_read(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 31):
        add(log, commit(change, pages=(1,) if change > 1 else (2,)))
    log.close(clean=False)
    path = f"{tmp_path}/{SESSION}/00000001.segment"
    with open(path, "r+b") as file:
        file.seek(128 + 200)
        file.write(b"rot")
    dead = DeadLogs(LocalDisk(), str(tmp_path), lambda _: True)
    dead.read([SESSION])
    with pytest.raises(LogDamaged):
        dead.apply(ID, str(tmp_path / "object.sqlite"))
    dead.close()


def test_c3_a_failed_batch_is_not_read_though_it_lies_there(tmp_path) -> None:
    disk = FailingDisk()
    log = make(tmp_path, disk)
    add(log, commit(1))
    log.append([commit(2)], [page(2)])
    disk.fail = {"sync_data": errno.EIO}
    with pytest.raises(OSError, match="Input/output"):
        log.sync()
    disk.fail = {}
    log.begin_anew()  # the batch of change 2 is whole in the old segment: only the new header says that it does not count
    reader = SegmentReader(disk, f"{tmp_path}/{SESSION}/00000001.segment", SESSION, 1)
    assert [head.change for _, heads, _ in reader.batches(None) for head in heads] == [1, 2]
    reader.close()
    add(log, commit(2))
    add(log, commit(3))
    log.close(clean=False)
    dead = DeadLogs(LocalDisk(), str(tmp_path), lambda _: True)
    dead.read([SESSION])
    assert [(place.change, place.log) for place in dead.plan(ID).places] == [(1, 0), (2, 1), (3, 1)]
    dead.close()


def test_c4_segments_go_oldest_first_and_a_missing_one_is_damage(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 101):
        add(log, commit(change))
    log.append([Head(TRIM, change=3), Head(MARK, ID, generation=1, change=99)], [], control=True)
    log.sync()
    log.trim(3)
    assert sorted(os.listdir(f"{tmp_path}/{SESSION}"))[0] == "00000003.segment"
    log.close(clean=False)
    assert changes(tmp_path) == [100]
    os.unlink(f"{tmp_path}/{SESSION}/00000004.segment")
    with pytest.raises(LogDamaged, match="are missing"):
        changes(tmp_path)


def test_a_segment_missing_at_the_front_without_a_trim_is_damage(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 41):
        add(log, commit(change))
    log.close(clean=False)
    os.unlink(f"{tmp_path}/{SESSION}/00000001.segment")
    with pytest.raises(LogDamaged, match="are missing"):
        changes(tmp_path)


def test_k7_no_room_for_a_segment_refuses_writes_and_marks_still_fit(tmp_path) -> None:
    disk = FailingDisk()
    log = make(tmp_path, disk)
    disk.fail = {"allocate": errno.ENOSPC}
    written = 0
    with pytest.raises(StorageFull, match="only reads"):
        for change in range(1, 100):
            add(log, commit(change))
            written = change
    log.append([Head(MARK, ID, generation=1, change=written)], [], control=True)
    log.sync()
    disk.fail = {}
    add(log, commit(written + 1))  # and it comes back by itself
    log.close(clean=False)
    assert changes(tmp_path) == [written + 1]


def test_a_batch_larger_than_a_segment_gets_its_own(tmp_path) -> None:
    log = make(tmp_path)
    add(log, commit(1))
    log.append([commit(2, pages=tuple(range(1, 65)))], [os.urandom(4096) for _ in range(64)])
    log.sync()
    add(log, commit(3))
    log.close(clean=False)
    assert changes(tmp_path) == [1, 2, 3]


def test_a_newer_format_is_refused(tmp_path) -> None:
    make(tmp_path).close(clean=False)
    path = f"{tmp_path}/{SESSION}/00000001.segment"
    with open(path, "r+b") as file:
        from perdure.shards import segment

        data = segment.pack_segment_header(segment.SegmentHeader(SESSION, 1))
        import zlib

        changed = data[:8] + (segment.VERSION + 1).to_bytes(2, "little") + data[10:]
        head = changed[: segment._HEAD.size]
        file.write(head + zlib.crc32(head).to_bytes(4, "little"))
    with pytest.raises(VersionMismatch, match="has format 3"):
        changes(tmp_path)


def test_c9_a_living_session_s_log_is_not_replayed(tmp_path) -> None:
    log = make(tmp_path)
    with pytest.raises(DataFolderError, match="living process"):
        lock_session(f"{tmp_path}/{SESSION}", exclusive=False)
    log.close(clean=True)
    os.close(lock_session(f"{tmp_path}/{SESSION}", exclusive=False))


def test_a_half_deleted_session_is_never_taken_for_a_log(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 41):
        add(log, commit(change))
    log.close(clean=False)

    class Dies(LocalDisk):
        def unlink(self, path, *, missing_ok=False):
            if path.endswith("00000002.segment"):
                raise KeyboardInterrupt
            super().unlink(path, missing_ok=missing_ok)

    with pytest.raises(KeyboardInterrupt):
        delete_session(Dies(), str(tmp_path), SESSION)
    assert sessions(LocalDisk(), str(tmp_path)) == []
    assert os.listdir(tmp_path) == []


class CountingDisk(LocalDisk):
    """Counts syncs of folders and reservations of space."""

    def __init__(self) -> None:
        self.slow = 0

    def sync_folder(self, path):
        self.slow += 1
        super().sync_folder(path)

    def allocate(self, fd, length):
        self.slow += 1
        super().allocate(fd, length)


def test_a_segment_that_lies_ready_needs_nothing_slow_to_begin(tmp_path) -> None:
    disk = CountingDisk()
    log = make(tmp_path, disk)
    assert log.make_room()
    before, number, change = disk.slow, log.number, 0
    while log.number == number:
        change += 1
        add(log, commit(change))
    assert disk.slow == before, "its folder entry was synced when it was made"
    while log.number == number + 1:
        change += 1
        add(log, commit(change))
    assert disk.slow > before, "this one was made in its time"
    log.close(clean=False)
    assert changes(tmp_path) == list(range(1, change + 1))


def test_a_segment_that_lies_ready_holds_nothing_after_a_kill(tmp_path) -> None:
    log = make(tmp_path)
    add(log, commit(1))
    assert log.make_room()
    os.close(log._lock_fd)  # as a kill does it
    assert sorted(os.listdir(log.folder)) == ["00000001.segment", "00000002.segment", "lock"]
    assert changes(tmp_path) == [1]


def test_a_segment_that_lies_ready_goes_with_a_clean_end(tmp_path) -> None:
    log = make(tmp_path)
    assert log.make_room()
    log.close(clean=True)
    assert sorted(os.listdir(log.folder)) == ["00000001.segment", "lock"]


def test_segments_are_let_go_before_they_are_deleted(tmp_path) -> None:
    log = make(tmp_path)
    for change in range(1, 41):
        add(log, commit(change))
    held = log.bytes
    paths = log.let_go(3)
    assert [os.path.basename(path) for path in paths] == ["00000001.segment", "00000002.segment"]
    assert log.first == 3
    assert log.bytes < held
    assert all(os.path.exists(path) for path in paths)
    log.delete(paths)
    assert not any(os.path.exists(path) for path in paths)
    assert log.let_go(3) == []
    log.close(clean=False)
