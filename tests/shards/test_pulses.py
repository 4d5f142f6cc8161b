"""Which processes are stuck, which events are refused, bounds of memory: pure decisions."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from perdure.engine.beacon import Running, record
from perdure.engine.limits import Limits
from perdure.engine.watchdog import GRACE_S
from perdure.router.pulse import Beat, Pulse, within
from perdure.shards.machine_memory import bounds, resident_bytes, total_bytes
from perdure.shards.pulses import PulseWatch
from perdure.shards.restarts import EXIT_MEMORY, EXIT_STOPPED, REFUSED_S, Suspects, is_by_event

EVENT = Running(b"\1" * 32, "Room/lobby", "say")


def test_a_silent_process_is_stuck_after_a_turns_budget_and_its_grace_and_told_once() -> None:
    watch = PulseWatch(1.0)
    assert watch.look(None, 0.0) is None  # it has not begun to beat: it starts
    beat = Beat(1, "loop", 0.0, 0.0)
    assert watch.look(beat, 1_000.0) is None
    assert watch.look(beat, 1_001.0 + GRACE_S) is None
    found = watch.look(beat, 1_001.1 + GRACE_S)
    assert found is not None
    assert found.silent
    assert watch.look(beat, 2_000.0) is None


@pytest.mark.parametrize("what", ["turn", "callback", "other"])
def test_a_process_that_beats_is_stuck_when_its_turn_is_past_its_grace(what) -> None:
    watch = PulseWatch(1.0)
    assert watch.look(Beat(1, what, 1.0 + GRACE_S, 1.0), 0.0) is None
    found = watch.look(Beat(2, what, 1.1 + GRACE_S, 1.0), 0.5)
    assert found is not None
    assert not found.silent


@pytest.mark.parametrize("what", ["sync", "commit", "storage"])
def test_k5_a_stalled_disk_is_not_killed_as_long_as_it_beats(what) -> None:
    watch = PulseWatch(1.0)
    assert all(watch.look(Beat(number, what, number * 10.0, 1.0), number * 10.0) is None for number in range(1, 100))


def test_beats_travel_through_the_page_and_a_torn_one_is_not_read() -> None:
    pulse, descriptor = Pulse.make()
    other = Pulse(descriptor)
    os.close(descriptor)
    assert pulse.last() is None
    assert pulse.running() is None
    beat = Beat(7, "turn", 3.5, 1.0, "Room/lobby", "00", "say", "room.py:7 say")
    other.beat(beat)
    assert pulse.last() == beat
    other.memory[300:301] = b"#"
    assert pulse.last() is None
    other.memory[0:160] = record(EVENT.object_id, EVENT.object, EVENT.method)
    assert pulse.running() == EVENT
    other.close()
    pulse.close()


def test_what_the_loop_is_in_by_its_stack() -> None:
    from perdure.engine.disk import LocalDisk

    frame = sys._getframe()
    assert within(frame, in_turn=True) == "turn"
    assert within(frame, in_turn=False) == "callback"
    frames = []

    def trace(inner, event, argument):
        frames.append(inner)

    sys.setprofile(trace)
    try:
        with pytest.raises(OSError):
            LocalDisk().sync_data(1_000_000)
    finally:
        sys.setprofile(None)
    inside = next(found for found in frames if found.f_code.co_filename.endswith("disk.py"))
    assert within(inside, in_turn=False) == "sync"


# ---------------------------------------------------------------------- events that end their shard
def test_c20_an_event_that_ends_its_shard_three_times_within_a_minute_is_refused() -> None:
    suspects = Suspects()
    assert suspects.on_death(0.0, EVENT) is None
    assert suspects.on_death(30.0, Running(b"\2" * 32, "Room/other", "say")) is None
    assert suspects.on_death(31.0, EVENT) is None
    found = suspects.on_death(59.0, EVENT)
    assert found is not None
    assert found.until_s == 59.0 + REFUSED_S
    assert [refused.running for refused in suspects.refused(60.0)] == [EVENT]
    assert suspects.refused(59.0 + REFUSED_S) == []


def test_c20_it_is_refused_twice_as_long_when_it_does_it_again_and_forgotten_when_it_does_not() -> None:
    suspects = Suspects()
    for second in range(3):
        suspects.on_death(float(second), EVENT)
    again = suspects.on_death(100.0, EVENT)
    assert again is not None
    assert again.until_s == 100.0 + 2 * REFUSED_S
    assert suspects.on_death(10_000.0, EVENT) is None


def test_c20_slow_deaths_are_not_laid_together() -> None:
    suspects = Suspects()
    assert all(suspects.on_death(second * 40.0, EVENT) is None for second in range(20))


def test_c20_a_kill_by_somebody_else_and_a_failed_disk_are_no_events_fault() -> None:
    assert is_by_event(-signal.SIGSEGV, killed_as_stuck=False)
    assert is_by_event(1, killed_as_stuck=False)
    assert is_by_event(EXIT_MEMORY, killed_as_stuck=False)
    assert is_by_event(-signal.SIGKILL, killed_as_stuck=True)
    assert not is_by_event(-signal.SIGKILL, killed_as_stuck=False)
    assert not is_by_event(-signal.SIGTERM, killed_as_stuck=False)
    assert not is_by_event(EXIT_STOPPED, killed_as_stuck=False)
    assert not is_by_event(0, killed_as_stuck=False)


# ---------------------------------------------------------------------- memory
def test_bounds_of_memory_are_a_share_of_the_machine_or_what_was_set() -> None:
    found = bounds(Limits(), shards=4, total=16 << 30)
    assert (found.soft, found.hard) == (int((4 << 30) * 0.6), int((4 << 30) * 0.8))
    found = bounds(Limits(shard_memory_soft_mb=100, shard_memory_hard_mb=200), shards=4, total=16 << 30)
    assert (found.soft >> 20, found.hard >> 20) == (100, 200)
    found = bounds(Limits(shard_memory_hard_mb=200), shards=1, total=16 << 30)
    assert found.soft == found.hard
    assert 0 < resident_bytes() < total_bytes()
