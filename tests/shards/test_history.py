"""History against a model: whatever is added, thinned, replaced or added twice, each point that is kept is the state of then."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perdure.engine.database import PAGE, TEMPLATE
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import HistoryGone, StorageError
from perdure.shards.archivist import Archivist
from perdure.shards.history import HOUR_MS, MINUTE_MS, History, Moment
from perdure.shards.runs import Point, joined, merge, pack_run, pack_runs, thin, unpack_run
from perdure.shards.thinning import Bounds, bound_folder, bound_object

ID = bytes(range(32))
DAY_MS = 86_400_000


def image(rng: random.Random) -> bytes:
    return rng.randbytes(64) * (PAGE // 64)


def commits(seed: int, count: int, step_ms: int = 1_000, sizes: tuple[int, int] = (3, 9)) -> list[Point]:
    """Commits that write some pages of a database that grows and shrinks."""
    rng = random.Random(seed)
    found, size, time_ms = [], 3, 1_000_000
    for change in range(1, count + 1):
        grown = rng.randint(*sizes)
        pages = {number: image(rng) for number in range(size + 1, grown + 1)}  # what is new is written
        pages.update({number: image(rng) for number in rng.sample(range(1, grown + 1), rng.randint(1, 3))})
        size, time_ms = grown, time_ms + rng.randint(0, 2 * step_ms)
        found.append(Point(change, time_ms, size, pages))
    return found


def states(points: list[Point], begin: bytes = TEMPLATE) -> dict[int, bytes]:
    """Change → the whole database after it."""
    state = bytearray(begin)
    found = {}
    for point in points:
        state = state[: point.size_pages * PAGE].ljust(point.size_pages * PAGE, b"\0")
        for number, data in point.pages.items():
            if number <= point.size_pages:
                state[(number - 1) * PAGE : number * PAGE] = data
        found[point.change] = bytes(state)
    return found


def state_at(history: History, tmp_path, generation: int, change: int) -> tuple[Moment, bytes]:
    disk, path = LocalDisk(), str(tmp_path / "built")
    fd = disk.open(path, create=True)
    try:
        disk.truncate(fd, 0)
        at, size = history.write_state(ID, generation, change, disk, fd)
        data = disk.pread(fd, size * PAGE, 0)
        assert disk.size(fd) == size * PAGE
        return at, data
    finally:
        disk.close(fd)
        os.unlink(path)


def add(history: History, points: list[Point], generation: int = 1) -> None:
    for number, run in enumerate(pack_runs(points)):
        with history.connection(ID):
            assert history.add(ID, "w-C", generation, [run], fresh=number == 0 and points[0].change == 1)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(1, 60))
def test_runs_come_back_as_they_were(seed: int, count: int) -> None:
    points = commits(seed, count)
    found = [point for run in pack_runs(points) for point in unpack_run(run.toc, run.data)]
    assert found == points
    assert merge(points).pages == {
        number: next(p.pages[number] for p in reversed(points) if number in p.pages)
        for number in {number for p in points for number in p.pages if number <= points[-1].size_pages}
    }


def test_a_point_larger_than_a_run_is_cut_and_joined_again() -> None:
    rng = random.Random(1)
    large = Point(2, 5, 700, {number: image(rng) for number in range(1, 701)})
    runs = list(pack_runs([Point(1, 4, 3, {1: image(rng)}), large, Point(3, 6, 700, {9: image(rng)})]))
    assert [(run.first, run.part, run.ends) for run in runs] == [
        (1, 0, True),
        (2, 1, False),
        (2, 2, False),
        (2, 3, True),
        (3, 0, True),
    ]
    points = [point for run in runs for point in unpack_run(run.toc, run.data)]
    assert list(joined(points))[1] == large
    assert [p.change for p in joined(points[:2] + points[-1:])] == [1, 3], "pieces without their end do not count"


@pytest.mark.parametrize("seed", range(4))
def test_every_point_can_be_built(tmp_path, seed: int) -> None:
    points = commits(seed, 50)
    history = History(str(tmp_path / "history"))
    add(history, points)
    expected = states(points)
    for change in range(1, 51):
        at, data = state_at(history, tmp_path, 1, change)
        assert (at.change, data) == (change, expected[change])
    assert state_at(history, tmp_path, 1, 0)[1] == TEMPLATE
    assert state_at(history, tmp_path, 1, 1 << 62)[0].change == 50, "beyond the end is the end"
    for point in points:
        later = max(p.change for p in points if p.time_ms <= point.time_ms)
        assert history.at_time(ID, point.time_ms).change == later
    with pytest.raises(HistoryGone):
        history.at_time(ID, points[0].time_ms - 10_000)
    history.close()


@pytest.mark.parametrize("seed", range(6))
def test_thinning_keeps_the_points_that_it_keeps_as_they_were(tmp_path, seed: int) -> None:
    points = commits(seed, 400, step_ms=20_000)
    history = History(str(tmp_path / "history"))
    add(history, points)
    expected = states(points)
    before = [moment.change for moment in history.moments(ID)]
    used = history.base(ID).bytes
    bounds = Bounds(days=30, object_bytes_max=1 << 14, bytes_max=1 << 40)
    bound_object(history, ID, bounds, points[-1].time_ms + MINUTE_MS)
    kept = [moment.change for moment in history.moments(ID)]
    assert len(kept) < len(before) == 401
    assert history.base(ID).bytes < used
    for change in kept:
        assert state_at(history, tmp_path, 1, change)[1] == (expected[change] if change else TEMPLATE)
    newest = state_at(history, tmp_path, 1, 400)
    assert newest[1] == expected[400], "the present is never thinned away"
    between = next((n for n in range(kept[-1], 400) if n not in kept), None)
    if between is not None:
        at, data = state_at(history, tmp_path, 1, between)
        assert at.change == max(c for c in kept if c <= between), "a point that went gives the one before it"
        assert data == expected.get(at.change, TEMPLATE)
    history.close()


def test_thinning_goes_by_minutes_then_hours_then_into_the_base(tmp_path) -> None:
    points = thin(commits(3, 600, step_ms=30_000), MINUTE_MS)
    assert len({point.time_ms // MINUTE_MS for point in points}) == len(points)
    hours = thin(points, HOUR_MS)
    assert len({point.time_ms // HOUR_MS for point in hours}) == len(hours) < len(points)
    history = History(str(tmp_path / "history"))
    full = commits(3, 600, step_ms=30_000)
    add(history, full)
    bound_object(history, ID, Bounds(1, 1 << 40, 1 << 40), full[-1].time_ms + 2 * DAY_MS)
    base = history.base(ID)
    assert (base.change, base.size_pages) == (600, full[-1].size_pages), "all of it is older than a day"
    assert state_at(history, tmp_path, 1, 600)[1] == states(full)[600]
    with pytest.raises(HistoryGone, match="does not reach back"):
        state_at(history, tmp_path, 1, 599)
    add(history, [Point(601, full[-1].time_ms + 1, full[-1].size_pages, {2: bytes(PAGE)})])
    assert state_at(history, tmp_path, 1, 601)[1][PAGE : 2 * PAGE] == bytes(PAGE)
    history.close()


def test_the_folder_s_bound_thins_the_oldest_of_whatever_object(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    points = commits(5, 800, step_ms=5_000)
    add(history, points)
    group = history.groups()[0]
    connection = history.of_group(group)
    size = connection.pragma("page_count") * 4096
    bound_folder(history, [group], Bounds(30, 1 << 40, 150_000), points[-1].time_ms)
    assert (connection.pragma("page_count") - connection.pragma("freelist_count")) * 4096 <= 150_000 < size
    assert state_at(history, tmp_path, 1, 800)[1] == states(points)[800]
    history.close()


def test_adding_twice_changes_nothing_and_a_gap_begins_anew(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    points = commits(7, 30)
    add(history, points[:20])
    used = history.base(ID).bytes
    add(history, points[:20])
    add(history, points[10:30])
    assert history.base(ID).last == (1, 30)
    assert history.base(ID).bytes > used
    assert state_at(history, tmp_path, 1, 15)[1] == states(points)[15]
    with history.connection(ID):
        assert not history.add(ID, "w-C", 1, [pack_run([Point(33, 1, 3, {1: bytes(PAGE)})])])
    assert history.base(ID) is None, "what came before a gap cannot be built on"
    history.close()


def test_a_run_that_grows_takes_the_place_of_the_shorter_one(tmp_path) -> None:
    """As when a segment is folded for one object again and again while it is written."""
    history = History(str(tmp_path / "history"))
    points = commits(23, 12)
    for count in range(1, 13):
        add(history, points[:count])
        query = "select sum(length(toc) + length(data)) from runs"
        assert history.base(ID).bytes == history.connection(ID).execute(query).fetchall()[0][0]
    assert state_at(history, tmp_path, 1, 7)[1] == states(points)[7]
    history.close()


def test_a_replacement_counts_only_when_it_is_confirmed(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    points = commits(11, 12)
    add(history, points)
    expected = states(points)
    new = Point(1, points[-1].time_ms + 5, 4, {n: bytes([n]) * PAGE for n in range(1, 5)})
    with history.connection(ID):
        history.prepare(ID, 2, [pack_run([new])])
    assert state_at(history, tmp_path, 9, 9)[1] == expected[12], "prepared only"
    with history.connection(ID):
        history.prepare(ID, 2, [pack_run([new])])
        history.confirm(ID, 2)
    whole = b"".join(new.pages.values())
    assert state_at(history, tmp_path, 2, 1) == (Moment(2, 1, new.time_ms), whole)
    assert state_at(history, tmp_path, 1, 1 << 61)[1] == expected[12], "the state before it, for undoing"
    with history.connection(ID):
        assert history.add(ID, "w-C", 2, [pack_run([Point(2, new.time_ms + 1, 4, {3: bytes(PAGE)})])])
    assert state_at(history, tmp_path, 2, 2)[1] == whole[: 2 * PAGE] + bytes(PAGE) + whole[3 * PAGE :]
    history.close()


def test_a_commit_of_the_new_file_confirms_the_replacement_that_a_crash_left(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    add(history, commits(13, 5))
    new = Point(1, 2_000_000, 3, {n: bytes([n]) * PAGE for n in range(1, 4)})
    with history.connection(ID):
        history.prepare(ID, 2, [pack_run([new])])
        assert history.add(ID, "w-C", 2, [pack_run([Point(2, 2_000_001, 3, {2: bytes(PAGE)})])])
    assert history.base(ID).last == (2, 2)
    assert state_at(history, tmp_path, 2, 1)[1] == b"".join(new.pages.values())
    history.close()


def test_a_large_replacement_counts_only_when_all_of_it_is_confirmed(tmp_path, monkeypatch) -> None:
    """It is confirmed in several transactions: what a kill between them leaves is no point, and is confirmed once more."""
    monkeypatch.setattr("perdure.shards.history._TRANSACTION_RUNS", 2)
    history = History(str(tmp_path / "history"))
    points = commits(14, 3)
    add(history, points)
    images = {n: bytes([n]) * PAGE for n in range(1, 7)}
    parts = [pack_run([Point(1, 2_000_000, 0, {n: images[n]})], n) for n in range(1, 6)]
    history.prepare(ID, 2, [*parts, pack_run([Point(1, 2_000_000, 6, {6: images[6]})], 6)])

    class Killed(Exception): ...

    def kill(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(history, "_follows", kill)
        with pytest.raises(Killed):
            history.confirm(ID, 2)
    assert history.base(ID).last == (1, 3)
    assert state_at(history, tmp_path, 2, 1)[1] == states(points)[3]
    assert [moment.generation for moment in history.moments(ID)] == [1] * 4
    history.confirm(ID, 2)
    assert history.base(ID).last == (2, 1)
    assert state_at(history, tmp_path, 2, 1)[1] == b"".join(images.values())
    history.close()


def test_a_segment_that_was_trimmed_since_is_no_failure_for_one_object(tmp_path) -> None:
    archivist = Archivist(LocalDisk(), str(tmp_path / "history"))
    job = {"kind": "fold", "path": str(tmp_path / "gone"), "session": "s", "number": 1, "end": 200, "index_at": 0}
    assert archivist.work({**job, "groups": [0], "object": ID.hex()}) == {"missing": {}}
    with pytest.raises(StorageError):
        archivist.work({**job, "groups": [0], "bounds": [1, 1, 1], "now_ms": 0})
    archivist.close()


def test_an_object_that_was_deleted_begins_with_the_template_again(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    old, again = commits(17, 8), commits(19, 6)
    add(history, old)
    add(history, again, generation=2)
    assert state_at(history, tmp_path, 2, 6)[1] == states(again)[6]
    assert state_at(history, tmp_path, 1, 8)[1] == states(old)[8], "the past before the deletion is there"
    history.close()


def test_thinning_takes_a_large_point_whole(tmp_path) -> None:
    """More pieces than one step reads; pieces that were given up are no part of anything."""
    history = History(str(tmp_path / "history"))
    rng = random.Random(3)
    many = {number: bytes([number % 251]) * PAGE for number in range(1, 70 * 256)}
    before, after = commits(23, 5), Point(8, 90_000_000, 70 * 256 - 1, {7: image(rng)})
    large = Point(7, 50_000_000, 70 * 256 - 1, many)
    given_up = Point(6, 40_000_000, 0, {1: image(rng)})
    add(history, before)
    with history.connection(ID):
        history.add(ID, "w-C", 1, [pack_run([given_up], 1)])
        history.add(ID, "w-C", 1, [pack_run([Point(6, 41_000_000, 5, {2: image(rng)})])])
        history.add(ID, "w-C", 1, list(pack_runs([large])))
        history.add(ID, "w-C", 1, [pack_run([after])])
    expected = state_at(history, tmp_path, 1, 8)[1]
    assert len(expected) == (70 * 256 - 1) * PAGE
    assert [moment.change for moment in history.moments(ID)] == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    bound_object(history, ID, Bounds(1, 1, 1 << 40), 95_000_000)
    assert history.base(ID).change < 7, "twice its size is allowed"
    assert state_at(history, tmp_path, 1, 8)[1] == expected
    bound_object(history, ID, Bounds(1, 1, 1 << 40), 200_000_000)
    assert history.base(ID).change == 8, "all of it is older than a day"
    assert state_at(history, tmp_path, 1, 8)[1] == expected
    connection = history.connection(ID)
    assert connection.execute("select count(*) from runs").fetchall() == [(0,)]
    (stored,) = connection.execute("select sum(length(data)) from pages").fetchall()[0]
    assert history.base(ID).bytes == stored, "the count of bytes is right after all that"
    history.close()


def test_a_file_that_had_none_before_it_builds_on_the_template(tmp_path) -> None:
    history = History(str(tmp_path / "history"))
    add(history, commits(29, 6))
    first = bytes([7]) * PAGE
    with history.connection(ID):
        history.prepare(ID, 3, [pack_run([Point(1, 9_000_000, len(TEMPLATE) // PAGE, {1: first})])], fresh=True)
        history.confirm(ID, 3)
    assert state_at(history, tmp_path, 3, 1)[1] == first + TEMPLATE[PAGE:]
    history.close()
