"""`run_sync`: synchronous code of an event waits for an awaitable, and everything else goes on meanwhile.

What always holds: a coroutine of a program that may block is stepped on a stack of its own (a greenlet), so that a step can
stop in the middle of a plain function; what it waits for is handed to the task as if the coroutine itself had awaited it, so
turns, gates, cancellation and resets work as they do for `await`. Nothing blocks inside `transactionSync`: half a unit would
be committed.

A stack costs more to make than to switch to, so those whose step has ended are kept for the next one. Programs that do not use
`run_sync` never come here.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

from .errors import ProgramBug
from .interruption import entry

T = TypeVar("T")
_ENDED, _RAISED, _BLOCKED = 0, 1, 2
_IDLE_MAX = 64
_CLOSES_MAX = 100


class _Stack(greenlet):
    """Runs one step after another; in the middle of one it may be blocked."""

    answer: tuple[int, object] | None = None
    """What came of the step. Not handed over by the switch itself: an idle stack would keep it alive."""


def _run(step: Any, argument: object) -> None:
    stack = cast("_Stack", getcurrent())
    while True:
        try:
            stack.answer = (_ENDED, step(argument))
        except BaseException as error:
            stack.answer = (_RAISED, error)
        step = argument = None
        parent = stack.parent
        assert parent is not None, "set by who switches here"
        step, argument = parent.switch()


class _Idle(threading.local):
    """Stacks whose last step has ended; a stack belongs to its thread."""

    def __init__(self) -> None:
        self.stacks: list[_Stack] = []


_idle = _Idle()


class Steps(Coroutine[Any, Any, object]):
    """A coroutine in whose steps plain functions may block."""

    __slots__ = ("__name__", "__qualname__", "_coroutine", "_stack")

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine = cast("types.CoroutineType[Any, Any, object]", coroutine)
        self.__name__ = getattr(coroutine, "__name__", "steps")
        self.__qualname__ = getattr(coroutine, "__qualname__", "steps")
        self._stack: _Stack | None = None
        """Where a step of it is blocked."""

    # What `inspect` asks to tell whether a task has begun: anyio cancels those that have.
    @property
    def cr_running(self) -> bool:
        return self._coroutine.cr_running

    @property
    def cr_suspended(self) -> bool:
        return self._coroutine.cr_suspended

    @property
    def cr_frame(self) -> types.FrameType | None:
        return self._coroutine.cr_frame

    @property
    def cr_await(self) -> object:
        return self._coroutine.cr_await

    @property
    def cr_code(self) -> types.CodeType:
        return self._coroutine.cr_code

    def __await__(self) -> Generator[Any, Any, object]:
        return cast("Generator[Any, Any, object]", self)

    def __iter__(self) -> Steps:
        return self

    def __next__(self) -> object:
        return self.send(None)

    def send(self, value: object) -> object:
        stack = self._stack
        if stack is None:
            return self._switch(_take(), (self._coroutine.send, value))
        return self._switch(stack, (value, None))

    def throw(self, typ: Any, val: object = None, tb: object = None) -> object:
        error = typ if isinstance(typ, BaseException) else (val if isinstance(val, BaseException) else typ())
        stack = self._stack
        if stack is None:
            return self._switch(_take(), (self._coroutine.throw, error))
        return self._switch(stack, (None, error))

    def close(self) -> None:
        """End it where it waits. Code that goes on to wait is told so again, then left where it is."""
        for _ in range(_CLOSES_MAX):
            if self._stack is None:
                self._coroutine.close()
                return
            try:
                self.throw(GeneratorExit())
            except (GeneratorExit, StopIteration):
                return
        raise RuntimeError("a coroutine ignored GeneratorExit")

    def _switch(self, stack: _Stack, what: tuple[object, object]) -> object:
        here = getcurrent()
        if stack.parent is not here:
            stack.parent = here
        if stack is not self._stack:  # one that is blocked may be inside `Context.run`, and stays there
            stack.gr_context = here.gr_context
        stack.switch(*what)
        answer, stack.answer = stack.answer, None
        assert answer is not None, "set before each switch back"
        kind, value = answer
        if kind == _BLOCKED:
            self._stack = stack
            return value
        self._stack = None
        stack.gr_context = None
        if len(_idle.stacks) < _IDLE_MAX:
            _idle.stacks.append(stack)
        if kind == _RAISED:
            try:
                raise cast("BaseException", value)
            finally:
                del value, answer
        return value


def _take() -> _Stack:
    return _idle.stacks.pop() if _idle.stacks else _Stack(_run)


async def _wait(awaitable: Awaitable[T]) -> T:
    return await awaitable


unbroken = 0
"""How many pieces of code that must not be suspended are running: they are synchronous, so one number is enough."""


class Unbroken:
    """`with Unbroken():` code that must end in the step in which it began."""

    __slots__ = ()

    def __enter__(self) -> None:
        global unbroken
        unbroken += 1

    def __exit__(self, *_exc: object) -> None:
        global unbroken
        unbroken -= 1


def can_block() -> bool:
    """Whether `run_sync` may wait for what is not done yet, here and now."""
    return isinstance(getcurrent(), _Stack) and not unbroken


def run_sync(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, in synchronous code: of an event of an object, or of the Worker.

    Other events go on meanwhile, as with `await`. Raises what the awaitable raises; TypeError if it is none; ProgramBug where
    nothing may wait (outside events, in a callback of the loop, inside `transactionSync`) and it is not done already.
    """
    if not hasattr(awaitable, "__await__"):
        raise TypeError(f"run_sync() takes an awaitable, not {type(cast('object', awaitable)).__name__}")
    stack = getcurrent()
    coroutine: Coroutine[Any, Any, T] = _wait(awaitable)
    value: object = None
    thrown: BaseException | None = None
    try:
        while True:
            signal = coroutine.send(value) if thrown is None else coroutine.throw(thrown)
            value = thrown = None
            if not isinstance(stack, _Stack) or unbroken or _in_unit():
                raise _refusal()
            parent = stack.parent
            assert parent is not None, "set by who switches here"
            stack.answer = (_BLOCKED, signal)
            del signal
            value, thrown = cast("tuple[object, BaseException | None]", parent.switch())
    except StopIteration as stop:
        return cast("T", stop.value)
    finally:
        coroutine.close()
        thrown = None


def _in_unit() -> bool:
    """Whether the running object has a unit of writes open (`units`), which belongs to its turn."""
    from .turns import SCOPE  # which needs what is declared here

    scope = SCOPE.get()
    return scope is not None and scope.instance.storage_api._storage.savepoints.nested > 0


def _refusal() -> ProgramBug:
    if unbroken or _in_unit():
        return ProgramBug(
            "run_sync() cannot wait inside transactionSync() or another unit of writes: it would be open while others run",
            hint="get what you need before, or use transaction() with await",
        )
    _let_next_block()
    return ProgramBug(
        "run_sync() cannot wait here: it works in code of an event, called from a handler, method or task",
        hint="import run_sync from pyodide.ffi in the program's main module; callbacks of call_later must not block",
    )


class _Workers:
    """Whether events of the Worker in this process are stepped on stacks."""

    may_block = False


_IN_WORKER: ContextVar[bool] = ContextVar("perdure_in_worker", default=False)


def let_workers_block() -> None:
    """From now on events of the Worker in this process may use `run_sync`."""
    _Workers.may_block = True


def _let_next_block() -> None:
    """The program was not known to use `run_sync`: its next events may."""
    from .turns import SCOPE  # which needs what is declared here

    scope = SCOPE.get()
    if scope is None:
        let_workers_block()
    else:
        scope.instance.runtime.blocking = True


async def run_worker(work: Coroutine[Any, Any, T]) -> T:
    """An event of the Worker; it may block if the program uses `run_sync`."""
    if not _Workers.may_block:
        return await work
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:  # where objects run there is one, which asks `as_worker_task`
        loop.set_task_factory(cast("asyncio.events._TaskFactory", _task_factory))  # pyright: ignore[reportAttributeAccessIssue]
    _IN_WORKER.set(True)
    return cast("T", await Steps(work))


def as_worker_task(coroutine: Coroutine[Any, Any, object], context: Context | None) -> Coroutine[Any, Any, object]:
    """What a task of no object runs: if it is of a Worker that may block, so may the task."""
    if not _Workers.may_block or type(coroutine) is Steps:
        return coroutine
    inside = _IN_WORKER.get() if context is None else context.get(_IN_WORKER, False)
    return Steps(coroutine) if inside else coroutine


def _task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, object], **options: Any
) -> asyncio.Task[object]:
    return asyncio.Task(as_worker_task(coroutine, options.get("context")), loop=loop, **options)


for _function in (_run, run_sync, _wait):
    entry(cast("types.FunctionType", _function))
