"""Events that wait too long for their turn are told so when the time is up; those past their deadline end.

What always holds: an object whose gate, or share of the loop, keeps somebody out is looked at with each tick of the coarse
clock until nobody waits there any more; of those that have begun only the ones end that nobody waits for any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calls import Call
from .deadlines import too_late
from .errors import PerdureError
from .mailbox import cancel, overloaded, take_back

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


def late(instance: Instance, call: Call) -> PerdureError:
    """Of a call whose caller waits no more."""
    return too_late(call.within_s, [*(label for _, label in call.trail), str(instance)])


def end_late(instance: Instance) -> None:
    """End what is past its deadline. Its caller does that too: this is for one that is gone, or cannot be heard.

    Once a second for each object with events.
    """
    now_s = instance.shelf.now_s
    for event in list(instance.events):
        call = event.call
        if call is None or event.answered or now_s - call.arrived_s <= call.within_s:
            continue
        if not event.begun:
            take_back(instance, event, call, late(instance, call))
        elif instance.input.section is not None or event.task is None:
            cancel(instance, call)  # when the section has ended
        else:
            event.answered = True
            instance.output.emit(call.answer, call, late(instance, call))
            event.task.cancel()
