"""The objects of a shard whose slots go to another process: what has not begun is taken back, what runs may end without storage.

What always holds: from `supersede` on nobody touches an object's database; whoever has writes that no commit holds is reset, so
no reply leaves that tells of them; all others run on, hear `storage is no longer accessible` where they use it, and their replies
leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .busy import take_meters
from .calls import Call
from .errors import StorageUnavailable
from .gate import BLOCKED
from .lifecycle import State
from .mailbox import take_out
from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance
    from .residents import Residents

_LOOK_S = 0.001
PATIENCE_S = 0.25
"""What turns get that have written and not ended, once no event is let in any more."""
_CLOSING_S = 5.0


def superseded_error() -> StorageUnavailable:
    """What running events hear of their storage (spec: objects, `code updated` and `stale instance uses storage`)."""
    return StorageUnavailable(
        "The Durable Object was replaced because its code was updated: its storage is no longer accessible.",
        hint="call again, on the same stub or a new one: the next instance answers",
    )


def take_waiting(instances: Iterable[Instance], stays: Callable[[Call], bool]) -> list[Call]:
    """Take back the calls that have arrived and not begun, but those that `stays(call)`; in order of arrival per object."""
    taken: list[Call] = []
    for instance in instances:
        for event in [event for event in instance.events if not event.begun and not event.answered]:
            call = event.call
            if call is not None and not stays(call):
                take_out(instance, event, call)
                call.handle = None
                taken.append(call)
    return taken


async def events_ended(residents: Residents, seconds: float) -> bool:
    """Until no event runs; False when the time was too short."""
    end = residents.clock.monotonic_s() + seconds
    running = list(residents.instances)
    while running := [instance for instance in running if instance.events or instance.settling.folding]:
        if residents.clock.monotonic_s() >= end:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def supersede(residents: Residents, patience_s: float = PATIENCE_S) -> None:
    """Close every object's database; what still runs goes on without it. No event may be let in any more."""
    end = residents.clock.monotonic_s() + patience_s
    left = list(residents.instances)
    while left := [instance for instance in left if not _superseded(residents, instance)]:
        if residents.clock.monotonic_s() >= end:
            break
        await asyncio.sleep(_LOOK_S)
    for instance in left:
        if instance.broken is None and not instance.settling.folding and instance.state is not State.COLD:
            instance.reset(superseded_error())
    end = residents.clock.monotonic_s() + _CLOSING_S
    while residents.closing or any(instance.settling.folding for instance in left):
        if residents.clock.monotonic_s() >= end:
            raise StorageUnavailable("objects could not be closed in time", hint="the disk is too slow or stalled")
        await asyncio.sleep(_LOOK_S)


def _superseded(residents: Residents, instance: Instance) -> bool:
    """Take the object out of memory if nothing of it is undecided; True when it is out."""
    if instance.broken is not None or instance.abandoned:
        return True
    if not _decided(instance):
        return False
    if instance.storage.wal_bytes():
        instance.storage.discard()  # the log has it all: whoever comes next takes it from there
    else:
        instance.storage.release()
    instance.storage.refuse(superseded_error())
    take_meters(instance)
    busy = bool(instance.events or instance.tasks or instance.bodies)
    if not busy:
        instance.move(State.HIBERNATED)
        instance.abandoned = True
        if instance.pending is not None:
            instance.pending.end()
        instance.forget_program()
    residents.left(instance, busy=busy)
    return True


def _decided(instance: Instance) -> bool:
    """Whether all that it has written is durable, and nobody holds its storage. A turn that has only read may be open."""
    holder = instance.input.holder
    return (
        holder is not BLOCKED
        and not (isinstance(holder, Event) and holder.pinned)
        and not instance.turn_dirty
        and not instance.storage.in_transaction()
        and instance.touched <= instance.output.commits.durable()
        and not instance.settling.busy()
        and instance.storage.may_close()
    )
