"""A session of a shard in this process, on a real folder: objects that run what a test hands them, and a past.

`async with Session.on(folder) as session: await session.do(script, ...)`. A script gets the object's `ctx`. Time stands still
unless a test moves it.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from perdure.engine.disk import LocalDisk
from perdure.engine.errors import PerdureError
from perdure.engine.limits import Limits

from ..engine.box import RESULTS, SCRIPTS, Alarmed
from ..sim.machine import KEY, Machine


def on_a_loop(test: Callable[..., object]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own."""

    @functools.wraps(test)
    def run(*args: object, **fixtures: object) -> None:
        asyncio.run(test(*args, **fixtures))  # type: ignore[arg-type]

    return run


class RealDisk(LocalDisk):
    """What the machine asks of a simulated one."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root
        self._open = ()

    def is_full(self) -> bool:
        return False


class Session:
    """Sessions of one data folder, one after the other."""

    def __init__(self, root: str, limits: Limits | None = None) -> None:
        self.root = root
        self.limits = limits or Limits(segment_bytes=256 << 10)
        self.number = 0
        self.calls = 0
        self.machine: Machine
        os.makedirs(root, exist_ok=True)
        self.start()

    @classmethod
    @asynccontextmanager
    async def on(cls, root: object, limits: Limits | None = None) -> AsyncIterator[Session]:
        session = cls(str(root), limits)
        try:
            yield session
        finally:
            session.machine.abandon()

    def start(self, seconds: float = 1_000.0) -> None:
        self.number += 1
        self.machine = Machine(RealDisk(self.root), self.number, self.limits, cls=Alarmed)  # type: ignore[arg-type]
        self.machine.clock.s = seconds

    async def restart(self, *, kill: bool = False, seconds: float | None = None) -> None:
        """The process ends, cleanly or by a kill, and another one begins. `seconds`: what its clock says."""
        machine = self.machine
        if not kill:
            machine.residents.close_all()
            await machine.committer.flush()
            await machine.emptied.finish(5.0)
            assert await machine.marker.close()
            machine.log.close(clean=True)
        machine.abandon(ended=not kill)
        self.start(machine.clock.s if seconds is None else seconds)

    def pass_time(self, seconds: float) -> None:
        """Time goes on, for the coarse clock too."""
        self.machine.clock.s += seconds
        self.machine.residents.now_s = self.machine.clock.s

    async def cycle(self) -> None:
        """Mark everything, fold what can go, recover what is dead."""
        marker = self.machine.marker
        await marker.cycle(everything=True)
        for task in (marker._folding, marker._dead_folding):
            if task is not None:
                await task
        await marker.cycle(everything=True)

    # ------------------------------------------------------------------ objects
    def send(self, script: Callable[..., object], *args: object, name: str = "a") -> asyncio.Future[object]:
        """Run a script as an event; a future of nothing."""
        self.calls += 1
        number = id(self) + self.calls
        SCRIPTS[number] = (script, args)
        future = self.machine.call(name, "do", number)
        future.number = number  # type: ignore[attr-defined]
        return future

    async def do(self, script: Callable[..., object], *args: object, name: str = "a"):
        """Run a script as an event; what it returned."""
        future = self.send(script, *args, name=name)
        await future
        return RESULTS.pop(future.number)  # type: ignore[attr-defined]

    async def abort(self, name: str = "a") -> None:
        """End the object's instance."""
        try:
            await self.do(lambda ctx: ctx.abort(), name=name)
        except PerdureError as error:
            assert error.durableObjectReset

    def evict(self, name: str = "a") -> None:
        residents = self.machine.residents
        residents._evict(residents._by_id[self.id(name)])

    async def emptied(self) -> None:
        """Until the files of emptied objects are gone."""
        task = self.machine.emptied._task
        if task is not None:
            await task

    @staticmethod
    def id(name: str = "a") -> bytes:
        return KEY.id_from_name(name)

    def path(self, name: str = "a") -> str:
        return self.machine.files.path(KEY, self.id(name))

    def has_file(self, name: str = "a") -> bool:
        return os.path.exists(self.path(name))

    def said(self, event: str) -> list[dict[str, object]]:
        """What was logged under that name."""
        return [fields for _, found, fields in self.machine.reports if found == event]
