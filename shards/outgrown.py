"""A shard that sleeps and is much larger than when it began to serve says so, and is given a new process (`renewing.py`).

Python's allocator returns an arena only when nothing in it is used, so little of what many objects have held goes back to the
system (decision 013). What always holds: nothing of a shard is lost by a renewal but what modules of its program hold in memory;
it is asked for only while no call, timer, alarm, stream, reference or operation is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..engine.freed import give_back

LOOK_S = 2.0
GROWTH_PART = 0.1
"""Growth of less than this part of what it began with is not worth a process."""
RESIDENTS_MAX = 16
UNMARKED_MAX = 64
CALLS_PER_S_MAX = 50.0
LOOKS = 2
"""In a row, each of them while the shard sleeps."""
_GIVE_BACK_S = 15.0
Report = Callable[[str, str, dict[str, object]], None]


@dataclass(frozen=True, slots=True)
class Rest:
    """What a shard does at one moment."""

    residents: int
    """Objects in memory."""
    may_leave: bool
    """Each of them could hibernate now."""
    owed: int
    """Calls, bodies, alarms, operations and references that are under way."""
    unmarked: int
    """Objects whose newest commits no mark covers, or that are to be recovered yet."""
    folding: bool
    """History is being written."""
    calls: int
    """Since the start."""

    def asleep(self, before: Rest | None, seconds: float) -> bool:
        """Whether it sleeps but for a few objects, and is free just now. `before`: what it was so many seconds ago."""
        return (
            before is not None
            and self.calls - before.calls <= CALLS_PER_S_MAX * seconds
            and self.residents <= RESIDENTS_MAX
            and self.unmarked <= UNMARKED_MAX
            and self.may_leave
            and not self.owed
            and not self.folding
        )


def is_outgrown(began_bytes: int, now_bytes: int, growth_bytes: int) -> bool:
    """Whether a shard is so much larger than when it began that a new process is worth it."""
    return now_bytes - began_bytes > max(growth_bytes, int(began_bytes * GROWTH_PART))


def identities(paths: Iterable[str]) -> dict[str, int]:
    """Path → which file that is, and of which state. For a thread."""
    found: dict[str, int] = {}
    for path in paths:
        with contextlib.suppress(OSError):  # in an archive, perhaps
            stat = os.stat(path)
            found[path] = hash((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found


def changed(before: Mapping[str, int]) -> str | None:
    """One of the files that are not as they were. For a thread."""
    now = identities(before)
    return next((path for path, state in before.items() if now.get(path) != state), None)


def imported_files() -> list[str]:
    """Of all modules."""
    found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [path for path in found if isinstance(path, str)]


class Outgrown:
    """Looks every two seconds. `rest()` is what the shard does now, `ask(mib, began_mib)` asks for a renewal: again each time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rest: Callable[[], Rest],
        resident: Callable[[], int],
        growth_bytes: int,
        files: Iterable[str],
        ask: Callable[[int, int], None],
        report: Report,
    ) -> None:
        """`files`: those that make up what the process runs. A renewal must bring no other code."""
        self._loop = loop
        self._rest = rest
        self._resident = resident
        self._growth = growth_bytes
        self._files = files
        self._ask = ask
        self._report = report
        self._gave_back_s: float | None = None
        self._in_vain = False
        """It was outgrown also after the last time."""
        self._told = False

    async def run(self) -> None:
        """Until cancelled. What is free goes back once at the start, and once when it first sleeps: that is no growth."""
        files = await self._loop.run_in_executor(None, identities, self._files)
        await self._loop.run_in_executor(None, give_back)
        began = self._resident()
        before, looks = None, 0
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._rest()
            looks = looks + 1 if now.asleep(before, LOOK_S) else 0
            before = now
            if looks >= LOOKS:
                try:
                    await self._look(began, files)
                except OSError as error:  # no descriptor is left, perhaps: that is no reason to end
                    self._report("warning", "not_renewed", {"error": str(error), "hint": "it is tried again"})

    async def _look(self, began: int, files: Mapping[str, int]) -> None:
        if self._gave_back_s is not None and not self._is_outgrown(began):
            return
        if self._gave_back_s is None or self._loop.time() - self._gave_back_s >= _GIVE_BACK_S:
            self._gave_back_s = self._loop.time()
            await self._loop.run_in_executor(None, give_back)
            self._in_vain = self._is_outgrown(began)
        if not self._in_vain:
            return
        newer = await self._loop.run_in_executor(None, changed, files)
        if newer is None:
            self._ask(self._resident() >> 20, began >> 20)
        elif not self._told:
            self._told = True
            hint = "the shard is larger than it need be; a new process would bring other code: `perdure reload`"
            self._report("info", "not_renewed", {"changed": newer, "hint": hint})

    def _is_outgrown(self, began: int) -> bool:
        return is_outgrown(began, self._resident(), self._growth)
