"""Processes that stand by take over shards from those that serve: what a reload and a renewal have in common.

stand by (the program is imported, nothing else) → hand off. What always holds: nothing changes before the new process has
imported the program; what goes wrong before that leaves everything as it is; one succession at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from ..engine.errors import ConfigError, PerdureError, from_wire
from ..engine.shutting_down import Reason
from ..router.control import Message
from .children import Child, Phase
from .handoff import Effect, Event, HandOff, Stage, begin, on_event
from .restarts import Restarts

IMPORT_S_MAX = 60.0
START_S_MAX = 60.0
"""For a shard that is just being started again, which is by its own rules."""
MARK_S_MAX = 10.0
RELEASE_S_MAX = 20.0
"""With 10 s of `preShutdown`, and beyond what running events get: then the old process is killed, and its log recovered."""
Tell = Callable[..., None]


class Processes(Protocol):
    """What a succession needs of the supervisor."""

    shards: dict[int, Child]
    gateways: dict[int, Child]

    async def reread(self) -> None:
        """Take what may change of the settings from where they come from, and apply new class migrations. Raises ConfigError."""
        ...

    def start_standby(self, index: int) -> Child: ...
    def begin_session(self, index: int, child: Child) -> None:
        """Give the shard to a process that stands by. Whoever had it is dead, or has released it."""
        ...

    def start_gateway(self, index: int) -> None:
        """Beside the one that serves, which was retired."""
        ...

    def retire(self, child: Child) -> None:
        """It answers its last and is not started again when it ends."""
        ...

    def take_back(self, child: Child) -> None:
        """A gateway that was to be retired stays."""
        ...

    def bury(self, child: Child) -> None:
        """The process of a shard died in the middle of its hand-off: its session's log is to be recovered."""
        ...


class Succession:
    """The supervisor hands it what its processes say (`on_message`, `on_death`), and runs it: `run` is the subclass's."""

    reason: Reason = "codeUpdated"
    """What objects in memory are told."""

    def __init__(
        self, processes: Processes, loop: asyncio.AbstractEventLoop, tell: Tell, report: Tell, wait_s: float
    ) -> None:
        """`tell(**fields)`: progress, a process each. `wait_s`: what running events get before they lose their storage."""
        self._processes = processes
        self._loop = loop
        self._tell = tell
        self._report = report
        self._wait_s = wait_s
        self._standbys: dict[int, Child] = {}
        self._ready: set[Child] = set()
        self._deaths = Restarts()
        self._changed = asyncio.Event()
        self._index = -1
        """The shard that is being handed off."""
        self._old: Child | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._deadline_s = float("inf")
        self._timers: set[asyncio.TimerHandle] = set()

    async def run(self) -> Message:
        """To its end: what to say of it. Raises PerdureError."""
        raise NotImplementedError

    def end(self) -> None:
        """Whoever stands by still is not needed any more."""
        for timer in self._timers:
            timer.cancel()
        for child in self._standbys.values():
            child.kill()
        self._standbys.clear()

    # ------------------------------------------------------------------ what the processes say
    @property
    def standbys(self) -> list[Child]:
        """Processes that are this succession's own."""
        return list(self._standbys.values())

    def deals_with(self, child: Child) -> bool:
        """Whether the place of a process that is dead, or has released its shard, is this succession's to fill."""
        return child is self._old

    def on_message(self, child: Child, kind: str) -> None:
        """`kind`: of a message that a process has sent."""
        if kind == "standby" and self._standbys.get(cast("int", child.start.get("index", -1))) is child:
            self._ready.add(child)
            self._changed.set()
            if child.start["index"] == self._index:
                self._events.put_nowait(Event.STANDBY_READY)
        elif child is self._old and kind == "marked":
            self._events.put_nowait(Event.MARKED)
        elif child is self._old and kind == "released":
            self._processes.retire(child)
            self._events.put_nowait(Event.RELEASED)
        elif kind == "ready":
            self._changed.set()
            if child is not self._old and self._processes.shards.get(self._index) is child:
                self._events.put_nowait(Event.SERVES)

    def on_death(self, child: Child) -> bool:
        """Whether the death is this succession's to deal with."""
        self._changed.set()
        index = cast("int", child.start.get("index", -1))
        if self._standbys.get(index) is child:
            self._ready.discard(child)
            if self._index >= 0:
                del self._standbys[index]
                if index == self._index:
                    self._events.put_nowait(Event.STANDBY_DIED)
            return True
        if child is self._old and self._processes.shards.get(index) is child:
            self._processes.bury(child)
            self._events.put_nowait(Event.OLD_DIED)
            return True
        return False

    def on_crash_loop(self, child: Child) -> None:
        """A process of the new generation dies again and again before it serves."""
        if self._processes.shards.get(self._index) is child:
            self._events.put_nowait(Event.GIVEN_UP)

    async def _until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        end_s = self._loop.time() + seconds
        while not done():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end_s - self._loop.time())
            except TimeoutError:
                raise PerdureError(f"{what} took over {seconds:g} s", hint="see its messages in the log") from None

    # ------------------------------------------------------------------ standing by
    async def stand_by(self, index: int) -> None:
        """Until a process with the program imported stands by for the shard."""
        child = self._standbys[index] = self._processes.start_standby(index)
        await self._until(
            lambda: child in self._ready or child.phase is Phase.DEAD,
            IMPORT_S_MAX,
            f"importing the program for shard {index}",
        )
        if child.phase is Phase.DEAD:
            raise failure_of(child)
        self._tell(process=f"shard {index}", stage="stands by", pid=child.pid)

    # ------------------------------------------------------------------ a shard
    async def hand_off(self, index: int) -> float:
        """Until the new one serves; for how many seconds nobody did."""
        shards = self._processes.shards
        await self._until(lambda: shards[index].phase is Phase.SERVING, START_S_MAX, f"the start of shard {index}")
        self._index, self._old = index, shards[index]
        self._events = asyncio.Queue()
        released_s = self._loop.time()
        if index not in self._standbys:  # it died while others were handed off
            self._events.put_nowait(Event.STANDBY_DIED)
        state, effects = begin()
        while True:
            for effect in effects:
                self._act(effect, index)
            if Effect.ASK_TO_RELEASE in effects or (Effect.BEGIN_NEW in effects and state.stage is Stage.MARKING):
                released_s = self._loop.time()
            if state.stage is Stage.DONE:
                break
            if state.stage is Stage.FAILED:
                raise PerdureError(
                    f"the new code of shard {index} dies again and again before it serves",
                    hint="its messages are in the log; the shards before it run the new code already",
                )
            state, effects = on_event(state, await self._next_event(state))
        pause_s = self._loop.time() - released_s
        child = self._processes.shards[index]
        self._tell(process=f"shard {index}", stage="serves", pid=child.pid, pause_ms=round(pause_s * 1000))
        self._old, self._index = None, -1
        return pause_s

    async def _next_event(self, state: HandOff) -> Event:
        if state.stage is Stage.STARTING:
            return await self._events.get()
        if state.stage in (Stage.WAITING, Stage.FREE):
            return await self._next_of_standby()
        try:
            return await asyncio.wait_for(self._events.get(), max(self._deadline_s - self._loop.time(), 0))
        except TimeoutError:
            self._deadline_s = self._loop.time() + RELEASE_S_MAX
            return Event.TOO_LATE

    async def _next_of_standby(self) -> Event:
        """One that neither dies nor gets ready is killed: it holds up the shard."""
        while True:
            try:
                return await asyncio.wait_for(self._events.get(), IMPORT_S_MAX)
            except TimeoutError:
                child = self._standbys.get(self._index)
                if child is not None:
                    self._report("error", "not_imported", shard=self._index, hint=f"killed after {IMPORT_S_MAX:g} s")
                    child.kill()

    def _act(self, effect: Effect, index: int) -> None:
        old = self._old
        assert old is not None, "a hand-off is of a shard's process"
        self._report("info", "hand_off", shard=index, effect=effect.value)
        if effect is Effect.ASK_TO_MARK:
            self._deadline_s = self._loop.time() + MARK_S_MAX
            old.send({"type": "mark_ahead"})
        elif effect is Effect.ASK_TO_RELEASE:
            self._deadline_s = self._loop.time() + self._wait_s + RELEASE_S_MAX
            old.send({"type": "release", "wait_s": self._wait_s, "reason": self.reason})
        elif effect is Effect.KILL_OLD:
            self._report("error", "not_released", shard=index, hint="it is killed, and its log recovered")
            old.kill()
        elif effect is Effect.BEGIN_NEW:
            child = self._standbys[index]
            self._processes.begin_session(index, child)
            del self._standbys[index]  # until then it is this succession's to end
            self._ready.discard(child)
        else:
            self._start_another(index)

    def _start_another(self, index: int) -> None:
        """The one that stood by died: another one, by the rules for deaths before serving."""
        decision = self._deaths.on_death(self._loop.time(), served=False)
        if decision.crash_loop:
            self._events.put_nowait(Event.GIVEN_UP)
            return

        def start() -> None:
            self._timers.discard(handle)
            try:
                self._standbys[index] = self._processes.start_standby(index)
            except OSError as error:
                self._report("error", "not_started", process=f"standby shard {index}", error=str(error))
                self._events.put_nowait(Event.STANDBY_DIED)

        handle = self._loop.call_later(decision.delay_s, start)
        self._timers.add(handle)


def failure_of(child: Child) -> PerdureError:
    """Why a process died before it served."""
    if child.failure is not None:
        return from_wire(cast("dict[str, object]", child.failure["error"]))
    return ConfigError(
        f"{child.name} of the next generation died before it served (exit code {child.returncode})",
        hint="its messages are in the log",
    )
