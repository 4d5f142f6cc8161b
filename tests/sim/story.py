"""A story of a shard: turns of its objects, time, marks, evictions, crashes, and what must hold after each.

What always holds: a story depends on nothing but itself, so a failing one can be shrunk and told again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from perdure.engine.errors import ObjectReset, PerdureError
from perdure.engine.limits import Limits
from perdure.testing.disk import SimDisk

from .machine import Machine
from .model import ALARM, Model, Wrong
from .programs import Expected, Programmed, crowded_turns, turns

LIMITS = Limits(segment_bytes=48 << 10, log_bytes_max=400 << 10, log_page_images_max=400, wal_bytes_checkpoint=64 << 10)
NAMES = ["o0", "o1"]
RESTART_S = 0.125
LAST_TRAVELS = 3
"""How many bookmarks of each object are gone back to at the end."""

names = st.sampled_from(NAMES)
actions = st.one_of(
    st.tuples(st.just("turns"), st.lists(st.tuples(names, turns), min_size=1, max_size=3)),
    st.tuples(st.just("turns"), st.lists(st.tuples(names, turns), min_size=1, max_size=3)),
    st.tuples(st.just("bookmark"), names),
    st.tuples(st.just("moment"), names, st.integers(0, 5)),
    st.tuples(st.just("travel"), names, st.integers(0, 5), st.sampled_from(["abort", "abort", "return"])),
    st.tuples(st.just("pass"), st.sampled_from([0.125, 5.0, 40.0])),
    st.tuples(st.just("cycle"), st.booleans()),
    st.tuples(st.just("evict")),
)


@dataclass(frozen=True)
class Session:
    """From a start to a crash: at the disk event `cut` (0: when all is done), a power cut or a kill."""

    actions: list[Any]
    cut: int
    power: bool
    seed: int


sessions = st.builds(
    Session,
    st.lists(actions, max_size=6),
    st.one_of(st.just(0), st.integers(1, 60), st.integers(1, 300)),
    st.booleans(),
    st.integers(0, 1 << 16),
)
stories = st.lists(sessions, min_size=1, max_size=4)
crowds = st.builds(
    lambda events: [Session([("turns", events)], 0, False, 0)],
    st.lists(st.tuples(st.just(NAMES[0]), crowded_turns), min_size=2, max_size=5),
)
"""Several turns of one object in one loop round, and no crash."""


@dataclass(eq=False)
class Script:
    """What an event is to do. `confirmed`: the version that its reply stands for."""

    model: Model
    steps: list[Any]
    end: str
    confirmed: int = 0


class Story:
    """Plays sessions on one data folder after the other."""

    def __init__(self, folder: str, disk: type[SimDisk] = SimDisk) -> None:
        self.folder = folder
        self.number = 0
        self.disk = disk(f"{folder}/0")
        self.disk.make_folder(f"{folder}/0")
        self.models = {name: Model() for name in NAMES}
        self.scripts: list[Script] = []
        self.wrong: list[Wrong] = []
        self.clock_s = 1_000.0
        self.after: SimDisk | None = None
        self.models_after: dict[str, Model] = {}
        self.alarms: dict[bytes, int] = {}
        """Object → what the last durable record of this session says of its alarm."""
        self.machine: Machine | None = None
        Programmed.STORY = self

    # ------------------------------------------------------------------ what programs ask
    def now_ms(self) -> int:
        return int(self.clock_s * 1000)

    def begun(self, name: str) -> None:
        self.models[name].begun(self.now_ms())

    def acknowledge(self, model: Model, version: int) -> None:
        model.acknowledged = max(model.acknowledged, version)

    # ------------------------------------------------------------------ sessions
    async def play(self, sessions: list[Session]) -> None:
        """Raises Wrong, or what broke."""
        try:
            for session in sessions:
                await self.session(session)
            await self.session(Session([("travels",)], 0, False, 0))
        finally:
            self.close()

    def close(self) -> None:
        if self.machine is not None:
            for instance in self.machine.residents._by_id.values():  # else who waits at a gate would wait on
                instance.broken = instance.broken or ObjectReset("the story is over")
            self.machine.abandon()
            self.machine = None
        else:
            for fd in list(self.disk._open):
                self.disk.close(fd)
        shutil.rmtree(self.disk.root)
        self.disk.close_vfs()

    async def session(self, session: Session) -> None:
        self.after = None
        self.disk.cut_at = self.disk.events + session.cut if session.cut else -1
        self.disk.on_cut = lambda: self.crash(session)
        try:
            await self.act(session)
        except PerdureError:
            if self.after is None:
                raise
        if self.after is None:
            self.crash(session)
        assert self.after is not None
        self.close()
        self.disk, self.models = self.after, self.models_after

    def crash(self, session: Session) -> None:
        """The disk and the models as the next start finds them. What happens later has never happened."""
        self.number += 1
        root = f"{self.folder}/{self.number}"
        self.after = self.disk.crash(root, random.Random(session.seed), power=session.power)
        if os.path.isdir(f"{self.disk.root}/history"):  # SQLite files, synced by SQLite: what is written is there
            shutil.copytree(f"{self.disk.root}/history", f"{root}/history")
        self.models_after = {name: model.crashed() for name, model in self.models.items()}

    async def act(self, session: Session) -> None:
        self.alarms = {}
        machine = self.machine = Machine(self.disk, self.number + 1, LIMITS, cls=Programmed)
        self.clock_s += RESTART_S
        machine.clock.s = machine.residents.now_s = self.clock_s
        self.watch_alarms(machine)
        for name in NAMES:
            await self.run(machine, [(name, ([("compare",)], "return"))])
        for action in session.actions:
            if self.after is not None:
                return
            await getattr(self, f"act_{action[0]}")(machine, *action[1:])
            if machine.stopped.done() and self.after is None:
                raise machine.stopped.result()
        if self.after is None:
            await self.all_durable(machine)
            for name in NAMES:
                await self.run(machine, [(name, ([("compare",)], "return"))])
                self.check_alarm(machine, name)

    def watch_alarms(self, machine: Machine) -> None:
        committed = machine.committer._committed

        def watched(record, segment) -> None:
            committed(record, segment)
            if record.alarm_ms is not None:
                self.alarms[record.object_id] = record.alarm_ms

        machine.committer._committed = watched

    def check_alarm(self, machine: Machine, name: str) -> None:
        """The last record that spoke of the alarm says what is in the file."""
        said = self.alarms.get(machine.id_of(name))
        there = self.models[name].state.get(ALARM, 0)
        if said is not None and said != there and self.after is None:
            raise Wrong(f"the log says of {name}'s alarm {said}, its file {there}")

    async def run(self, machine: Machine, events: list[Any]) -> None:
        """Deliver events at once and wait for all."""
        sent: list[tuple[Script, asyncio.Future[object]]] = []
        aborts = {name for name, (_, end) in events if end == "abort"}
        for name, (steps, end) in events:
            script = Script(self.models[name], steps, end)
            self.scripts.append(script)
            sent.append((script, machine.call(name, "run", len(self.scripts) - 1)))
        answers = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        if self.wrong:
            raise self.wrong[0]
        for (name, _), (script, _), answer in zip(events, sent, answers, strict=True):
            if isinstance(answer, ObjectReset) and name in aborts:
                continue
            if isinstance(answer, BaseException) and not (script.end == "raise" and Expected.__name__ in str(answer)):
                raise answer
            self.acknowledge(script.model, script.confirmed)

    async def all_durable(self, machine: Machine) -> None:
        while machine.residents.turns.newest_batch > machine.committer.durable() and not machine.stopped.done():
            await asyncio.sleep(0)

    # ------------------------------------------------------------------ actions
    async def act_turns(self, machine: Machine, events: list[Any]) -> None:
        await self.run(machine, events)

    async def act_bookmark(self, machine: Machine, name: str) -> None:
        await self.run(machine, [(name, ([("bookmark",)], "return"))])

    async def act_moment(self, machine: Machine, name: str, which: int) -> None:
        """Of a version that there was, or of the moment before the next one."""
        times = [time_ms for time_ms in self.models[name].times() if time_ms < self.now_ms()]
        if times:
            time_ms = times[which % len(times)]
            await self.run(machine, [(name, ([("time", time_ms + which % 2)], "return"))])

    async def act_travel(self, machine: Machine, name: str, which: int, end: str) -> None:
        seen = [seen for seen in self.models[name].bookmarks if seen.state is not None]
        if seen:
            await self.run(machine, [(name, ([("travel", seen[which % len(seen)])], end))])
            if end == "abort":
                self.alarms.pop(machine.id_of(name), None)
                await self.run(machine, [(name, ([("compare",)], "return"))])

    async def act_pass(self, machine: Machine, seconds: float) -> None:
        await self.all_durable(machine)
        self.clock_s += seconds
        machine.clock.s = machine.residents.now_s = self.clock_s

    async def act_cycle(self, machine: Machine, everything: bool) -> None:
        await machine.marker.cycle(everything=everything)

    async def act_evict(self, machine: Machine) -> None:
        for instance in list(machine.residents._by_id.values()):
            if instance.quiet():
                machine.residents._evict(instance)
                self.alarms.pop(instance.object_id, None)

    async def act_travels(self, machine: Machine) -> None:
        """At the end: the newest bookmarks still are what they were."""
        for name in NAMES:
            for which in range(min(len(self.models[name].bookmarks), LAST_TRAVELS)):
                await self.act_travel(machine, name, -1 - which, "abort")


def play(story: list[Session], folder: str, disk: type[SimDisk] = SimDisk) -> None:
    """Raises Wrong when the real thing and the model part."""

    async def run() -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        os.makedirs(folder)
        await Story(folder, disk).play(story)

    asyncio.run(run())
