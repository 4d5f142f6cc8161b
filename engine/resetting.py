"""What happens when an object must begin anew: its turn is undone, who waits is told, its storage is closed.

What always holds: what earlier turns were promised is made durable before the storage is closed; each caller is answered
once; nothing of a broken instance touches the storage again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .busy import take_meters
from .calls import Call
from .commits import Effect
from .errors import ObjectReset, Overloaded, PerdureError
from .exports import Parcel
from .lifecycle import State
from .socket_resets import end_sockets, spares, told

if TYPE_CHECKING:
    from .instance import Instance


def abort_error(instance: Instance, reason: object) -> PerdureError:
    return ObjectReset(
        str(reason) if reason is not None else "Application called abort() to reset Durable Object.",
        object_id=instance.object_id.hex(),
    )


def failed(instance: Instance, error: BaseException, dropped: Sequence[Effect]) -> None:
    """A batch with this object's commits failed: nothing in memory or scratch can be trusted."""
    cause = error.copy(instance.object_id.hex()) if isinstance(error, PerdureError) else ObjectReset(str(error))
    if instance.broken is None:
        reset(instance, cause, discard=True)
    else:
        close_storage(instance, discard=True)
    answer_dropped(instance, dropped, cause)


def fail_late(instance: Instance, since_s: float) -> None:
    """Reset the object if it waits since before `since_s` for its writes to be durable."""
    commits = instance.output.commits
    if instance.broken is not None or instance.touched <= commits.durable() or instance.waiting_s >= since_s:
        return
    error = Overloaded(
        "Durable Object storage operation exceeded timeout which caused object to be reset.",
        reset=True,
        hint="the disk of the data folder is too slow or stalled: see `iostat -x`, `dmesg`",
    )
    dropped = commits.drop(instance)
    reset(instance, error)
    answer_dropped(instance, dropped, error)


def reset(instance: Instance, error: PerdureError, *, discard: bool = False) -> None:
    """Undo the running turn, fail whatever runs or waits, and make room for a fresh instance."""
    let_go(instance, error, State.BROKEN, discard=discard)


def let_go(instance: Instance, error: PerdureError, to: State, *, discard: bool = False) -> bool:
    """The same for an object that is whole (`to` EVICTED). False: it had left before."""
    if instance.broken is not None or instance.abandoned:
        return False
    instance.move(to)
    if error.durableObjectId != instance.object_id.hex():  # it may be told to several objects, or come from another one
        error = error.copy(instance.object_id.hex())
    instance.broken = error
    instance.fatal = None
    spared = spares(instance, error, to)
    instance.turn_dirty = False
    if instance.turns.running is instance:
        instance.turns.running = None  # the step goes on until it suspends, but without storage
    dropped = instance.output.drop()
    instance.input.shut()
    instance.shelf.forget(instance, error)  # first: who is answered may call again at once
    answer_dropped(instance, dropped, error)
    try:
        if not discard:
            instance.storage.abort_turn()
    except PerdureError:
        discard = True
    events, instance.events = instance.events, {}
    take_meters(instance)
    instance.active_since_s = 0.0
    for event in events:
        if event.call is not None and not event.answered:
            event.answered = True
            event.call.answer(event.call, told(event.call, error, spared))
        if event.task is not None:
            event.task.cancel()
    for task in list(instance.tasks):
        task.cancel()
    if instance.pending is not None:
        instance.pending.end()
    for body in list(instance.bodies):
        body.fail(error)
    instance.forget_program()
    end_sockets(instance, spared, discard)
    if discard:
        close_storage(instance, discard=True)
    elif instance.touched <= instance.output.commits.durable():
        close_storage(instance, discard=False)
    else:  # earlier turns were promised their commit: the file is closed when they are durable
        instance.output.commits.hold(instance.touched, instance, close_storage, instance)
    return True


def answer_dropped(instance: Instance, dropped: Sequence[Effect], error: PerdureError) -> None:
    """Replies that were held never leave: their callers get the reason instead. What held calls carry is let go."""
    if error.durableObjectId is None:
        error.durableObjectId = instance.object_id.hex()
    error.durableObjectReset = True
    spared = spares(instance, error, instance.state)
    for _, args in dropped:
        if args and isinstance(args[0], Call):
            Parcel.lost(args[1])
            args[0].answer(args[0], told(args[0], error, spared))
        elif args:
            Parcel.lost(args[0])


def close_storage(instance: Instance, discard: bool = False) -> None:
    if instance.abandoned or instance.settling.folding:
        return
    instance.abandoned = True
    try:
        if discard:
            instance.storage.discard()
        else:
            release(instance)
    finally:
        instance.shelf.closed(instance)


def release(instance: Instance) -> None:
    """Close its database. Where its main file cannot be completed it is made anew from the log, which concerns nobody else."""
    try:
        instance.storage.release()
    except PerdureError as error:
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "error": error.message}
        instance.shelf.report("error", "not_completed", fields)
