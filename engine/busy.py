"""Busy periods of an object: from its first event or task to the end of the last one; that is the time that is billed.

What always holds: periods are measured, not calls, so a burst of calls costs two looks at the clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instance import Instance


def end_active(instance: Instance) -> None:
    """No event and no task is left: the busy period is over. Periods are measured, not calls: a burst costs two looks."""
    if instance.active_since_s:
        instance.active_s += instance.clock.monotonic_s() - instance.active_since_s
        instance.active_since_s = 0.0
        instance.used_s = instance.shelf.now_s


def task_began(instance: Instance) -> None:
    """A task of the program keeps the object from hibernating: it is active, also without an event."""
    if not instance.active_since_s:
        instance.active_since_s = instance.clock.monotonic_s()


def take_meters(instance: Instance) -> None:
    """Hand what was used so far to the shelf; a busy period that goes on counts up to now."""
    if instance.active_since_s:
        now_s = instance.clock.monotonic_s()
        instance.active_s += now_s - instance.active_since_s
        instance.active_since_s = now_s
    instance.meters.active_us += round(instance.active_s * 1e6)
    instance.active_s = 0.0
    if instance.meters:
        instance.shelf.metered(instance, instance.meters.take())
