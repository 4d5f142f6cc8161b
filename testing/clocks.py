"""The two clocks of a world: the system's, which only its loop moves, and the wall clock, which may be set.

What always holds: both stand still while code runs; the program's `time.time()`, `datetime.now()` and its relatives are the wall
clock; a run's randomness (`random`, `secrets`, `uuid`, `os.urandom`) comes from its seed.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn, cast

from ..engine.errors import ConfigError, ProgramBug
from .virtual import VirtualLoop

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""When a world begins that is told nothing else."""
_BOOTED_S = 1_000.0
"""A machine is up for some time when the first shard starts: 0 stands for "never" here and there."""
_US = datetime.timedelta(microseconds=1)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class WorldClock:
    """Implements the engine's Clock over a virtual loop."""

    def __init__(self, loop: VirtualLoop, start: datetime.datetime) -> None:
        self._loop = loop
        self._start_us = (start - _EPOCH) // _US
        self._step_us = 0

    def now_us(self) -> int:
        """Wall time in microseconds since the epoch."""
        return self._start_us + self._step_us + round(self._loop.now_s * 1e6)

    def now_ms(self) -> int:
        return self.now_us() // 1000

    def monotonic_s(self) -> float:
        return _BOOTED_S + self._loop.now_s

    def now(self) -> datetime.datetime:
        """Wall time, in UTC."""
        return _EPOCH + self.now_us() * _US

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back."""
        self._step_us += round(seconds * 1e6)

    def loop_time(self, wall_ms: float) -> float:
        """When the loop will be at that wall time, if nobody sets the clock."""
        return (wall_ms * 1000 - self._start_us - self._step_us) / 1e6


class Shown:
    """What programs see of the wall clock while a world runs: the process's clock is put on it."""

    def __init__(self, clock: WorldClock) -> None:
        try:
            import time_machine
        except ImportError as error:
            raise ConfigError("perdure.testing needs time-machine", hint="pip install 'perdure[testing]'") from error
        self._clock = clock
        self._travel = time_machine.travel(clock.now(), tick=False)
        self._traveller = self._travel.start()
        self._us = clock.now_us()

    def follow(self) -> None:
        """The clock has moved."""
        now_us = self._clock.now_us()
        self._traveller.shift((now_us - self._us) * _US)
        self._us = now_us

    def stop(self) -> None:
        self._travel.stop()


# ---------------------------------------------------------------------- what a program must not do, or not find
def _refuse_sleep(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        """`time.sleep`, but not on the loop of a world."""
        if isinstance(asyncio._get_running_loop(), VirtualLoop):
            _blocks(seconds)
        real(seconds)

    return sleep


def _blocks(seconds: float) -> NoReturn:
    raise ProgramBug(
        f"time.sleep({seconds:g}) stops everything that runs in this process: all objects of the shard, not this one only",
        hint="use `await asyncio.sleep(...)`: in a test it costs no time",
    )


@contextmanager
def replaced(seed: int) -> Generator[None, None, None]:
    """Inside, `time.sleep` refuses, and all randomness of the process comes from `seed`."""
    rng = random.Random(seed)
    state = random.getstate()
    real_sleep, real_urandom = time.sleep, os.urandom
    held = cast("object", random.__dict__["_urandom"])
    time.sleep = _refuse_sleep(real_sleep)
    os.urandom = rng.randbytes
    random.__dict__["_urandom"] = rng.randbytes
    random.seed(seed)
    try:
        yield
    finally:
        time.sleep, os.urandom = real_sleep, real_urandom
        random.__dict__["_urandom"] = held
        random.setstate(state)
