"""An event loop whose time passes only when nothing is left to do: waiting costs nothing, a run depends on its seed alone.

What always holds: time never goes back; whatever is ready runs before time moves; timers fire in the order they are due;
threads do not exist (what is given to one runs at once).

Work in the background (a shard's housekeeping: ticks, marks, meters) is set apart by a context variable. Its timers keep nobody
waiting: between two moments of real work it runs at a few of its due times and once more just before the next one, as
what it does in between nobody could see. So a year passes in milliseconds.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextvars import Context, ContextVar
from typing import Any, ParamSpec, TypeVar, cast

from .traces import stands_at

T = TypeVar("T")
P = ParamSpec("P")
BACKGROUND: ContextVar[bool] = ContextVar("perdure_background", default=False)
"""Set where housekeeping is begun: the timers that it sets move no time on."""
CHECKPOINTS_S = (11.5, 141.5)
"""After the last real work: when housekeeping is let run. The idle leave memory after 10 s, those kept awake
by work of their own after 140 s at the latest."""
_BEFORE_S = 1e-6
_GRAIN_S = 1e-7
"""Timers less apart fire together. More than a float's own grain at ten years."""
_ROUND_S = 1e-3
_LOOK_AGAIN_S = 0.02
_JUMPS_MAX = 1_000_000


class NothingHappens(RuntimeError):
    """Everybody waits for somebody, and no timer is left: the run would never end."""


class Inline(Executor):
    """A thread that is none: work is done when it is submitted."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class _Selector(selectors.DefaultSelector):
    """Never waits: it moves the loop's time on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        found = super().select(0)
        if not found:
            self.loop.idle()
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time begins at 0, in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.on_moved: list[Callable[[], None]] = []
        """Told when time has moved."""
        self.due: list[tuple[Callable[[], float], Callable[[], None]]] = []
        """When (seconds of this loop, inf: never) something is to be done that has no timer of its own, and what to call then."""
        self.passing: list[tuple[Callable[[], float], Callable[[], None]]] = []
        """The same of what happens only if something else lets time pass that moment."""
        self.lateness: Callable[[], float] | None = None
        """How much later than asked for a timer fires, in seconds: a simulation explores that."""
        self._background: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._quiet: list[asyncio.Future[None]] = []
        self._worked_s = 0.0
        self._jumps = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = _GRAIN_S

    def time(self) -> float:
        return self.now_s

    # ------------------------------------------------------------------ timers
    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        background = BACKGROUND.get() if context is None else context.get(BACKGROUND, False)
        if background:
            handle = asyncio.TimerHandle(when, callback, args, self, context)
            self._count += 1
            heapq.heappush(self._background, (when, self._count, handle))
            return handle
        if self.lateness is not None:
            when += self.lateness()
        return super().call_at(when, callback, *args, context=context)

    def call_exactly(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer that is never late."""
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """At once, on this thread."""
        return asyncio.wrap_future((executor or Inline()).submit(func, *args), loop=self)

    # ------------------------------------------------------------------ from outside
    def drive(self, work: Awaitable[T]) -> T:
        """Run until `work` is done; also on a thread whose own loop runs, which stands still meanwhile."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self.run_until_complete(work)
        finally:
            asyncio._set_running_loop(outer)

    def through(self, work: Awaitable[T]) -> Awaitable[T]:
        """What a caller gets for work of this loop: on this loop the work itself; in code of another loop something to be
        awaited there; where no loop runs it is done at once, and this is its result."""
        running = asyncio._get_running_loop()
        if running is self:
            return work
        if running is None:
            return cast("Awaitable[T]", self.drive(work))
        return Driven(self, work)

    # ------------------------------------------------------------------ time
    async def quiet(self) -> None:
        """Until nothing is left to do at this moment."""
        future: asyncio.Future[None] = self.create_future()
        self._quiet.append(future)
        await future

    async def next_round(self) -> None:
        """Until all that is ready now has run once; time may move when nothing is."""
        future: asyncio.Future[None] = self.create_future()
        self.call_exactly(self.now_s + _ROUND_S, future.set_result, None)
        await future

    async def until(self, when: float) -> None:
        """Until that time has come, and all that was to be done before and at it is done."""
        future: asyncio.Future[None] = self.create_future()

        def come() -> None:
            if not future.done():
                future.set_result(None)

        self.call_exactly(max(when, self.now_s), come)
        await future
        await self.quiet()

    def idle(self) -> None:
        """Nothing is ready: wake who waits for that, or go to the next moment of which anything is known."""
        while self._quiet:
            future = self._quiet.pop()
            if not future.done():
                future.set_result(None)
                return
        scheduled = cast("list[asyncio.TimerHandle]", self._scheduled)  # pyright: ignore[reportAttributeAccessIssue]
        soon, look = math.inf, _nothing
        for when, then in self.due:
            if when() < soon:
                soon, look = when(), then
        if soon <= self.now_s + _GRAIN_S:  # it was looked at, and has to wait
            soon = self.now_s + _LOOK_AGAIN_S
        target = min(scheduled[0].when() if scheduled else math.inf, soon)
        for when, then in self.passing:
            if target != math.inf and when() <= target:
                target = soon = max(when(), self.now_s)
                look = then
        if self._run_background(target):
            return
        if target == math.inf:
            raise NothingHappens(f"nothing will ever happen: everybody waits{self._who_waits()}")
        self._jumps += 1
        if self._jumps > _JUMPS_MAX:
            raise NothingHappens(f"{_JUMPS_MAX:,} moments have passed without an end: does something wait in a circle?")
        self._move(target)
        self._worked_s = self.now_s
        if soon <= target:
            look()

    def _run_background(self, target: float) -> bool:
        """Let housekeeping run that is due at the next checkpoint, or just before `target`; False when none is."""
        while self._background and self._background[0][2].cancelled():
            heapq.heappop(self._background)
        if not self._background:
            return False
        moments = [self._worked_s + after for after in CHECKPOINTS_S] + [target - _BEFORE_S]
        for moment in moments:
            if moment <= self.now_s or moment >= target or self._background[0][0] > moment:
                continue
            if moment == math.inf:
                return False
            self._move(moment)
            ready = cast("Any", self._ready)  # pyright: ignore[reportAttributeAccessIssue]
            while self._background and self._background[0][0] <= moment:
                ready.append(heapq.heappop(self._background)[2])
            return True
        return False

    def _move(self, when: float) -> None:
        if when > self.now_s:
            self.now_s = when
            for told in self.on_moved:
                told()

    def _who_waits(self) -> str:
        found = [stands_at(task) for task in asyncio.all_tasks(self) if not task.done()]
        names = sorted({at for at in found if at is not None})
        return f": {', '.join(names[:20])}" if names else ""


def _nothing() -> None:
    """There is nothing to look at."""


class Driven(Awaitable[T]):
    """Work of a virtual loop, for code that runs on another loop: awaiting it runs the virtual loop until it is done."""

    def __init__(self, loop: VirtualLoop, work: Awaitable[T]) -> None:
        self._loop, self._work = loop, work

    def __await__(self) -> Generator[None, None, T]:
        return self._loop.drive(self._work)
        yield  # a generator that never suspends

    def __getattr__(self, name: str) -> DrivenPath:
        """A method or property of the result, before it is there."""
        if name.startswith("_"):
            raise AttributeError(name)
        return DrivenPath(self._loop, getattr(self._work, name))


class DrivenPath:
    """The same for what is called on such work, or read of it, before it is done."""

    def __init__(self, loop: VirtualLoop, path: Any) -> None:
        self._loop, self._path = loop, path

    def __getattr__(self, name: str) -> DrivenPath:
        if name.startswith("__"):
            raise AttributeError(name)
        return DrivenPath(self._loop, getattr(self._path, name))

    def __call__(self, *args: object, **kwargs: object) -> Awaitable[object]:
        return self._loop.through(self._path(*args, **kwargs))

    def __await__(self) -> Generator[None, None, object]:
        return self._loop.drive(self._path)
        yield  # a generator that never suspends


def in_background(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `work` so that the timers and tasks which it begins are housekeeping."""
    context = Context()  # not that of the caller: it may be code of an object, even of one that was just killed
    context.run(BACKGROUND.set, True)
    return context.run(work, *args, **kwargs)


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
