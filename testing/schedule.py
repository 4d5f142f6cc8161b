"""What one run of a simulation does with what the rules leave open: how long things take, who dies when, who sleeps.

What always holds: everything comes from the seed and from what the calm run has shown (`Survey`), so a run can be repeated; only
what may happen in production happens: calls through one stub stay in order, a process dies between two steps of its code and
never inside of one.

The plan. Seed 0 is the calm run: nothing takes time, nobody dies; it counts the points at which a process could die. Then every
second run dies at one of those points, each in turn, far ones first halved as in a binary search, so that few runs cover a long
test evenly. The others give each way, request and timer delays: a run has one temper (small jitter; few but long delays; some
ways slow throughout), since many small disorders hide what one large one shows. When all points were tried, deaths and delays go
together. Every fourth run, whatever else, has objects leave memory whenever they may.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .network import Receiver

KINDS = ("sync", "synced", "send", "arrive", "alarm", "reply", "hear")
"""Points at which a process may die: before and after a batch is synced; before a call of its objects leaves; when one arrives;
before an alarm runs; before an answer leaves; when an answer arrives."""


Delay = Callable[[str, object], float]
_SCALES_S = (0.0, 0.001, 0.03, 0.5)


class Victims(Protocol):
    """Who can be killed, and how."""

    def kill(self, process: Receiver, why: str) -> None: ...
    def cut_power(self) -> None: ...
    def let_sleep(self, process: Receiver, object_id: bytes) -> None: ...


@dataclass(slots=True)
class Survey:
    """What the calm run has shown."""

    points: int = 0
    """At how many moments a process could have died."""


def spread(number: int, count: int) -> int:
    """The `number`-th of `count` places, far apart first: the bits of the number reversed. Each comes once in any full turn."""
    width = max(count - 1, 1).bit_length()
    turn, place = divmod(number, count)
    seen = -1
    for candidate in range(1 << width):
        reversed_bits = int(format(candidate, f"0{width}b")[::-1], 2)
        if reversed_bits < count:
            seen += 1
            if seen == place:
                return (reversed_bits + turn) % count
    raise AssertionError("each place has its number")


class Explorer:
    """Implements Schedule for one seed."""

    def __init__(self, seed: int, survey: Survey, *, crashes: bool) -> None:
        self.rng = random.Random(seed * 7_919 + 1)
        self.victims: Victims | None = None
        self.points = 0
        self._seed = seed
        self._calm = seed == 0
        self._dies_at: dict[int, bool] = {}
        """Point → whether the power fails there."""
        self._delay: Delay = _none
        self._sleepy = 0.0
        if not self._calm:
            self._plan(seed, survey, crashes)

    def _plan(self, seed: int, survey: Survey, crashes: bool) -> None:
        rng = self.rng
        dies = crashes and survey.points > 0 and seed % 2 == 0
        number = seed // 2 - 1
        if dies:
            self._dies_at[spread(number, survey.points)] = rng.random() < 0.2
            while rng.random() < 0.25:
                self._dies_at[rng.randrange(survey.points * 2)] = rng.random() < 0.2
        if not dies or number >= survey.points or rng.random() < 0.25:
            self._delay = rng.choice([self._jitter, self._few, self._slow_kinds, self._slow_ways, self._slow_ways])()
        if seed % 4 == 3 or (dies and seed % 8 == 4):
            self._sleepy = rng.choice([0.3, 1.0])

    # ------------------------------------------------------------------ tempers
    def _jitter(self) -> Delay:
        """Everything takes up to some milliseconds."""
        rng, most = self.rng, self.rng.choice([0.002, 0.02, 0.2])
        return lambda _kind, _way: rng.random() * most

    def _few(self) -> Delay:
        """One thing in some takes long."""
        rng, part, most = self.rng, self.rng.choice([0.1, 0.3]), self.rng.choice([0.05, 2.0])
        return lambda _kind, _way: rng.random() * most if rng.random() < part else 0.0

    def _slow_kinds(self) -> Delay:
        """Calls are fast and answers slow, or otherwise, each with some jitter."""
        rng = self.rng
        scale = {kind: rng.choice(_SCALES_S) for kind in ("call", "reply", "request", "timer", "alarm")}
        return lambda kind, _way: rng.random() * scale[kind]

    def _slow_ways(self) -> Delay:
        """Each way has a speed of its own, throughout: what overtakes what then goes through a whole run."""
        rng = self.rng
        scale: dict[object, float] = {}

        def delay(_kind: str, way: object) -> float:
            found = scale.get(way)
            if found is None:
                found = scale[way] = rng.choice(_SCALES_S)
            return found * (0.5 + rng.random() / 2)

        return delay

    # ------------------------------------------------------------------ Schedule
    def delay(self, kind: str, way: object) -> float:
        return self._delay(kind, way)

    def lateness(self) -> float:
        """Of a timer, in seconds."""
        return self._delay("timer", "timer")

    def point(self, kind: str, process: Receiver) -> None:
        """A process could die here, between two steps of its code."""
        number = self.points
        self.points += 1
        power = self._dies_at.get(number)
        if power is None or self.victims is None or not process.alive:
            return
        if power:
            self.victims.cut_power()
        else:
            self.victims.kill(process, f"by the simulation, at point {number} ({kind})")

    def may_sleep(self, process: Receiver, object_id: bytes) -> None:
        """An event is about to reach an object: it may have left memory before."""
        if self._sleepy and self.rng.random() < self._sleepy and self.victims is not None:
            self.victims.let_sleep(process, object_id)


def _none(_kind: str, _way: object) -> float:
    return 0.0
