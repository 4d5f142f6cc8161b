"""`preShutdown`: objects in memory are told that their process is about to end in an orderly way (spec: objects, handlers).

What always holds: it is best effort and bounded in time; what it writes is durable before the next constructor, as any
event's writes; no other event is begun meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from .calls import PRE_SHUTDOWN, Call
from .errors import PerdureError
from .handlers import call_relaxed, find_handler
from .mailbox import cancel
from .values import EMPTY_ARGS

if TYPE_CHECKING:
    from .instance import Instance

HANDLER = "preShutdown"
Reason = Literal["inactive", "codeUpdated"]


@dataclass(frozen=True, slots=True)
class ShutdownInfo:
    """What `preShutdown(self, info)` gets. `reason`: "inactive" (the process ends) or "codeUpdated" (it is reloaded)."""

    reason: Reason


async def tell(instances: Iterable[Instance], reason: Reason, seconds: float) -> int:
    """Run the handlers of those that have one and have been constructed, at most so long; how many ended in time."""
    told: dict[asyncio.Future[None], tuple[Instance, Call]] = {}
    for instance in instances:
        if instance.object is None or instance.broken is not None or find_handler(instance, HANDLER) is None:
            continue
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
        told[future] = (instance, call)
        instance.deliver(call)
    if not told:
        return 0
    done, late = await asyncio.wait(told, timeout=seconds)
    for future in late:
        instance, call = told[future]
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "seconds": seconds}
        instance.shelf.report("warning", "pre_shutdown_late", fields)
        cancel(instance, call)
    return len(done)


def _answered(call: Call, _result: object) -> None:
    """What it raises is in the log already."""
    future = cast("asyncio.Future[None]", call.origin[0])
    if not future.done():
        future.set_result(None)


async def run_handler(instance: Instance, call: Call) -> None:
    """The event's code."""
    instance.meters.requests -= 1  # the runtime asked, nobody is billed
    handler = find_handler(instance, HANDLER)
    if handler is None:
        raise PerdureError(f"Method {HANDLER} does not exist", name="TypeError")
    result = call_relaxed(handler, ShutdownInfo(cast("Reason", call.origin[1])))
    if hasattr(result, "__await__"):
        await cast("asyncio.Future[object]", result)
