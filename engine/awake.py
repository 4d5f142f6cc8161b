"""What keeps an object in memory: live work, counted in one place, and the decision that follows from it.

What always holds: an object with an event, an open response body or anything that is not on disk stays; the decision is
a function of counts and ages alone, so it can be tested without an object.

The work is: events, tasks that the program created (critical sections and `waitUntil` are tasks), calls and fetches that
have left and are not answered, timers of the loop, and what others have of it by reference. What nobody can see does not
count: a thread, a subprocess, a connection of a library that has neither a task nor a timer.
"""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

from .limits import Limits
from .turns import SCOPE

if TYPE_CHECKING:
    from .instance import Instance


T = TypeVar("T")


class Fate(Enum):
    """What is to become of an object that is in memory."""

    STAYS = "stays"
    HIBERNATES = "hibernates"
    """Nothing is lost but what was in memory."""
    IS_EVICTED = "is evicted"
    """Its running work is cancelled."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an object does at a moment. Ages are in seconds."""

    attended: bool
    """An event runs or waits, somebody reads a response body, a turn is open, or something is not on disk yet."""
    pending: int = 0
    """Tasks, timers, calls that have left."""
    youngest_s: float = 0.0
    """How long the last of the pending ones has been there."""


def decide(work: Work, unused_s: float, limits: Limits, pending_prevents_eviction: bool) -> Fate:
    """`unused_s`: seconds since the last event came, or the last one ended with nothing else left."""
    if work.attended or unused_s * 1000 < limits.idle_hibernate_ms:
        return Fate.STAYS
    if not work.pending:
        return Fate.HIBERNATES
    if unused_s * 1000 < limits.unattended_ms_max:
        return Fate.STAYS
    if pending_prevents_eviction and work.youngest_s * 1000 < limits.pending_io_ms_max:
        return Fate.STAYS
    return Fate.IS_EVICTED


class Piece(Protocol):
    """Something that an object waits for without a task."""

    def over(self) -> bool: ...
    def end(self) -> None: ...


class Outgoing:
    """A call that has left. Its answer is not kept alive by being counted."""

    __slots__ = ("_call",)

    def __init__(self, call: asyncio.Future[T]) -> None:
        self._call = weakref.ref(call)

    def over(self) -> bool:
        found = self._call()
        return found is None or found.done()

    def end(self) -> None:
        """The call has left: what it does elsewhere goes on."""


_PRUNE_FROM = 32


class Pending:
    """Timers and calls of one object. Those that are over are thrown out when they might be the half, not one by one."""

    __slots__ = ("_pieces", "_prune_at")

    def __init__(self) -> None:
        self._pieces: list[tuple[float, Piece]] = []
        self._prune_at = _PRUNE_FROM

    def add(self, piece: Piece, now_s: float) -> None:
        if len(self._pieces) >= self._prune_at:
            self._prune()
        self._pieces.append((now_s, piece))

    def _prune(self) -> None:
        self._pieces = [found for found in self._pieces if not found[1].over()]
        self._prune_at = max(_PRUNE_FROM, 2 * len(self._pieces))

    def since(self) -> list[float]:
        """When each of the live ones began (monotonic seconds)."""
        self._prune()
        return [began_s for began_s, _ in self._pieces]

    def end(self) -> None:
        """The object leaves memory: nothing of it may run any more."""
        pieces, self._pieces = self._pieces, []
        for _, piece in pieces:
            piece.end()


def add_piece(instance: Instance, piece: Piece, *, lasting: bool = False) -> None:
    """`lasting`: it counts as begun just now, for as long as it is there."""
    if instance.pending is None:
        instance.pending = Pending()
    instance.pending.add(piece, math.inf if lasting else instance.shelf.now_s)


def counted(call: Awaitable[T]) -> Awaitable[T]:
    """A call leaves the running object, which is awake until the answer is there, also when nobody awaits it."""
    scope = SCOPE.get()
    if scope is not None and scope.instance.broken is None and isinstance(call, asyncio.Future):
        add_piece(scope.instance, Outgoing(call))
    return call


def work_of(instance: Instance) -> Work:
    """Count what an object does now."""
    if instance.events or instance.bodies or not instance.at_rest():
        return Work(attended=True)
    if instance.sockets is not None and instance.sockets.unsettled():
        return Work(attended=True)
    since = list(instance.tasks.values())
    if instance.pending is not None:
        since += instance.pending.since()
        if not since:
            instance.pending = None
    if not since:
        return Work(attended=False)
    return Work(False, len(since), max(0.0, instance.shelf.now_s - max(since)))


def fate_of(instance: Instance) -> Fate:
    """What is to become of it now."""
    unused_s = instance.shelf.now_s - instance.used_s
    return decide(work_of(instance), unused_s, instance.limits, instance.runtime.pending_prevents_eviction)


def may_hibernate(instance: Instance) -> bool:
    """Whether it could leave memory without cancelling anything, however recently it was used."""
    work = work_of(instance)
    return not work.attended and not work.pending
