"""The bounds of an object's mailbox, and calls whose caller is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .busy import end_active
from .calls import Call
from .errors import Overloaded, PerdureError
from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance


def overloaded(instance: Instance, what: str) -> PerdureError:
    return Overloaded(
        f"Durable Object is overloaded. {what}.",
        object_id=instance.object_id.hex(),
        hint="spread the load over more objects, or back off",
    )


def take_back(instance: Instance, event: Event, call: Call, error: PerdureError) -> None:
    """End an event that has not begun: it runs nothing, its caller gets the error."""
    take_out(instance, event, call)
    instance.output.emit(call.answer, call, error)


def take_out(instance: Instance, event: Event, call: Call) -> None:
    """An event that has not begun leaves the mailbox: it runs nothing, and its call is left to be answered."""
    instance.queued -= 1
    instance.queued_bytes -= len(call.payload)
    del instance.events[event]
    if not instance.events and not instance.tasks:
        end_active(instance)
    event.answered = True
    if event.task is not None:
        instance.input.withdraw(event)
        event.task.cancel()


def cancel(instance: Instance, call: Call) -> None:
    """The caller is gone: cancel the event's task; while a critical section is open, when that has ended."""
    event = call.handle
    if not isinstance(event, Event) or event.answered or event not in instance.events:
        return
    if not event.begun:
        take_back(instance, event, call, PerdureError("The call was cancelled by its caller"))
        return
    if instance.input.section is not None:
        instance.sections.cancel_later(event)
        return
    if event.task is not None:
        event.task.cancel()
