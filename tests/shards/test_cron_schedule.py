"""When crons are due, minute by minute, in times that tests make up."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st
from perdure.sdk.crons import Cron
from perdure.shards.cron_schedule import LATE_MINUTES_MAX, MINUTE_MS, Due, Schedule, wait_s


def ms(text: str) -> int:
    return int(datetime.datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def begin(now: str, *crons: str) -> Schedule:
    return Schedule.begin([Cron.parse(text) for text in crons], ms(now))


def run(schedule: Schedule, *times: str) -> list[tuple[str, int]]:
    """The minutes that were given out, at those times."""
    found: list[tuple[str, int]] = []
    for time in times:
        schedule, due = schedule.on_time(ms(time))
        found += [(each.cron, each.scheduled_ms) for each in due]
    return found


def test_a_slot_is_given_out_once_however_often_one_looks() -> None:
    schedule = begin("2026-11-24 10:00:30", "*/5 * * * *")
    times = [f"2026-11-24 10:{minute:02}:{second:02}" for minute in range(12) for second in (0, 20, 40)]
    found = run(schedule, *[time for time in times if time > "2026-11-24 10:00:30"])
    assert found == [("*/5 * * * *", ms("2026-11-24 10:05")), ("*/5 * * * *", ms("2026-11-24 10:10"))]


def test_the_minute_of_the_start_is_over() -> None:
    assert run(begin("2026-11-24 10:00:00", "* * * * *"), "2026-11-24 10:00:59") == []


def test_several_crons_of_one_minute_come_in_their_order() -> None:
    schedule, due = begin("2026-11-30 23:58", "59 23 L * *", "* * * * *").on_time(ms("2026-11-30 23:59"))
    assert due == (Due("59 23 L * *", ms("2026-11-30 23:59")), Due("* * * * *", ms("2026-11-30 23:59")))
    assert schedule.on_time(ms("2026-11-30 23:59:59"))[1] == ()


def test_a_late_look_makes_up_for_two_minutes_only() -> None:
    found = run(begin("2026-11-24 10:00", "* * * * *"), "2026-11-24 11:30")
    assert [time for _, time in found] == [ms(f"2026-11-24 11:{minute}") for minute in (28, 29, 30)]


def test_a_clock_that_goes_back_gives_no_slot_twice() -> None:
    schedule = begin("2026-11-24 10:00", "* * * * *")
    found = run(schedule, "2026-11-24 10:01", "2026-11-24 09:30", "2026-11-24 10:01", "2026-11-24 10:02")
    assert [time for _, time in found] == [ms("2026-11-24 10:01"), ms("2026-11-24 10:02")]


def test_a_clock_that_was_a_day_ahead_is_believed_when_it_is_put_right() -> None:
    schedule = begin("2026-11-25 10:00", "* * * * *")
    found = run(schedule, "2026-11-24 10:00", "2026-11-24 10:01")
    assert [time for _, time in found] == [ms("2026-11-24 10:01")]


def test_nothing_happens_when_civil_clocks_change() -> None:
    """UTC has no hour that is missing or comes twice: 2026-10-25 is a change in Europe."""
    schedule = begin("2026-10-25 00:00", "30 * * * *")
    times = [f"2026-10-25 {hour:02}:30" for hour in range(4)]
    assert [time for _, time in run(schedule, *times)] == [ms(time) for time in times]


def test_the_end_of_months() -> None:
    schedule = begin("2026-01-01 00:00", "0 0 L * *")
    hours = [datetime.datetime(2026, 1, 1) + datetime.timedelta(hours=hour) for hour in range(1, 24 * 120)]
    found = run(schedule, *[hour.isoformat(" ") for hour in hours])
    assert [time for _, time in found] == [ms(f"2026-{day}") for day in ("01-31", "02-28", "03-31", "04-30")]


def test_other_crons_take_over_without_a_slot_twice() -> None:
    schedule, due = begin("2026-11-24 10:00", "* * * * *").on_time(ms("2026-11-24 10:01"))
    assert len(due) == 1
    schedule = schedule.adopt([Cron.parse("1-59 * * * *")])
    assert run(schedule, "2026-11-24 10:01:30") == []
    assert run(schedule, "2026-11-24 10:02") == [("1-59 * * * *", ms("2026-11-24 10:02"))]


@given(st.lists(st.integers(-200, 200), max_size=60))
def test_no_slot_comes_twice_unless_the_clock_went_back_far(steps) -> None:
    """Whatever the clock does, in steps of up to an hour back."""
    minute = 29_000_000
    schedule = Schedule.begin([Cron.parse("* * * * *")], minute * MINUTE_MS)
    given_out: list[int] = []
    highest = minute
    for step in steps:
        minute = max(minute + step, highest - 60)
        highest = max(highest, minute)
        schedule, due = schedule.on_time(minute * MINUTE_MS)
        assert len(due) <= LATE_MINUTES_MAX + 1
        given_out += [each.scheduled_ms for each in due]
    assert len(given_out) == len(set(given_out))
    assert given_out == sorted(given_out)


def test_it_wakes_after_the_minute_has_begun() -> None:
    for now in (0, 1, 59_000, 59_999, 60_000, 123_456):
        woken = now + wait_s(now) * 1000
        assert woken > now
        assert woken <= (now // MINUTE_MS + 1) * MINUTE_MS + 2
