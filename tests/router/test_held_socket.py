"""Numbering of one socket's messages, whatever is acknowledged, refused or lost when: all arrive, in order, within the window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from perdure.engine.socket_calls import MESSAGE
from perdure.router.held_socket import IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, Numbered

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 200_000)),
        st.tuples(st.just("send"), st.just(0)),
        st.tuples(st.just("acknowledge"), st.integers(0, 80)),
        st.tuples(st.just("go back"), st.integers(0, 80)),
    ),
    max_size=60,
)


class Object:
    """Runs an event when the one before it, if that is not acknowledged, has begun here; forgets all with its process."""

    def __init__(self) -> None:
        self.begun = 0

    def takes(self, number: int, after: int) -> bool:
        assert after <= self.begun, "no gap"
        self.begun = max(self.begun, number)
        return True


def send(messages: Numbered, there: Object) -> None:
    for kept, before in messages.due():
        earlier = [number for number in messages.kept if number < kept.number]
        assert before == (max(earlier) if earlier else 0)
        assert there.takes(kept.number, before)
    flying = [kept for kept in messages.kept.values() if kept.sent]
    assert len(flying) <= IN_FLIGHT_MAX
    assert sum(kept.size for kept in flying[:-1]) <= IN_FLIGHT_BYTES_MAX
    unsent = [kept.number for kept in messages.kept.values() if not kept.sent]
    assert not flying or not unsent or flying[-1].number < unsent[0], (
        "nothing is sent after one that must be sent again"
    )


@given(STEPS)
def test_all_are_sent_in_order_within_the_window_and_none_after_one_that_must_come_again(steps):
    messages, there, taken, acknowledged = Numbered(), Object(), 0, set[int]()
    for what, value in steps:
        if what == "take":
            taken += 1
            assert messages.take(MESSAGE, "x" * value).number == taken
        elif what == "send":
            send(messages, there)
        elif what == "acknowledge":
            sent = [kept.number for kept in messages.kept.values() if kept.sent]
            if sent:
                number = sent[value % len(sent)]
                assert messages.acknowledge(number) is not None
                assert messages.acknowledge(number) is None
                acknowledged.add(number)
        else:
            messages.go_back(value)
            there.begun = min(there.begun, max(value - 1, 0)) if value else 0
        assert list(messages.kept) == [number for number in range(1, taken + 1) if number not in acknowledged]
        prefix = next((n for n in range(1, taken + 1) if n not in acknowledged), taken + 1) - 1
        assert messages.acknowledged == prefix
    for _ in range(taken + 1):
        send(messages, there)
        for number in [kept.number for kept in messages.kept.values() if kept.sent]:
            messages.acknowledge(number)
    assert not messages.kept
    assert messages.roomy
    assert not messages.full
