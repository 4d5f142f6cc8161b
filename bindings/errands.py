"""Work that Workers do for code of the same process, each piece in a context of its own.

What always holds: who waits for a piece does not keep it alive. What it waits for does: the loop, a timer, a connection, another
piece. One that waits for what nothing can ever give is garbage, and who waits for it hears that when it is collected.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

from ..engine.calls import REQUEST_ID, MadeCall
from ..engine.errors import NeverAnswered

T = TypeVar("T")
LOOK_S = 1.0
_YOUNG = 1
"""Generations of the garbage collector that are looked through where nothing happens: what hangs was made lately."""


class _Known(weakref.ref["asyncio.Task[Any]"]):
    """A piece of work, as who waits for its answer knows it. The answer holds it, and the task; it holds no task."""

    __slots__ = ("answer", "errands")
    answer: asyncio.Future[Any]
    errands: Errands

    def come(self, task: asyncio.Task[Any]) -> None:
        """The work has ended."""
        answer = self.answer
        if answer.done():
            if not task.cancelled():
                task.exception()  # nobody waits for it any more
        elif task.cancelled():
            answer.cancel()
        elif (error := task.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(task.result())

    def ended(self, answer: asyncio.Future[Any]) -> None:
        """There is an answer, or nobody wants one."""
        self.errands.pending -= 1
        if answer.cancelled() and (task := self()) is not None:
            task.cancel()


def _collected(known: weakref.ref[asyncio.Task[Any]]) -> None:
    """The collector has found it; it runs in whatever thread it likes."""
    answer = cast("_Known", known).answer
    loop = answer.get_loop()
    if not answer.done() and not loop.is_closed():
        loop.call_soon_threadsafe(_never, answer)


class Errands:
    """Of one process."""

    def __init__(self) -> None:
        self.pending = 0
        """Pieces that have no answer yet."""
        self._begun = 0
        self._seen = 0
        self._looking = False

    def begin(self, work: Coroutine[Any, Any, T], context: Context | None = None) -> asyncio.Future[T]:
        """Begin `work`, in a context of its own or one that it has had before; what it gives. Cancelling that cancels it.

        Raises NeverAnswered in who waits when the work can never end.
        """
        loop = asyncio.get_running_loop()
        return self._begin(work, context, loop, loop.create_future())

    def call(self, work: Coroutine[Any, Any, object]) -> MadeCall:
        """The same, of a call: its result has methods and properties before it is there."""
        loop = asyncio.get_running_loop()
        made = MadeCall(loop=loop)
        self._begin(work, None, loop, made)
        return made

    def _begin(
        self,
        work: Coroutine[Any, Any, T],
        context: Context | None,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[T],
    ) -> asyncio.Future[T]:
        if context is None:
            context = Context()
            context.run(REQUEST_ID.set, REQUEST_ID.get())
        task = loop.create_task(work, name="service", context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # who waits is told

        known = _Known(task, _collected)
        known.answer, known.errands = answer, self
        task.add_done_callback(known.come)
        answer.add_done_callback(known.ended)
        self.pending += 1
        self._begun += 1
        if not self._looking:
            self._looking = True
            loop.call_later(LOOK_S, self._look, loop)
        return answer

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where little happens the collector does not run by itself: once nothing new has begun for a while, it is run."""
        if self.pending and self._begun != self._seen:
            self._seen = self._begun
            loop.call_later(LOOK_S, self._look, loop)
            return
        self._looking = False
        if self.pending:
            gc.collect(_YOUNG)


class Returning:
    """`with`: what is to be done when a call has ended, on the loop's own thread also when the call is collected."""

    __slots__ = ("_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, done: Callable[[], None]) -> None:
        self._loop = loop
        self._done = done

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not GeneratorExit:
            self._done()
        elif not self._loop.is_closed():  # in the middle of something, or on another thread
            self._loop.call_soon_threadsafe(self._done)


def _never(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(
            NeverAnswered(
                "The Workers runtime canceled this request because it detected that your Worker's code had hung and would "
                "never generate a response.",
                hint="it awaits something that nothing can resolve: a future or promise that nobody has kept",
            )
        )
