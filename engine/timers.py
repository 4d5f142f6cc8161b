"""Timers that programs set with the loop: each belongs to the object whose code set it.

What always holds: a timer keeps its object from hibernating until it has fired or is cancelled; a timer of an object that was
reset or has left memory does not fire; what a timer's callback raises never ends the process.

The loop itself says what a timer's object is: `call_later` and `call_at` are replaced on the instance of the loop, which works
with every kind of loop and costs nothing where no object runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, cast

from .awake import add_piece
from .errors import DurableObjectAbort
from .turns import SCOPE, Scope

if TYPE_CHECKING:
    from .instance import Instance


class Timer:
    """The callback that the loop gets in the place of the program's."""

    __slots__ = ("_args", "_callback", "_fired", "_instance", "handle")

    def __init__(self, instance: Instance, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self._instance = instance
        self._callback = callback
        self._args = args
        self._fired = False
        self.handle: asyncio.TimerHandle | None = None

    def over(self) -> bool:
        return self._fired or self.handle is None or self.handle.cancelled()

    def end(self) -> None:
        if self.handle is not None:
            self.handle.cancel()

    def __call__(self) -> None:
        self._fired = True
        instance = self._instance
        if instance.broken is not None or instance.abandoned:
            return
        try:
            self._callback(*self._args)
        except (DurableObjectAbort, SystemExit, KeyboardInterrupt) as error:  # the loop would end with the process
            if instance.fatal is None:
                _report(instance, error)
        finally:
            instance.break_now()


def _report(instance: Instance, error: BaseException) -> None:
    fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "error": repr(error)}
    instance.shelf.report("warning", "timer_raised", fields)


def count_timers(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop know whose its timers are. Once is enough for all shards that use it: more calls do nothing."""
    if getattr(loop.call_later, "__module__", "") == __name__:
        return
    later, at = loop.call_later, loop.call_at

    def call_later(
        delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return _set(later, delay, callback, args, context)

    def call_at(
        when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return _set(at, when, callback, args, context)

    loop.call_later = call_later  # type: ignore[method-assign]
    loop.call_at = call_at  # type: ignore[method-assign]


def _set(
    method: Callable[..., asyncio.TimerHandle],
    moment: float,
    callback: Callable[..., object],
    args: tuple[object, ...],
    context: Context | None,
) -> asyncio.TimerHandle:
    """Set a timer by one of the loop's own methods, counted if it is an object's."""
    scope = _scope(callback, context)
    if scope is None:
        return method(moment, callback, *args, context=context)
    timer = Timer(scope.instance, callback, args)
    timer.handle = method(moment, timer, context=context)
    add_piece(scope.instance, timer)
    return timer.handle


def _scope(callback: Callable[..., object], context: Context | None) -> Scope | None:
    """Whose timer it is; None: nobody's, or it is counted already, for one of the two methods may be made of the other."""
    if type(cast("object", callback)) is Timer:
        return None
    scope = SCOPE.get() if context is None else context.get(SCOPE)
    return None if scope is None or scope.instance.broken is not None else scope
