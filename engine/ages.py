"""Events that wait too long for their turn are told so when the time is up, not when the gate opens.

What always holds: an object whose gate, or share of the loop, keeps somebody out is looked at with each tick of the coarse
clock until nobody waits there any more; those that have begun are left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .mailbox import overloaded, take_back

if TYPE_CHECKING:
    from .instance import Instance

TOO_LONG = "Requests queued for too long"


def expire(instance: Instance) -> None:
    """Refuse what has waited longer than `mailbox_age_ms_max`."""
    before_s = instance.shelf.now_s - instance.limits.mailbox_age_ms_max / 1000
    for event in list(instance.events) if instance.queued else ():
        if event.begun or event.call is None:
            continue
        if event.call.arrived_s >= before_s:
            return
        take_back(instance, event, event.call, overloaded(instance, TOO_LONG))
    if not instance.queued or instance.broken is not None:
        instance.shelf.kept_out.pop(instance, None)
