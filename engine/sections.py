"""Critical sections of one object: `blockConcurrencyWhile` and `transaction` (spec: transactions and gates, rule 4).

What always holds: a section that began keeps out everything that it did not start, awaited or not; siblings run in the
order begun; a section ends after those that it began; after a section its caller goes on before any other event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from .alarm_calls import blame
from .errors import Overloaded, PerdureError, ProgramBug, StorageUnavailable
from .gate import BROKEN, Section, innermost_open
from .interruption import entry
from .turns import SCOPE, Event, InstanceGone, SectionScope, drive

if TYPE_CHECKING:
    from types import FunctionType

    from .instance import Instance

T = TypeVar("T")


class _Pending:
    """A section that has begun or waits for its siblings."""

    __slots__ = ("body", "breaking", "event", "future", "section", "task", "timer", "what")

    def __init__(
        self,
        section: Section,
        event: Event,
        body: Callable[[], object],
        what: str,
        breaking: bool,
        future: asyncio.Future[object],
    ) -> None:
        self.section = section
        self.event = event
        self.body = body
        self.what = what
        self.breaking = breaking
        self.future = future
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class Sections:
    """Opens and closes the sections of one instance."""

    __slots__ = ("_instance", "_late_cancels", "_waiting")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._waiting: deque[_Pending] = deque()
        self._late_cancels: list[Event] = []

    def open(self) -> bool:
        """Whether one is open now."""
        return self._instance.input.section is not None

    def enter(self, body: Callable[[], Awaitable[T]], what: str, *, breaking: bool) -> Awaitable[T]:
        """Run `body()` as a critical section, from now on; the awaitable gives its value.

        `breaking`: an exception resets the object (blockConcurrencyWhile); else it goes to the caller (transaction).
        Raises PerdureError "calls are nested too deeply" above 64 levels, StorageUnavailable on a reset instance.
        """
        instance = self._instance
        if instance.broken is not None:
            raise StorageUnavailable("This Durable Object's instance is no longer active; retry on a new stub")
        scope = instance.turns.scope
        if scope is None or scope.instance is not instance:
            raise ProgramBug(f"{what} was called outside any event of {instance}")
        section = Section(innermost_open(scope.section), scope.event)
        if section.depth > instance.limits.critical_section_depth_max:
            raise PerdureError(f"{what}() calls are nested too deeply")
        future: asyncio.Future[object] = instance.turns.loop.create_future()
        pending = _Pending(section, scope.event, body, what, breaking, future)
        if instance.input.section is section.parent and not self._waiting:
            self._begin(pending)
        else:
            self._waiting.append(pending)
        return cast("Awaitable[T]", future)

    def _begin(self, pending: _Pending) -> None:
        instance = self._instance
        instance.input.section = pending.section
        loop = instance.turns.loop
        pending.timer = loop.call_later(instance.limits.critical_section_ms_max / 1000, self._timed_out, pending)
        pending.task = asyncio.Task(self._run(pending), loop=loop, name=pending.what)
        pending.section.task = pending.task
        instance.tasks[cast("asyncio.Task[object]", pending.task)] = instance.shelf.now_s
        pending.event.children += 1

    async def _run(self, pending: _Pending) -> None:
        instance = self._instance
        scope = SectionScope(instance, pending.event, pending.section)
        SCOPE.set(scope)
        error: BaseException | None = None
        value: object = None
        try:
            value = await drive(scope, self._call(pending.body))
        except InstanceGone:
            return
        except BaseException as raised:
            error = raised
        finally:
            if pending.timer is not None:
                pending.timer.cancel()
            if pending.task is not None:
                instance.tasks.pop(cast("asyncio.Task[object]", pending.task), None)
            pending.event.children -= 1
        if instance.fatal is None and error is not None and pending.breaking:
            instance.break_object(error)
        if instance.fatal is not None:
            instance.break_now()
        if instance.broken is not None or instance.input.holder is BROKEN:
            return
        self._end(pending, value, error)

    async def _call(self, body: Callable[[], object]) -> object:
        try:
            result = body()
            if hasattr(result, "__await__"):
                result = await cast("Awaitable[object]", result)
        except GeneratorExit:  # the object is gone
            raise
        except BaseException:
            await self.inner_ended()
            raise
        await self.inner_ended()
        return result

    async def inner_ended(self) -> None:
        """Wait for the sections that the running one has begun and not awaited."""
        scope = self._instance.turns.scope
        section = None if scope is None else scope.section
        while section is not None and self._has_inner(section):
            await asyncio.sleep(0)  # the gate lets this one go on when the inner section has ended

    def _has_inner(self, section: Section) -> bool:
        gate_section = self._instance.input.section
        return gate_section is not section or any(waiting.section.parent is section for waiting in self._waiting)

    def _end(self, pending: _Pending, value: object, error: BaseException | None) -> None:
        instance, gate = self._instance, self._instance.input
        pending.section.closed = True
        gate.section = pending.section.parent
        if not pending.future.done():
            if error is None:
                pending.future.set_result(value)
            else:
                pending.future.set_exception(error)
        for index, waiting in enumerate(self._waiting):
            waiting.section.parent = innermost_open(waiting.section.parent)
            if waiting.section.parent is gate.section:
                del self._waiting[index]
                self._begin(waiting)
                break
        if gate.section is None and self._late_cancels:
            self._cancel_now()
        gate.admit()  # tasks of the same event that waited for the section; the turn is still its own
        instance.task_ended(pending.event)

    def cancel_later(self, event: Event) -> None:
        """Its caller is gone: cancel it when no section is open any more."""
        if event not in self._late_cancels:
            self._late_cancels.append(event)

    def _cancel_now(self) -> None:
        events, self._late_cancels = self._late_cancels, []
        for event in events:
            if event in self._instance.events and not event.answered and event.task is not None:
                event.task.cancel()

    def _timed_out(self, pending: _Pending) -> None:
        instance = self._instance
        if pending.section.closed or instance.broken is not None:
            return
        blame(instance, pending.event)
        instance.reset(
            Overloaded(
                f"A call to {pending.what}() in a Durable Object waited for too long. "
                f"The call was cancelled and the Durable Object was reset.",
                reset=True,
            )
        )


entry(cast("FunctionType", Sections._call))  # pyright: ignore[reportPrivateUsage]
