"""The two gates of an object, and the critical sections between them.

Input gate: one event at a time has the turn. Whoever wants to run, a new event or a task that resumes, enters when nobody
has the turn and no critical section that it does not belong to is open; the others wait in the order they came. A turn
is handed over, never left free for a late comer to grab, so no event overtakes one that waited.

Output gate: what leaves the object waits until all that was written before it is durable. Reads never close it. If a
commit fails, what waited for it is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol

from .commits import Commits, Committable, Effect


class Section:
    """A critical section: only what it started may resume while it is open. Sections form a tree; siblings take turns."""

    __slots__ = ("closed", "depth", "opener", "parent", "task")

    def __init__(self, parent: Section | None, opener: object = None) -> None:
        self.parent = parent
        self.opener = opener
        """The event that opened it."""
        self.task: asyncio.Task[None] | None = None
        """Runs its body, once it has begun."""
        self.depth: int = 1 if parent is None else parent.depth + 1
        self.closed = False

    def within(self, outer: Section) -> bool:
        """Whether this is `outer` or lies inside it."""
        section: Section | None = self
        while section is not None:
            if section is outer:
                return True
            section = section.parent
        return False


def innermost_open(section: Section | None) -> Section | None:
    """A task that outlives the section it was started in belongs to the next one around it."""
    while section is not None and section.closed:
        section = section.parent
    return section


class Entrant(Protocol):
    """Who asks for the turn: the event that it belongs to, and the section it runs in."""

    @property
    def event(self) -> object: ...
    @property
    def section(self) -> Section | None: ...


class GateFuture(asyncio.Future[None]):
    """What a task waits for at the gate. A cancellation does not end the wait: the task gets it when the gate opens."""

    def cancel(self, msg: object = None) -> bool:
        return False


BLOCKED = object()
"""Has the turn while nobody may: the object's file is being opened, checkpointed or closed."""
BROKEN = object()
"""Has the turn for good: the object was reset."""


class Waiter:
    """A place in the queue. `admitted`: it has the turn. `woken`: its task runs in this loop round anyway."""

    __slots__ = ("admitted", "future", "who", "woken")

    def __init__(self, who: Entrant, future: GateFuture) -> None:
        self.who = who
        self.future = future
        self.admitted = False
        self.woken = False


class _Nobody:
    """In the place of who has gone."""

    event: object = None
    section: Section | None = None


NOBODY = _Nobody()
_AHEAD_MAX = 64


class InputGate:
    """Who has the turn (`holder`: an event, BLOCKED, BROKEN or None), which section is open, who waits.

    A queue that empties by one waiter a loop round would give each its own commit and its own sync, and would never empty
    under load. So the next waiters are woken together with the first, in their order, and each finds the turn free when the
    one before it has ended in the same round. One that does not find it so waits on in its place. How many are woken
    doubles while that works and falls back to none when a turn suspends.
    """

    __slots__ = ("_ahead", "_loop", "_woken", "holder", "section", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.holder: object | None = None
        self.section: Section | None = None
        self.waiters: deque[Waiter] = deque()
        self._loop = loop
        self._ahead = 1
        self._woken = 0

    def admits(self, who: Entrant) -> bool:
        """Whether the open section, if any, lets `who` run; says nothing of the turn."""
        if self.section is None:
            return True
        section = innermost_open(who.section)
        return section is not None and section.within(self.section)

    def try_enter(self, who: Entrant) -> bool:
        """Take the turn now if it is free, or go on with it; False: wait."""
        if self.holder is who.event:
            return self.admits(who)
        if self.holder is not None or not self.admits(who):
            return False
        # Those admitted before go first. With a section open most waiters are not admitted and do not count.
        if self.waiters and (self.section is None or any(self.admits(waiter.who) for waiter in self.waiters)):
            return False
        self.holder = who.event
        return True

    def wait(self, who: Entrant) -> Waiter:
        """Queue up. When its future is done look at `admitted`: if False, and the gate is whole, `wait_on`."""
        waiter = Waiter(who, GateFuture(loop=self._loop))
        self.waiters.append(waiter)
        return waiter

    def wait_on(self, waiter: Waiter) -> None:
        """It was woken ahead, but the turn before it has not ended: it keeps its place."""
        waiter.future = GateFuture(loop=self._loop)
        waiter.woken = False
        self._woken -= 1
        self._ahead = 1

    def withdraw(self, event: object) -> None:
        """An event that has not begun never will: its task is woken to end, where it finds NOBODY in its place.

        Cheap for those that have waited longest; else a callers' flood of calls taken back would wait here without a bound.
        """
        for index, waiter in enumerate(self.waiters):
            if waiter.who.event is not event:
                continue
            del self.waiters[index]
            waiter.who = NOBODY
            if waiter.woken:
                waiter.woken = False
                self._woken -= 1
            else:
                waiter.future.set_result(None)
            return

    def leave(self) -> None:
        """The turn has ended: hand it to the first waiter that may run, and to all waiters of the same event."""
        self.holder = None
        self.admit()

    def admit(self) -> None:
        """Let in whoever may enter now."""
        if not self.waiters or self.holder is BLOCKED or self.holder is BROKEN:
            return
        if self.section is None and self.holder is None:
            waiter = self.waiters.popleft()
            self._grant(waiter)
            if not self.waiters:
                return
            if not getattr(waiter.who.event, "children", 0):  # no other task of the event can be waiting
                self._wake_ahead()
                return
        kept: deque[Waiter] = deque()
        for waiter in self.waiters:
            if (self.holder is None or self.holder is waiter.who.event) and self.admits(waiter.who):
                self._grant(waiter)
            else:
                kept.append(waiter)
        self.waiters = kept

    def _grant(self, waiter: Waiter) -> None:
        self.holder = waiter.who.event
        waiter.admitted = True
        if waiter.woken:
            self._woken -= 1
            self._ahead = min(self._ahead * 2, _AHEAD_MAX)
        else:
            waiter.future.set_result(None)

    def _wake_ahead(self) -> None:
        if self._woken:
            return
        for waiter in islice(self.waiters, self._ahead):
            waiter.woken = True
            self._woken += 1
            waiter.future.set_result(None)

    def block(self) -> None:
        """Let nobody in. Only where nobody has the turn."""
        assert self.holder is None, f"cannot block the gate: held by {self.holder}"
        self.holder = BLOCKED

    def unblock(self) -> None:
        """Undo `block`."""
        assert self.holder is BLOCKED, f"cannot unblock the gate: held by {self.holder}"
        self.leave()

    def shut(self) -> None:
        """The object was reset: wake everybody who waits, so that their tasks end."""
        self.holder = BROKEN
        self.section = None
        waiters, self.waiters = self.waiters, deque()
        for waiter in waiters:
            if not waiter.woken:
                waiter.future.set_result(None)


class OutputGate:
    """Holds effects of one object until the writes before them are durable."""

    __slots__ = ("_held", "_who", "batch", "closing", "commits")

    def __init__(self, commits: Commits, who: Committable) -> None:
        self.batch = 0
        """The newest batch that holds a confirmed write of this object."""
        self.closing = False
        """The running turn has written: what it emits from now on waits for its commit, which has no number yet."""
        self.commits = commits
        self._who = who
        self._held: list[Effect] = []

    def open(self) -> bool:
        """Whether an effect emitted now would run at once."""
        return not self.closing and self.batch <= self.commits.durable()

    def emit(self, effect: Callable[..., None], *args: object) -> None:
        """Run `effect(*args)` as soon as all that was written before is durable; never if that fails."""
        if self.closing:
            self._held.append((effect, args))
        elif self.batch > self.commits.durable():
            self.commits.hold(self.batch, self._who, effect, *args)
        else:
            effect(*args)

    def close(self, batch: int) -> None:
        """The turn's writes go with `batch`: what it emitted after them waits for it."""
        self.batch = batch
        self.closing = False
        if self._held:
            held, self._held = self._held, []
            for effect, args in held:
                self.commits.hold(batch, self._who, effect, *args)

    def drop(self) -> list[Effect]:
        """The running turn is undone: what it emitted after its writes never leaves, and is given back."""
        self.closing = False
        dropped, self._held = self._held, []
        return dropped
