"""Storage that is used outside of an event's turn: by a callback of the loop, which then has a turn of its own.

What always holds: two turns never write one object's storage at once; a callback's turn ends before anything else runs.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .beacon import WHOLE, record
from .errors import MemoryExceeded, ProgramBug, StorageUnavailable, TurnTooLong
from .interruption import TurnInterrupted
from .turns import SCOPE, Event

if TYPE_CHECKING:
    from .instance import Instance


def enter_otherwise(instance: Instance) -> None:
    """Open a turn for the callback that runs, if it may have one.

    Raises ProgramBug: another thread, another object's turn, a critical section. StorageUnavailable: the instance is gone.
    TurnInterrupted: the running turn is past a bound.
    """
    turns = instance.turns
    if threading.get_ident() != turns.thread:
        raise ProgramBug(
            f"the storage of {instance} was used from another thread", hint="use storage on the object's own thread"
        )
    if isinstance(instance.fatal, TurnTooLong | MemoryExceeded):
        raise TurnInterrupted(instance.fatal.message)
    if instance.broken is not None or instance.fatal is not None or instance.abandoned:
        raise StorageUnavailable(
            "The instance of this Durable Object was reset: its storage is no longer accessible",
            object_id=instance.object_id.hex(),
        )
    if turns.running is not None and not turns.callback:
        raise ProgramBug(f"the storage of {instance} was used from a turn of {turns.running}")
    turns.end_callback()
    scope = SCOPE.get()
    if instance.input.section is not None and not (
        scope is not None and scope.instance is instance and instance.input.admits(scope)
    ):
        raise ProgramBug(f"the storage of {instance} was used by a callback while a critical section is open")
    _enter_callback(instance, scope.event if scope is not None and scope.instance is instance else None)


def _enter_callback(instance: Instance, own: Event | None) -> None:
    gate, turns = instance.input, instance.turns
    if own is None or gate.holder is not own:
        if isinstance(gate.holder, Event) and not gate.holder.pinned:
            if instance.turn_dirty and not instance.try_commit():
                raise StorageUnavailable("The instance of this Durable Object was reset")
            gate.holder = None
        if gate.holder is not None:
            raise ProgramBug(f"the storage of {instance} was used by a callback while it is being written")
        own = Event(instance, None)
        gate.holder = own
    turns.running, turns.scope, turns.callback = instance, own, True
    turns.beacon[WHOLE] = record(instance.object_id, str(instance), "callback")
    turns.loop.call_soon(turns.end_callback)
