"""Armed ⇒ eventually fired, never early: over kills, restarts, slots dealt anew, lost catalogues and steps of the clock."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from perdure.shards.alarm_window import Window
from perdure.shards.alarms import Alarms
from perdure.testing.disk import SimDisk

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


# ---------------------------------------------------------------------- lost power
class Powered(World):
    """On a disk that forgets what was not synced. What happens after a cut has never happened."""

    def __init__(self, folder: str, seed: int, disk: type[SimDisk] = SimDisk) -> None:
        super().__init__(f"{folder}/0")
        self.rng = random.Random(seed)
        self.whole = folder
        self._disk = disk(self.folder)
        self._disk.make_folder(self.folder)
        self.cuts = 0
        self.after: SimDisk | None = None
        self._rang_before = 0

    def disk(self) -> SimDisk:
        return self._disk

    def cut_soon(self) -> None:
        """At one of the next writes and syncs."""
        self._disk.cut_at = self._disk.events + self.rng.randrange(1, 120)
        self._disk.on_cut = self.cut

    def cut(self) -> None:
        if self.after is not None:
            return
        self.cuts += 1
        self.after = self._disk.crash(f"{self.whole}/{self.cuts}", self.rng, power=self.rng.random() < 0.7)
        self._rang_before = len(self.rang)
        if self.rng.random() < 0.7:  # written by SQLite, which syncs; or lost altogether, and made anew
            shutil.copytree(f"{self.folder}/catalogue", f"{self.whole}/{self.cuts}/catalogue")

    def restart(self) -> None:
        """On what the cut has left."""
        self.cut()
        assert self.after is not None
        self.kill()
        self._disk.close_vfs()
        self._disk, self.after = self.after, None
        self.folder = self._disk.root
        del self.rang[self._rang_before :]
        self.start()
        self.rebuild()


def tell_of_cuts(folder: str, seed: int, disk: type[SimDisk] = SimDisk, cuts: int = 4) -> None:
    """Raises AssertionError when what was promised is not kept."""
    world = Powered(folder, seed, disk)
    rng = world.rng
    told = Told(world)

    async def act() -> None:
        name, chance = rng.choice(NAMES[:4]), rng.random()
        before = told.armed.pop(name, None)
        if chance < 0.4:
            due_ms = await world.arm(name, rng.choice([0.5, 3.0, 30.0, 70.0, 400.0]))
            before = due_ms if world.after is None else None  # which of the two is there, nobody was told
        elif chance < 0.5:
            await world.do(name, lambda ctx: ctx.storage.deleteAlarm() and None)
            before = None
        elif chance < 0.7:
            await world.cycle()
        elif chance < 0.8:
            world.evict()
        elif chance < 0.85 and world.after is None:
            await world.hand_over()
        else:
            await world.wait(rng.choice([0.25, 2.5, 20.0, 90.0]))
        if before is not None:
            told.armed[name] = before

    async def body(_world: World) -> None:
        for _ in range(cuts):
            world.cut_soon()
            for _ in range(12):
                if world.after is None:
                    await act()
            world.restart()
        last_ms = max(told.armed.values(), default=0)
        await world.wait(max(last_ms - world.clock.now_ms(), 0) / 1000 + RETRIES_S)
        told.check()

    try:
        world.run(body)
    finally:
        world.disk().close_vfs()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_armed_is_fired_over_lost_power(folders) -> None:
    for seed in range(12):
        tell_of_cuts(next(folders), seed)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", range(8))
def test_armed_is_fired_over_lost_power_long(folders, block: int) -> None:
    for seed in range(1_000 + block * 100, 1_100 + block * 100):
        tell_of_cuts(next(folders), seed, cuts=6)


class NeverSynced(SimDisk):
    syncs = False


@pytest.mark.slow
def test_a_twin_that_never_syncs_loses_alarms(folders) -> None:
    with pytest.raises(AssertionError, match="never fired"):
        for seed in range(40):
            tell_of_cuts(next(folders), seed, NeverSynced)


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
