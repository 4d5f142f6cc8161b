"""The old side of a hand-off: a shard's process lets its slots go, and lingers until what it has begun is answered.

hold → take back what waits → let run for a moment → preShutdown → release → linger. What always holds: a call that has begun here
is answered here, one that has not is given back and runs in the next session; after the release nothing of the data folder is
touched.
"""

from __future__ import annotations

import asyncio
from typing import cast

from ..engine.calls import FETCH, REFERENCE, RPC
from ..engine.errors import ObjectReset
from ..engine.shutting_down import Reason
from ..engine.superseding import events_ended, take_waiting
from ..router.server import Acceptor, Links
from .operations import Operations
from .session import Session

LINGER_S_MAX = 30.0
"""What running events get after they have lost their storage (spec: shutdown by deploy)."""
LINGER_S_MIN = 2.0
"""Callers that have not yet heard of the next session are told by us."""
PRE_SHUTDOWN_S_MAX = 10.0
_LOOK_S = 0.02
_CHANGES_S = 2.0
_WHY: dict[Reason, str] = {"codeUpdated": "its code was updated", "inactive": "its process was replaced"}


class Leaving:
    """Of one shard process."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, session: Session, acceptor: Acceptor, operations: Operations
    ) -> None:
        self._loop = loop
        self._session = session
        self._residents = session.residents
        self._acceptor = acceptor
        self._operations = operations
        self._until_s = float("inf")
        self._reason: Reason = "codeUpdated"

    async def release(self, wait_s: float, reason: Reason = "codeUpdated") -> float:
        """Let go of everything; how long that took, in seconds. `wait_s`: for events that run; `reason`: what is told."""
        self._reason = reason
        began_s = self._loop.time()
        self._session.alarms.stop()
        self._acceptor.hold(self._leads_from_here)
        self._take_back(chained=False)
        await events_ended(self._residents, wait_s)
        self._acceptor.hold(_nobody)
        self._take_back(chained=True)
        await self._residents.tell_shutdown(reason, PRE_SHUTDOWN_S_MAX)
        await self._operations.stop()
        await self._session.timeline.finish(_CHANGES_S)
        await self._session.hand_over()
        self._acceptor.flush()
        return self._loop.time() - began_s

    def _take_back(self, *, chained: bool) -> None:
        """What has arrived and not begun. `chained`: also what a running event waits for.

        A call of what was sent by reference can run here only.
        """
        runs = self._residents.runs
        calls = take_waiting(
            self._residents.instances,
            lambda call: (
                call.kind == REFERENCE or (not chained and any(runs(object_id) for object_id, _ in call.chain))
            ),
        )
        for call in calls:
            if call.kind in (RPC, FETCH):  # else it is an alarm: it is due in the next session as well
                self._acceptor.take_back(call)

    def _leads_from_here(self, links: Links) -> bool:
        """Whether an event that runs here waits for the call, perhaps through other objects."""
        return any(self._residents.runs(cast("bytes", link[0])) for link in links)

    # ------------------------------------------------------------------ afterwards
    def hurry(self, seconds: float) -> None:
        """Linger no longer than that from now on."""
        self._until_s = min(self._until_s, self._loop.time() + seconds)

    async def linger(self) -> None:
        """Until everything that has begun is answered, for a bounded time; what runs on is told to end."""
        now_s = self._loop.time()
        soonest_s = now_s + LINGER_S_MIN
        self._until_s = min(self._until_s, now_s + LINGER_S_MAX)
        while (now_s := self._loop.time()) < self._until_s:
            if now_s >= soonest_s and not self._acceptor.owes and not self._acceptor.held and not self._busy():
                return
            await asyncio.sleep(_LOOK_S)
        error = ObjectReset(
            f"This Durable Object was reset because {_WHY[self._reason]}: retry on a new stub", retryable=True
        )
        for instance in list(self._residents.superseded.values()):
            if instance.events or instance.tasks or instance.bodies:
                instance.reset(error)
        self._acceptor.flush()

    def _busy(self) -> bool:
        return any(i.events or i.tasks or i.bodies for i in self._residents.superseded.values())


def _nobody(_links: Links) -> bool:
    return False
