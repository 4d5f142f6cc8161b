"""The decisions of a hand-off: every order of events, deaths at each step included."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.shards.handoff import Effect, Event, HandOff, Stage, begin, on_event


def run(*events: Event) -> tuple[HandOff, list[Effect]]:
    state, effects = begin()
    done = list(effects)
    for event in events:
        state, effects = on_event(state, event)
        done += effects
    return state, done


def test_the_plain_way() -> None:
    state, effects = run(Event.MARKED, Event.RELEASED, Event.SERVES)
    assert state.stage is Stage.DONE
    assert effects == [Effect.ASK_TO_MARK, Effect.ASK_TO_RELEASE, Effect.BEGIN_NEW]


@pytest.mark.parametrize(
    ("events", "stage", "effects"),
    [
        # the old one dies: the new one recovers its log
        ((Event.OLD_DIED,), Stage.STARTING, [Effect.BEGIN_NEW]),
        ((Event.MARKED, Event.OLD_DIED), Stage.STARTING, [Effect.ASK_TO_RELEASE, Effect.BEGIN_NEW]),
        ((Event.MARKED, Event.RELEASED, Event.OLD_DIED), Stage.STARTING, [Effect.ASK_TO_RELEASE, Effect.BEGIN_NEW]),
        # it does not release in time: it is killed, and only its death lets the new one begin
        ((Event.TOO_LATE, Event.TOO_LATE), Stage.RELEASING, [Effect.ASK_TO_RELEASE, Effect.KILL_OLD]),
        (
            (Event.TOO_LATE, Event.TOO_LATE, Event.OLD_DIED),
            Stage.STARTING,
            [Effect.ASK_TO_RELEASE, Effect.KILL_OLD, Effect.BEGIN_NEW],
        ),
        # who stood by dies before the release: the old one serves until another one stands by
        ((Event.STANDBY_DIED, Event.MARKED), Stage.WAITING, [Effect.START_STANDBY]),
        (
            (Event.STANDBY_DIED, Event.MARKED, Event.STANDBY_READY),
            Stage.RELEASING,
            [Effect.START_STANDBY, Effect.ASK_TO_RELEASE],
        ),
        # … and after it was asked to: its code never serves again
        ((Event.MARKED, Event.STANDBY_DIED, Event.RELEASED), Stage.FREE, [Effect.ASK_TO_RELEASE, Effect.START_STANDBY]),
        (
            (Event.MARKED, Event.STANDBY_DIED, Event.RELEASED, Event.STANDBY_DIED, Event.STANDBY_READY),
            Stage.STARTING,
            [Effect.ASK_TO_RELEASE, Effect.START_STANDBY, Effect.START_STANDBY, Effect.BEGIN_NEW],
        ),
        # both die
        (
            (Event.STANDBY_DIED, Event.OLD_DIED, Event.STANDBY_READY, Event.SERVES),
            Stage.DONE,
            [Effect.START_STANDBY, Effect.BEGIN_NEW],
        ),
        # the new code never serves
        ((Event.MARKED, Event.RELEASED, Event.GIVEN_UP), Stage.FAILED, [Effect.ASK_TO_RELEASE, Effect.BEGIN_NEW]),
    ],
)
def test_deaths_at_each_step(events: tuple[Event, ...], stage: Stage, effects: list[Effect]) -> None:
    state, done = run(*events)
    assert (state.stage, done) == (stage, [Effect.ASK_TO_MARK, *effects])


@given(st.lists(st.sampled_from(list(Event)), max_size=12))
def test_what_always_holds(events: list[Event]) -> None:
    state, _ = begin()
    ended = asked = False
    begun = 0
    for event in events:
        before = state
        state, effects = on_event(state, event)
        ended = ended or event in (Event.RELEASED, Event.OLD_DIED)
        begun += Effect.BEGIN_NEW in effects
        assert not begun or ended, "the new one began while the old one had the slots"
        assert begun <= 1
        assert not (asked and Effect.ASK_TO_RELEASE in effects), "asked twice"
        asked = asked or Effect.ASK_TO_RELEASE in effects
        if Effect.ASK_TO_RELEASE in effects or Effect.BEGIN_NEW in effects:
            assert state.standby
        if before.stage in (Stage.DONE, Stage.FAILED):
            assert state == before


def test_every_stage_ends_when_processes_behave() -> None:
    """From wherever deaths have led, a ready standby, a release and a first service lead to the end."""
    happy = (Event.STANDBY_READY, Event.MARKED, Event.RELEASED, Event.STANDBY_READY, Event.SERVES)
    deaths = (Event.OLD_DIED, Event.STANDBY_DIED, Event.TOO_LATE, Event.RELEASED, Event.MARKED)
    for count in range(4):
        for before in itertools.product(deaths, repeat=count):
            state, _ = run(*before, *happy, *happy)
            assert state.stage is Stage.DONE, before
