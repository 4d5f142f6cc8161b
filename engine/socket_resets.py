"""What becomes of an object's sockets when it is reset (spec: websockets, delivery to handlers).

What always holds: an object that is reset by its own fault loses its connections (the client sees 1006) and their rows, unless
its class says `sockets_survive_reset = True`; what is nobody's fault (a hand-off, a drain, a copy of its file) is a pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calls import Call
from .errors import ObjectReset, Overloaded, PerdureError, StorageUnavailable
from .lifecycle import State
from .socket_calls import DROP, SOCKET

if TYPE_CHECKING:
    from .instance import Instance

SURVIVES = "sockets_survive_reset"
"""Attribute of a class: its sockets stay when an object is reset, and their messages go to the next instance."""


def spares(instance: Instance, error: PerdureError, to: State) -> bool:
    """Whether the object's sockets outlive that end of its memory."""
    if to is State.EVICTED or getattr(instance.runtime.cls, SURVIVES, False) is True:
        return True
    return isinstance(error, ObjectReset | StorageUnavailable) and error.retryable


def told(call: Call, error: PerdureError, spared: bool) -> PerdureError:
    """What a call of the object is answered with: a socket's event that is to come again is told so."""
    return again(error) if spared and call.kind == SOCKET else error


def again(error: PerdureError) -> PerdureError:
    """For who holds the socket: deliver the event again, later."""
    return Overloaded(f"deliver it again: {error.message}", object_id=error.durableObjectId, hint=error.hint)


def end_sockets(instance: Instance, spared: bool, discard: bool) -> None:
    """The object is broken: its connections end when what earlier turns sent has left, unless they are spared."""
    sockets = instance.sockets
    if sockets is None:
        return
    sockets.stop()
    if spared or not sockets.by_id:
        return
    instance.shelf.forsaken.add(instance.object_id)
    commits = instance.output.commits
    if discard or instance.touched <= commits.durable():
        _drop(instance)
    else:
        commits.hold(instance.touched, instance, _drop, instance)


def _drop(instance: Instance) -> None:
    sockets = instance.sockets
    assert sockets is not None, "an object with sockets"
    by_holder: dict[str, list[bytes]] = {}
    for socket in sockets.by_id.values():
        if socket.holder is not None:
            by_holder.setdefault(socket.holder.identity, []).append(socket.id)
    for holder in {socket.holder for socket in sockets.by_id.values() if socket.holder is not None}:
        holder.effects(instance.object_id, 0, None, [(by_holder[holder.identity], DROP, None)])
