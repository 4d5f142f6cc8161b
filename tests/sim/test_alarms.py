"""Armed ⇒ eventually fired, never early: over kills, restarts, slots dealt anew, lost catalogues and steps of the clock."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from perdure.shards.alarm_window import Window
from perdure.shards.alarms import Alarms

from ..shards.ringing import NAMES, World

names = st.sampled_from(NAMES[:4])
actions = st.one_of(
    st.tuples(st.just("arm"), names, st.sampled_from([0.5, 3.0, 30.0, 70.0, 400.0])),
    st.tuples(st.just("arm"), names, st.sampled_from([0.5, 3.0, 30.0, 70.0, 400.0])),
    st.tuples(st.just("disarm"), names),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 2.5, 20.0, 90.0])),
    st.tuples(st.just("cycle")),
    st.tuples(st.just("evict")),
    st.tuples(st.just("kill"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("hand over")),
    st.tuples(st.just("step"), st.sampled_from([-50.0, -3.0, 5.0, 100.0])),
    st.tuples(st.just("fail"), names, st.integers(1, 3)),
)
stories = st.lists(actions, min_size=1, max_size=12)
RETRIES_S = 200.0
"""Longer than the retries of one alarm may take."""


class Told:
    """What the objects' callers were told, and what they may expect of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.armed: dict[str, int] = {}

    async def act(self, action: tuple[Any, ...]) -> None:
        world = self.world
        match action:
            case ("arm", name, seconds):
                self.armed.pop(name, None)
                self.armed[name] = await world.arm(name, seconds)
            case ("disarm", name):
                self.armed.pop(name, None)
                await world.do(name, lambda ctx: ctx.storage.deleteAlarm() and None)
            case ("wait", seconds):
                await world.wait(seconds)
            case ("cycle",):
                await world.cycle()
            case ("evict",):
                world.evict()
            case ("kill", shards, loses):
                world.kill()
                if loses:
                    world.lose_catalogue()
                world.start(shards)
                if loses:
                    world.rebuild()
            case ("hand over",):
                await world.hand_over()
            case ("step", seconds):
                world.clock.offset_s += seconds
            case ("fail", name, times):
                world.behaviour[name] = fail(times)
            case _:
                raise AssertionError(action)

    def check(self) -> None:
        rang = self.world.rang
        for name, at_ms, info in rang:
            assert at_ms >= info.scheduledTime, f"{name} fired {info.scheduledTime - at_ms} ms early"
        for name, due_ms in self.armed.items():
            assert (name, due_ms) in {(found, info.scheduledTime) for found, _, info in rang}, f"{name} never fired"


def fail(times: int) -> Callable[[Any], None]:
    """Raises the first times that it is called."""
    left = iter(range(times))

    def behaviour(ctx: Any) -> None:
        if next(left, None) is not None:
            raise ValueError("as the story wants")

    return behaviour


def tell(folder: str, story: list[tuple[Any, ...]]) -> None:
    """Raises AssertionError when what was promised is not kept."""

    async def body(world: World) -> None:
        told = Told(world)
        for action in story:
            await told.act(action)
        last_ms = max(told.armed.values(), default=0)
        await world.wait(max(last_ms - world.clock.now_ms(), 0) / 1000 + RETRIES_S)
        told.check()

    try:
        World(folder).run(body)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


QUICK = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)


@pytest.fixture
def folders(tmp_path) -> Iterator[str]:
    """A new folder for each story."""
    return (f"{tmp_path}/{number}" for number in itertools.count())


@pytest.mark.slow
def test_armed_is_fired_and_never_early(folders) -> None:
    @QUICK
    @given(stories)
    def told(story: list[tuple[Any, ...]]) -> None:
        tell(next(folders), story)

    told()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_armed_is_fired_and_never_early_long(folders) -> None:
    @settings(QUICK, max_examples=600, derandomize=False, phases=(Phase.generate, Phase.shrink))
    @given(stories)
    def told(story: list[tuple[Any, ...]]) -> None:
        tell(next(folders), story)

    told()


def caught(folders: Iterator[str]) -> str:
    """What the first story says that a broken twin does not survive. Raises NoSuchExample when all do."""
    said: list[str] = []

    def breaks(story: list[tuple[Any, ...]]) -> bool:
        try:
            tell(next(folders), story)
        except AssertionError as error:
            said.append(str(error))
            return True
        return False

    find(stories, breaks, settings=settings(QUICK, max_examples=200))
    return said[0]


@pytest.mark.slow
def test_a_twin_that_forgets_what_only_the_logs_know_is_caught(folders, monkeypatch) -> None:
    monkeypatch.setattr(Alarms, "_in_logs", lambda self: ())
    assert "never fired" in caught(folders)


@pytest.mark.slow
def test_a_twin_that_fires_early_is_caught(folders, monkeypatch) -> None:
    deliver, take = Alarms._deliver, Window.take
    monkeypatch.setattr(Alarms, "_deliver", lambda self, run, forced=True: deliver(self, run, forced=True))
    monkeypatch.setattr(Window, "take", lambda self, now_ms: take(self, now_ms + 2_000))
    assert "early" in caught(folders)
