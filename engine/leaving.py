"""How an object leaves memory while it is whole: hibernated when it has nothing to do, evicted when it has and nobody asks.

What always holds: everything that it wrote is durable or on its way to be; nothing of it runs afterwards, no task, no timer;
the next event constructs it anew, and not before its file is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .busy import take_meters
from .errors import ObjectReset
from .lifecycle import State
from .resetting import let_go, release

if TYPE_CHECKING:
    from .instance import Instance


def hibernate(instance: Instance) -> None:
    """Drop an object that is at rest and has no tasks; timers that it may have are ended."""
    instance.move(State.HIBERNATED)
    instance.abandoned = True
    if instance.pending is not None:
        instance.pending.end()
    instance.forget_program()
    take_meters(instance)
    release(instance)


def evict(instance: Instance) -> None:
    """Drop an object that nobody has called for long, and cancel what it does."""
    fields: dict[str, object] = {
        "object": str(instance),
        "id": instance.object_id.hex(),
        "cancelled": sorted(task.get_name() for task in instance.tasks),
        "unused_s": round(instance.shelf.now_s - instance.used_s),
    }
    error = ObjectReset("This Durable Object was evicted: it had no events for too long", retryable=True)
    if let_go(instance, error, State.EVICTED):
        instance.shelf.report("info", "object_evicted", fields)
