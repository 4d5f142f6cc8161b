"""What becomes of an alarm after a run (spec: alarms, delivery)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.alarm_retries import RETRIES_MAX, Armed, Outcome, after, delay_ms

SET = Armed.first(5_000)


def test_counted_retries_double_and_end() -> None:
    armed: Armed | None = SET
    waits = []
    while armed is not None:
        before = armed
        armed = after(armed, Outcome.RAISED, 10_000, 0.0)
        if armed is not None:
            waits.append(armed.due_ms - 10_000)
            assert (armed.scheduled_ms, armed.counted, armed.uncounted) == (5_000, before.counted + 1, 0)
    assert waits == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000]
    assert len(waits) == RETRIES_MAX == 6


def test_lost_runs_do_not_count_and_their_waits_grow_up_to_a_bound() -> None:
    armed: Armed | None = SET
    waits = []
    for _ in range(14):
        assert armed is not None
        armed = after(armed, Outcome.LOST, 0, 0.0)
        assert armed is not None
        assert armed.counted == 0
        waits.append(armed.due_ms)
    assert waits == [2_000 << min(n, 9) for n in range(14)]


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.DROPPED])
def test_nothing_is_left(outcome: Outcome) -> None:
    assert after(Armed(5_000, 9_000, 3, 2), outcome, 10_000, 0.5) is None


@given(st.integers(0, 40), st.floats(0, 1))
def test_jitter_adds_up_to_a_quarter(retries: int, jitter: float) -> None:
    base = 2_000 << min(retries, 9)
    assert base <= delay_ms(retries, jitter) <= base * 1.25
    assert delay_ms(retries, 1.0) == base * 1.25


@given(st.lists(st.sampled_from([Outcome.RAISED, Outcome.LOST]), max_size=30))
def test_it_ends_with_the_seventh_run_that_raised_and_never_before(outcomes: list[Outcome]) -> None:
    armed: Armed | None = SET
    raised = 0
    for outcome in outcomes:
        assert armed is not None
        armed = after(armed, outcome, 0, 0.0)
        raised += outcome is Outcome.RAISED
        assert (armed is None) == (raised == 7)
        if armed is None:
            return
