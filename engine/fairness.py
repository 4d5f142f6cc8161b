"""Turns among objects: while several are called, none begins more than a few events in one loop round.

Without that, all that was delivered for a hot object begins at once, and a call of another object that comes a moment later
waits for it all. Events above the share wait in the order they came, and each loop round lets every object that has such
begin its share. An object that is called alone begins so much at once that its batches are worth their syncs.

What always holds: the events of one object begin in the order delivered (hazard: a late comer that overtakes); an event that
waits here is in the mailbox, so the bounds on count, bytes and age count it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance

EVENTS_A_ROUND = 64
"""That an object begins in one loop round while others are called too: a message or two, under a millisecond of work."""
EVENTS_ALONE = 512
"""The same of an object that is called alone: enough that each batch of its commits is worth its sync."""
ALONE_S = 0.2
"""So long after the last call of another object an object counts as alone."""


class Rotation:
    """Who may begin events in this loop round. One for each loop."""

    __slots__ = ("_began", "_called", "_loop", "_scheduled", "_shared_s", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began: list[Instance] = []
        """Objects that have used of their share in this loop round."""
        self._scheduled = False
        self._called = b""
        """Id of the object that began an event last."""
        self._shared_s = 0.0
        """When that was last another than before, by the coarse clock."""
        self._waiting: dict[Instance, None] = {}

    def begins(self, instance: Instance) -> None:
        """The object begins its first event of this loop round."""
        self._began.append(instance)
        if self._called != instance.object_id:
            self._called, self._shared_s = instance.object_id, instance.shelf.now_s
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def wait(self, instance: Instance, event: Event) -> None:
        """The object has had its share: the event begins in a later round."""
        instance.backlog.append(event)
        self._waiting[instance] = None
        instance.shelf.kept_out[instance] = None

    def _next(self) -> None:
        """What began before this has run its first steps: a new round."""
        self._scheduled = False
        began, self._began = self._began, []
        for instance in began:
            instance.share = EVENTS_A_ROUND
        for instance in list(self._waiting):
            self._begin_share(instance)

    def _begin_share(self, instance: Instance) -> None:
        backlog = instance.backlog
        alone = instance.shelf.now_s - self._shared_s > ALONE_S
        self.begins(instance)
        instance.share = 0
        for _ in range(min(len(backlog), EVENTS_ALONE if alone else EVENTS_A_ROUND)):
            event = backlog.popleft()
            if not event.answered:
                instance.start(event)
        if not backlog:
            del self._waiting[instance]

    def statistics(self) -> dict[str, int]:
        return {"objects_waiting_for_their_share": len(self._waiting)}
