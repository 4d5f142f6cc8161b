"""Call cycles: a call that came back to an object and would wait for a critical section that waits for the call.

An object whose call leads back to it lets that call in, as any other, while its own event is suspended. Not so behind a
critical section (blockConcurrencyWhile, transaction): if the section waits for the very call, both would wait until the
section's bound of 30 s resets the object. Such a call is failed with CallCycle as soon as that is seen.

A section waits for a call if its task does: what a task awaits is followed through tasks and `gather` to the call that was
made. What cannot be followed (wait_for, TaskGroup, asyncio.wait, a timer) is given time, then taken for waiting: a second
if the call was made inside the section, half the section's bound if it was made outside.

What always holds: a call whose section can be seen to go on without it is not refused; none waits until the bound because of
its own chain. Sections of two independent chains that wait for one another are seen by neither: the bound ends them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from .calls import Call, MadeCall
from .errors import CallCycle, PerdureError
from .gate import GateFuture, Section
from .mailbox import take_back
from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance

UNSEEN_MS = 1_000
"""How long a section that made a call may await something that cannot be followed while the call waits for it."""


def arrived(instance: Instance, event: Event) -> None:
    """An event with a chain was queued: watch it if the chain begins or passes here."""
    call = cast("Call", event.call)
    if any(object_id == instance.object_id for object_id, _ in call.chain):
        instance.circling[event] = None
        instance.shelf.circling[instance] = None
        instance.turns.loop.call_soon(look, instance)


def look(instance: Instance) -> None:
    """Fail those that wait for themselves. Called when one arrives, then with each tick of the coarse clock."""
    circling, section = instance.circling, instance.input.section
    for event in list(circling):
        if event.answered or instance.broken is not None:
            del circling[event]
        elif section is None or not _waits(instance, event) or not _opened_in(event, instance, section):
            circling[event] = None
        elif _waited_for(instance, event, section):
            del circling[event]
            _fail(instance, event)
    if not circling:
        instance.shelf.circling.pop(instance, None)


def _waits(instance: Instance, event: Event) -> bool:
    """Whether it is at the gate and not let in."""
    if not event.begun:
        return not instance.input.admits(event)
    return any(waiter.who.event is event and not instance.input.admits(waiter.who) for waiter in instance.input.waiters)


def _opened_in(event: Event, instance: Instance, section: Section) -> bool:
    """Whether an event of the chain opened the section."""
    opener = cast("Event", section.opener)
    return opener is not event and (instance.object_id, opener.number) in cast("Call", event.call).chain


def _waited_for(instance: Instance, event: Event, section: Section) -> bool:
    numbers = frozenset(number for number, _ in cast("Call", event.call).trail)
    waits = None if section.task is None else _follow(section.task, numbers)
    if waits is not None:
        instance.circling[event] = None
        return waits
    since_s = instance.circling[event]
    if since_s is None:
        instance.circling[event] = instance.shelf.now_s
        return False
    opener = cast("Event", section.opener)
    inside = any(made.within(section) for number, made in opener.inside.items() if number in numbers)
    bound_ms = instance.limits.critical_section_ms_max / 2
    return (instance.shelf.now_s - since_s) * 1000 >= (min(UNSEEN_MS, bound_ms) if inside else bound_ms)


def _follow(waiting: asyncio.Future[object] | asyncio.Task[None], numbers: frozenset[int]) -> bool | None:
    """Whether what is awaited ends in one of the calls; None: that cannot be seen."""
    seen: set[int] = set()
    ahead: list[object] = [waiting]
    unseen = False
    while ahead:
        future = ahead.pop()
        if id(future) in seen or not isinstance(future, asyncio.Future) or future.done():
            continue
        seen.add(id(future))
        if isinstance(future, MadeCall):
            if future.call_number in numbers:
                return True
            ahead.append(future.call_behind)
        elif isinstance(future, asyncio.Task):
            ahead.append(getattr(future, "_fut_waiter", None))  # None: it is about to run
        elif hasattr(future, "_children"):
            ahead += cast("list[object]", getattr(future, "_children"))  # noqa: B009 - of gather, no public name
        elif not isinstance(future, GateFuture):
            unseen = True
    return None if unseen else False


def _fail(instance: Instance, event: Event) -> None:
    call = cast("Call", event.call)
    first = next(index for index, (object_id, _) in enumerate(call.chain) if object_id == instance.object_id)
    path = " → ".join([*(label for _, label in call.trail[first:]), str(instance)])
    error: PerdureError = CallCycle(
        f"The call waits for a critical section that waits for the call: {path}",
        object_id=instance.object_id.hex(),
        hint="make the call before or after blockConcurrencyWhile() or transaction(), not inside",
    )
    instance.shelf.report("warning", "call_cycle", {"cycle": path, "method": call.method})
    if not event.begun:
        take_back(instance, event, call, error)
        return
    # It has run up to here, and goes on when the section ends; whoever waits for it is told now, so that it does.
    event.answered = True
    instance.output.emit(call.answer, call, error)
