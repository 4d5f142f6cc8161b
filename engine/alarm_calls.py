"""An alarm on its way through its object: what is delivered, what came of it, and whose fault a reset was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .alarm_retries import Armed, Outcome
from .calls import Call
from .turns import SCOPE
from .values import pack, unpack

if TYPE_CHECKING:
    from .instance import Instance
    from .turns import Scope


@dataclass(slots=True, eq=False)
class AlarmCall(Call):
    """Asks an object to run its alarm. Answered with `packed_answer`; with an error when it was refused, or the object reset."""

    forced: bool = False
    """Run it also before its time."""
    outcome: Outcome | None = None
    """Run nothing: an earlier run of `armed` ended like this, and the object could not note it."""
    armed: Armed | None = None
    """What runs; None until the object has looked."""
    began: Callable[[AlarmCall], None] | None = None
    """Called when `armed` is about to run, before anything of the program does."""
    counted: bool = False
    """The run itself was what broke the object."""
    dropped: bool = False
    """The run was aborted, and is not to be tried again."""


def blame(instance: Instance, scope: Scope | None = None) -> None:
    """The code that runs breaks its object (`scope`: whose code it was): if it is an alarm's, the retry counts."""
    call = _alarm_of(instance, scope)
    if call is not None:
        call.counted = True


def blame_abort(instance: Instance, dropped: bool) -> None:
    """The code that runs aborts its object. `dropped`: and if it is an alarm's, the run is not to be tried again."""
    call = _alarm_of(instance, None)
    if call is not None:
        call.counted, call.dropped = True, dropped


def _alarm_of(instance: Instance, scope: Scope | None) -> AlarmCall | None:
    scope = scope or instance.turns.scope or SCOPE.get()
    if scope is None or scope.instance is not instance:
        return None
    call = scope.event.call
    return call if isinstance(call, AlarmCall) else None


def packed_answer(ran: bool, armed: Armed | None) -> bytes:
    """Whether the handler ran, and when the object's alarm is due now."""
    return pack([ran, 0 if armed is None else armed.due_ms])


def read_answer(data: bytes) -> tuple[bool, int]:
    """(Whether the handler ran, when the alarm is due in ms since the epoch; 0: there is none)."""
    ran, due_ms = cast("tuple[bool, int]", unpack(data))
    return ran, due_ms
