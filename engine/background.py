"""`waitUntil`: work that goes on after the call that began it was answered.

What always holds: it keeps its object awake until it is settled or its time is up; what becomes of it changes no answer;
a failure is in the log, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import copy_context
from typing import TYPE_CHECKING, cast

from .errors import InvalidArgument, StorageUnavailable
from .interruption import entry
from .turns import SCOPE, Event

if TYPE_CHECKING:
    from types import FunctionType

    from .instance import Instance


def wait_until(instance: Instance, awaitable: Awaitable[object]) -> None:
    """Begin it now, as a task of the running event. Raises InvalidArgument for what nobody can await."""
    if not hasattr(awaitable, "__await__"):
        raise InvalidArgument(
            f"waitUntil() takes a coroutine, a future or another awaitable, not {type(cast('object', awaitable)).__name__}"
        )
    if instance.broken is not None or instance.abandoned:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()
        raise StorageUnavailable("The instance of this Durable Object is no longer active; retry on a new stub")
    loop, scope = instance.turns.loop, SCOPE.get()
    if scope is not None and scope.instance is instance:
        loop.create_task(_wait(instance, awaitable), name="waitUntil")
        return
    own = copy_context()  # called from elsewhere: it is this object's all the same
    own.run(SCOPE.set, Event(instance, None))
    loop.create_task(_wait(instance, awaitable), name="waitUntil", context=own)


async def _wait(instance: Instance, awaitable: Awaitable[object]) -> None:
    seconds = instance.limits.pending_io_ms_max / 1000
    bound = asyncio.timeout(seconds)
    try:
        async with bound:
            await awaitable
    except asyncio.CancelledError:
        if instance.broken is None:
            _report(instance, "it was cancelled")
        raise
    except Exception as error:
        late = bound.expired() and isinstance(error, TimeoutError)
        _report(instance, f"it was not done within {seconds:g} s and was cancelled" if late else _say(error))


def _say(error: Exception) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # what a program raises may have any __str__
        return type(error).__name__


def _report(instance: Instance, error: str) -> None:
    fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "error": error}
    instance.shelf.report("warning", "wait_until_failed", fields)


entry(cast("FunctionType", _wait))
