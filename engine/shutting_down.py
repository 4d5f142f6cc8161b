"""`preShutdown`: objects are told that they are about to leave memory in an orderly way: their process ends, or they have been
idle for long (spec: objects, handlers).

What always holds: it is best effort and bounded in time; what it writes is durable before the next constructor, as any event's
writes. When the process ends no other event is begun meanwhile; an idle object that is called meanwhile stays in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from .calls import PRE_SHUTDOWN, Call
from .errors import PerdureError
from .handlers import call_relaxed, find_handler, has_handler
from .mailbox import cancel
from .values import EMPTY_ARGS

if TYPE_CHECKING:
    from .instance import Instance

HANDLER = "preShutdown"
Reason = Literal["inactive", "codeUpdated"]


@dataclass(frozen=True, slots=True)
class ShutdownInfo:
    """What `preShutdown(self, info)` gets. `reason`: "inactive" (it is idle, or its process ends) or "codeUpdated" (a reload)."""

    reason: Reason


def wants_to_know(instance: Instance) -> bool:
    """Whether there is somebody to tell: the object has been constructed, is whole, and its class has the handler."""
    return instance.object is not None and instance.broken is None and has_handler(instance.runtime, HANDLER)


async def tell(instances: Iterable[Instance], reason: Reason, seconds: float) -> int:
    """Run the handlers of those that have one and have been constructed, at most so long; how many ended in time."""
    told: dict[asyncio.Future[None], tuple[Instance, Call]] = {}
    for instance in instances:
        if wants_to_know(instance):
            future, call = _call_of(instance, reason)
            told[future] = (instance, call)
            instance.deliver(call)
    if not told:
        return 0
    done, late = await asyncio.wait(told, timeout=seconds)
    for future in late:
        _give_up(*told[future], seconds)
    return len(done)


def tell_before_it_sleeps(
    instance: Instance, seconds: float, deliver: Callable[[Call], None], then: Callable[[Instance], None]
) -> None:
    """Run the handler of one that is idle. `then(instance)`: it has ended and what it wrote is durable, or its time is over."""
    future, call = _call_of(instance, "inactive")
    timer = instance.turns.loop.call_later(seconds, _give_up, instance, call, seconds)

    def ended(_: asyncio.Future[None]) -> None:
        timer.cancel()
        then(instance)

    future.add_done_callback(ended)
    deliver(call)


def _call_of(instance: Instance, reason: Reason) -> tuple[asyncio.Future[None], Call]:
    future: asyncio.Future[None] = instance.turns.loop.create_future()
    call = Call(
        instance.key.unique,
        instance.object_id,
        None,
        PRE_SHUTDOWN,
        HANDLER,
        EMPTY_ARGS,
        _answered,
        origin=(future, reason),
    )
    return future, call


def _give_up(instance: Instance, call: Call, seconds: float) -> None:
    fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "seconds": seconds}
    instance.shelf.report("warning", "pre_shutdown_late", fields)
    cancel(instance, call)


def _answered(call: Call, _result: object) -> None:
    """What it raises is in the log already."""
    future = cast("asyncio.Future[None]", call.origin[0])
    if not future.done():
        future.set_result(None)


async def run_handler(instance: Instance, call: Call) -> None:
    """The event's code."""
    handler = find_handler(instance, HANDLER)
    if handler is None:
        raise PerdureError(f"Method {HANDLER} does not exist", name="TypeError")
    result = call_relaxed(handler, ShutdownInfo(cast("Reason", call.origin[1])))
    if hasattr(result, "__await__"):
        await cast("asyncio.Future[object]", result)
