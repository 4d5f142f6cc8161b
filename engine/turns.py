"""Turns: how code of an object runs on the loop, one event at a time.

Every event is an asyncio.Task. Between the task and the user's coroutine sits a small driver: each time the coroutine
would resume, the driver first passes the object's input gate; each time it suspends or ends, the turn may end. Tasks that
user code creates are driven too, by the loop's task factory and a context variable.

A turn that suspends is not over at once: `asyncio.gather` over storage calls suspends its caller although nothing is
awaited in truth, and splitting the transaction there would let other events in between a read and the write that rests
on it. gather, TaskGroup and wait_for over finished awaitables all resume three loop rounds later, so a suspended turn
ends when none of the event's tasks has resumed for `quiescent_rounds` (4) rounds. Deeper nests are a stated difference.

A cancellation that arrives at the gate is kept, and thrown into the coroutine when the gate opens: `except`, `finally`
and `asyncio.timeout` of user code see it.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import types
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, cast

from .beacon import BEACON_BYTES, NOTHING, WHOLE, Beacon
from .busy import task_began
from .calls import Call
from .errors import DurableObjectAbort, ProgramBug
from .gate import NOBODY, Section
from .interruption import entry

if TYPE_CHECKING:
    from . import blocking
    from .instance import Instance
    from .subrequests import Subrequests


class InstanceGone(BaseException):
    """Ends the tasks of an object that was reset; never seen by user code, whose coroutine is closed."""


class Scope:
    """Whose code runs: the event, and the critical section inside it."""

    __slots__ = ("instance", "section")
    instance: Instance
    section: Section | None

    @property
    def event(self) -> Event:
        """The event that it belongs to."""
        raise NotImplementedError


class SectionScope(Scope):
    """Code inside a critical section of an event."""

    __slots__ = ("_event",)

    def __init__(self, instance: Instance, event: Event, section: Section) -> None:
        self.instance = instance
        self.section = section
        self._event = event

    @property
    def event(self) -> Event:
        return self._event


NO_SECTIONS: dict[int, Section] = {}
"""Of nearly all events; never changed."""


class Event(Scope):
    """What was delivered to an object (or a loop callback that used its storage): the owner of turns."""

    __slots__ = (
        "answered",
        "begun",
        "call",
        "children",
        "inside",
        "number",
        "pinned",
        "quiet",
        "record",
        "subrequests",
        "task",
        "watched",
    )

    def __init__(self, instance: Instance, call: Call | None) -> None:
        self.instance = instance
        self.section = None
        self.call = call
        self.task: asyncio.Task[None] | None = None
        self.record = NOTHING
        """What its steps write to the beacon."""
        self.begun = False
        self.answered = False
        self.inside: dict[int, Section] = NO_SECTIONS
        """Numbers of calls that were made in critical sections of the event."""
        self.number = 0
        """In the chains of the calls that it makes (`call_chains`); 0: it has made none."""
        self.children = 0
        """Live tasks that the event's code created."""
        self.pinned = 0
        """Storage operations in flight that hold the input gate (`sync`)."""
        self.quiet = 0
        """Loop rounds left until the suspended turn ends; 0: not counting."""
        self.watched = False
        self.subrequests: Subrequests | None = None
        """What it has left, once it was counted (`subrequests.py`)."""

    def made_inside(self, number: int, section: Section) -> None:
        """Its code in the section has made a call."""
        self.inside = {**{old: made for old, made in self.inside.items() if not made.closed}, number: section}

    @property
    def event(self) -> Event:  # not an attribute: a cycle for each call would be work for the garbage collector
        return self


SCOPE: ContextVar[Scope | None] = ContextVar("perdure_scope", default=None)


def outside() -> Context:
    """A copy of the running context that belongs to no object: for tasks, timers and callbacks that are the runtime's own."""
    context = copy_context()
    context.run(SCOPE.set, None)
    return context


@types.coroutine
def one_round() -> Generator[None, None, None]:
    """Suspend for one loop round: the driver passes the gate again."""
    yield


class Turns:
    """What runs right now on this loop: at most one object."""

    __slots__ = ("beacon", "callback", "loop", "newest_batch", "numbered", "rounds", "running", "scope", "thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, rounds: int, first_number: int = 0) -> None:
        # Only where objects run: a client of them, which needs this file's context variables, does without greenlet.
        globals().setdefault("blocking", importlib.import_module(".blocking", __package__))
        self.loop = loop
        self.rounds = rounds
        self.running: Instance | None = None
        self.scope: Scope | None = None
        self.beacon: Beacon = bytearray(BEACON_BYTES)
        self.callback = False
        """`running` was set by a loop callback that used storage: it ends with the callback."""
        self.thread = threading.get_ident()
        self.newest_batch = 0
        """The newest batch that any object has writes in."""
        self.numbered = first_number
        """The last number given to an event or a call in a chain."""

    def install(self) -> None:
        """Make the loop drive the tasks that user code creates. Call once, on the loop's own thread."""
        self.thread = threading.get_ident()
        from .timers import count_timers  # it needs what is declared here

        count_timers(self.loop)
        self.loop.set_task_factory(cast("asyncio.events._TaskFactory", _task_factory))  # pyright: ignore[reportAttributeAccessIssue]

    def end_callback(self) -> None:
        """The loop callback that used storage is over: so is its turn."""
        if not self.callback:
            return
        instance, scope = self.running, self.scope
        self.running = self.scope = None
        self.callback = False
        if instance is not None and scope is not None:
            instance.callback_ended(scope.event)


@types.coroutine
def drive(
    scope: Scope, coroutine: Coroutine[object, None, object], begun: bool = False, signal: object = None
) -> Generator[object, None, object]:
    """Run `coroutine` in turns of its object. Returns or raises what it does, with the turn still open.

    `begun`: its first step has been made in the turn that is open, and gave `signal`.
    """
    instance, event = scope.instance, scope.event
    gate, turns = instance.input, instance.turns
    if instance.runtime.blocking and not begun:
        coroutine = blocking.Steps(coroutine)
    error: BaseException | None = None
    while True:
        if begun:
            begun = False
        else:
            if (gate.holder is not event or gate.section is not scope.section) and not gate.try_enter(scope):
                late = yield from _queue(scope, coroutine)
                error = late or error
            if turns.running is not None:
                turns.end_callback()
            turns.running, turns.scope = instance, scope
            turns.beacon[WHOLE] = event.record
            try:
                signal = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            except GeneratorExit as exit:
                raise unwound() from exit
            finally:
                turns.running = turns.scope = None
                error = None
        if instance.fatal is not None:
            instance.break_now()
            continue
        event.quiet = turns.rounds
        if not event.watched:
            event.watched = True
            turns.loop.call_soon(instance.watch_quiet, event)
        try:
            yield signal
        except GeneratorExit:
            _close(coroutine)
            raise
        except BaseException as thrown:
            error = thrown


entry(cast("types.FunctionType", drive))


def _queue(scope: Scope, coroutine: Coroutine[object, None, object]) -> Generator[object, None, BaseException | None]:
    """Wait until the gate lets the scope in. Gives the cancellation that came meanwhile, which is kept until then."""
    instance, gate = scope.instance, scope.instance.input
    instance.shelf.kept_out[instance] = None
    error: BaseException | None = None
    while not gate.try_enter(scope):
        if instance.broken is not None:
            instance.turns.running = None
            _close(coroutine)
            raise InstanceGone
        waiter = gate.wait(scope)
        while not waiter.admitted and instance.broken is None:
            if waiter.future.done():
                if waiter.who is NOBODY:  # taken back
                    _close(coroutine)
                    raise InstanceGone
                gate.wait_on(waiter)
            try:
                yield from waiter.future.__await__()
            except GeneratorExit:
                _close(coroutine)
                raise
            except BaseException as late:
                error = late
    return error


def unwound() -> ProgramBug:
    """The program raised GeneratorExit, which means something else to whoever runs a coroutine."""
    return ProgramBug("GeneratorExit was raised by the program")


def _close(coroutine: Coroutine[object, None, object]) -> None:
    """End a coroutine whose object is gone. What its `finally` blocks raise concerns nobody any more."""
    try:
        coroutine.close()
    except BaseException:
        return


async def _child(scope: Scope, coroutine: Coroutine[object, None, object]) -> object:
    try:
        return await drive(scope, coroutine)
    except (InstanceGone, DurableObjectAbort):
        raise asyncio.CancelledError from None
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process
        raise ProgramBug(f"{error!r} was raised in a task: it ends nothing but the task") from error
    finally:
        if scope.instance.fatal is not None:
            scope.instance.break_now()


def _task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[object, None, object], **options: object
) -> asyncio.Task[object]:
    context = options.get("context")
    scope = SCOPE.get() if context is None else cast("dict[object, Scope | None]", context).get(SCOPE)
    if scope is None or scope.instance.broken is not None:
        coroutine = blocking.as_worker_task(coroutine, cast("Context | None", context))
        return asyncio.Task(coroutine, loop=loop, **options)  # pyright: ignore[reportArgumentType]
    task: asyncio.Task[object] = asyncio.Task(_child(scope, coroutine), loop=loop, **options)  # pyright: ignore[reportArgumentType]
    scope.event.children += 1
    instance = scope.instance
    instance.tasks[task] = instance.shelf.now_s
    task_began(instance)

    def done(ended: asyncio.Task[object]) -> None:
        scope.event.children -= 1
        instance.tasks.pop(ended, None)
        coroutine.close()  # a task cancelled before its first step has never begun it
        instance.task_ended(scope.event)

    task.add_done_callback(done)
    return task
