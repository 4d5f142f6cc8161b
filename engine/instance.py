"""One resident object: its lifecycle, the events it runs, and what happens when it must be reset.

COLD → LOADING (the constructor, under the gate) → IDLE ⇄ RUNNING → HIBERNATED or EVICTED, or BROKEN from where it is in memory.

What always holds: one instance per id has its storage; a broken instance never runs user code again; each call is
answered exactly once, and not before what it depends on is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from . import call_cycles, leaving, rates, resetting
from .ages import TOO_LONG, late
from .alarm_calls import blame
from .awake import Pending
from .bodies import ArrivingBody, OutgoingBody
from .bookmarks import History
from .busy import end_active
from .callbacks import enter_otherwise
from .calls import FETCH, REFERENCE, REQUEST_ID, RPC, Call, Result
from .class_runtime import ClassRuntime
from .commits import CommitRecord, Effect
from .errors import (
    ByReference,
    DurableObjectAbort,
    ObjectReset,
    PerdureError,
    QuotaExceeded,
    StorageFull,
    StorageUnavailable,
)
from .exports import Parcel
from .fairness import EVENTS_A_ROUND
from .gate import BLOCKED, InputGate, OutputGate
from .handlers import has_handler
from .handling import Handler
from .ids import ObjectId
from .lifecycle import State, check_move
from .mailbox import overloaded
from .meters import Meters
from .raised import as_remote
from .reference_calls import section_of
from .sections import Sections
from .settling import Settling
from .shelf import Shelf
from .socket_resets import spares, told
from .socket_sending import SENT
from .sockets import Sockets
from .turnhost import StorageBackend
from .turns import SCOPE, Event, InstanceGone, drive
from .values import pack
from .waiting import all_durable

if TYPE_CHECKING:
    from .storage import DurableObjectStorage

T = TypeVar("T")


class Instance:
    """One object in memory. Implements TurnHost for its storage and Committable for the group commit."""

    __slots__ = (
        "_state",
        "abandoned",
        "active_s",
        "active_since_s",
        "arriving",
        "backlog",
        "bodies",
        "broken",
        "calls_left",
        "calls_max",
        "circling",
        "clock",
        "context",
        "disk",
        "events",
        "fatal",
        "handler",
        "input",
        "key",
        "limits",
        "meters",
        "name",
        "object",
        "object_id",
        "output",
        "pending",
        "queued",
        "queued_bytes",
        "runtime",
        "sections",
        "settles",
        "settling",
        "share",
        "shelf",
        "sockets",
        "storage",
        "storage_api",
        "tasks",
        "touched",
        "turn_dirty",
        "turns",
        "used_s",
        "waiting_s",
    )

    storage: StorageBackend
    storage_api: DurableObjectStorage

    def __init__(self, shelf: Shelf, runtime: ClassRuntime, object_id: bytes, name: str | None) -> None:
        self.shelf = shelf
        self.runtime = runtime
        self.key = runtime.key
        self.object_id = object_id
        self.name = name
        self.clock, self.disk, self.turns = shelf.clock, shelf.disk, shelf.turns
        self.limits = runtime.limits or shelf.limits
        self.meters = Meters()
        self.active_s = 0.0
        """Of busy periods that are over; `busy.take_meters` puts it into the meters."""
        self.active_since_s = 0.0
        """When the running busy period began (monotonic seconds); 0: idle, and not billed."""
        self.object: object | None = None
        self.context: object | None = None
        self.input = InputGate(shelf.turns.loop)
        self.sections = Sections(self)
        self.events: dict[Event, None] = {}
        self.tasks: dict[asyncio.Task[object], float] = {}
        """With when each was created (monotonic seconds, coarse)."""
        self.pending: Pending | None = None
        """Timers and outgoing calls, once it has had any (`awake`)."""
        self.bodies: set[OutgoingBody] = set()
        self.arriving: weakref.WeakSet[ArrivingBody] | None = None
        """Bodies of answers that it has got from outside, once it has had any."""
        self.circling: dict[Event, float | None] = {}
        """Events that this object's own calls have led to; `call_cycles` watches them."""
        self.calls_max = self.calls_left = rates.first_bound(self)
        """Calls that it may be given until `rates` reads how many it was given."""
        self.backlog: deque[Event] = deque()
        """Events that wait for their share of a loop round (`fairness`)."""
        self.share = EVENTS_A_ROUND
        """Events that it may still begin in this loop round."""
        self.queued = 0
        self.queued_bytes = 0
        self.used_s = shelf.now_s
        self.touched = 0
        """The newest batch with any write of this object, confirmed or not."""
        self.waiting_s = 0.0
        """When the oldest of its writes that are not durable was made, by the coarse clock."""
        self.turn_dirty: bool | int = False
        """The running turn has written; SENT: it has only sent to sockets."""
        self.sockets: Sockets | None = None
        """Once it has had any."""
        self.fatal: PerdureError | None = None
        """Breaks the object as soon as the running step is over."""
        self.broken: PerdureError | None = None
        self.abandoned = False
        self.settles = False
        """Its main file is to be completed, or is being so: `settling` says when."""
        self.settling = Settling(self)
        self._state = State.COLD
        self.handler = Handler(self)

    # ------------------------------------------------------------------ lifecycle
    def attach(self, storage: StorageBackend, api: DurableObjectStorage, output: OutputGate) -> None:
        """Second half of construction: storage needs the instance as its host."""
        self.storage = storage
        self.storage_api = api
        self.output = output

    @property
    def id(self) -> ObjectId:
        return ObjectId(self.object_id, self.name)

    @property
    def state(self) -> State:
        if self._state is State.IDLE and (self.events or self.tasks):
            return State.RUNNING
        return self._state

    def move(self, to: State) -> None:
        """Change the state. Raises ProgramBug for an illegal move, naming both states."""
        check_move(self, self.state, to)
        self._state = to

    def __repr__(self) -> str:
        return f"{self.runtime.name}/{self.name or self.object_id.hex()}"

    # ------------------------------------------------------------------ events
    def deliver(self, call: Call) -> None:
        """Run a call as an event, or refuse it when the mailbox is full."""
        if call.name is not None and self.name is None:
            self.name = call.name
        limits = self.limits
        left = self.calls_left
        if left <= 0 and call.kind in (RPC, FETCH):
            call.answer(call, rates.refusal(self))
            return
        self.calls_left = left - 1
        if self.queued >= limits.mailbox_length_max or self.queued_bytes > limits.mailbox_bytes_max:
            what = "Too many requests queued" if self.queued >= limits.mailbox_length_max else "Too much data queued"
            call.answer(call, overloaded(self, what))
            return
        event = Event(self, call)
        if call.kind == REFERENCE:
            event.section = section_of(call)
        call.handle = event
        self.events[event] = None
        self.queued += 1
        self.queued_bytes += len(call.payload)
        self.used_s = call.arrived_s = self.shelf.now_s
        if call.chain:
            call_cycles.arrived(self, event)
        share = self.share
        if share == EVENTS_A_ROUND:
            self.shelf.rotation.begins(self)
        elif not share:
            self.shelf.rotation.wait(self, event)
            return
        self.share = share - 1
        event.task = asyncio.Task(self._run(event, call), loop=self.turns.loop, name="event")

    def start(self, event: Event) -> None:
        """Begin an event that has waited for its share of a loop round."""
        event.task = asyncio.Task(self._run(event, cast("Call", event.call)), loop=self.turns.loop, name="event")

    async def _run(self, event: Event, call: Call) -> None:
        SCOPE.set(event)
        if call.request_id:
            REQUEST_ID.set(call.request_id)
        result: Result
        try:
            method, gate = self.handler.ready(call), self.input
            if gate.holder is None and gate.section is None and not gate.waiters:  # `try_enter`, on the hot path
                gate.holder = event
                entered = True
            else:
                entered = method is not None and gate.try_enter(event)
            if method is None or not entered:
                result = await drive(event, self.handler.handle(event, call))
            else:
                begun, value = self.handler.begin_at_once(event, call, method)
                value = (await drive(event, *value)) if begun else value
                try:
                    result = pack(value)
                except ByReference:
                    result = None
                if result is None:
                    result = self.shelf.transport.exports.pack(value)
        except (InstanceGone, GeneratorExit):
            return
        except DurableObjectAbort as abort:
            self.fatal = self.fatal or resetting.abort_error(self, abort.reason)
            self.break_now()
            return
        except asyncio.CancelledError as error:
            if self.broken is not None:
                return
            result = as_remote(error, with_properties=self.runtime.errors_keep_properties, object_id=self.object_id)
        except BaseException as error:
            if self.broken is not None:
                return
            result = as_remote(error, with_properties=self.runtime.errors_keep_properties, object_id=self.object_id)
            if self.fatal is None:
                self.handler.report_raised(call, error, result)
        if self.fatal is not None:
            self.break_now()
            return
        self._finish(event, call, result)

    def _finish(self, event: Event, call: Call, result: Result) -> None:
        if event.answered:  # cancelled by its caller, or told that it was part of a cycle
            Parcel.lost(result)
            if self.events.pop(event, event) is None and not self.events and not self.tasks:
                end_active(self)
            self.end_turn(event)
            return
        del self.events[event]
        if not self.events and not self.tasks and self.active_since_s:  # `end_active`, on the hot path
            self.active_s += self.clock.monotonic_s() - self.active_since_s
            self.active_since_s = 0.0
            self.used_s = self.shelf.now_s
        event.answered = True
        if call.kind != RPC:  # who answers these begins tasks and timers, which are not the object's
            SCOPE.set(None)
        event.task = call.handle = None  # cycles: without this each call would be work for the garbage collector
        if event.children:  # what it started may still belong to this turn: let it become quiet first
            self.output.emit(call.answer, call, result)
            event.quiet = self.turns.rounds
            if not event.watched:
                event.watched = True
                self.turns.loop.call_soon(self.watch_quiet, event)
            return
        if self.turn_dirty and not self.try_commit():
            Parcel.lost(result)
            error = self.broken or ObjectReset()
            call.answer(call, told(call, error, spares(self, error, self.state)))
            return
        self.output.emit(call.answer, call, result)
        if self.input.holder is event:
            self._turn_over()

    def begin(self, event: Event, call: Call) -> PerdureError | None:
        """The event has the turn for the first time. Gives the error it must end with, if it waited too long."""
        event.begun = True
        if not self.active_since_s:
            self.active_since_s = self.clock.monotonic_s()
        self.queued -= 1
        self.queued_bytes -= len(call.payload)
        waited_s = self.shelf.now_s - call.arrived_s
        if waited_s * 1000 > self.limits.mailbox_age_ms_max:
            return overloaded(self, TOO_LONG)
        if waited_s > call.within_s:
            return late(self, call)
        if (
            call.kind <= FETCH
        ):  # a call of what another one gave is of its session; alarms and messages are counted apart
            self.meters.requests += 1
        return None

    # ------------------------------------------------------------------ turns
    def watch_quiet(self, event: Event) -> None:
        """Once a loop round while a turn is suspended: ends it when nothing of it has run for some rounds."""
        if self.input.holder is not event or event.pinned:
            event.watched = False
            return
        event.quiet -= 1
        if event.quiet > 0:
            self.turns.loop.call_soon(self.watch_quiet, event)
            return
        event.watched = False
        self.end_turn(event)

    def end_turn(self, event: Event) -> None:
        """Commit what the turn wrote and let the next one in."""
        if self.turn_dirty and not self.try_commit():
            return
        if self.input.holder is event:
            self._turn_over()

    def _turn_over(self) -> None:
        self.input.holder = None
        if self.settles and not self.sections.open():
            self.settling.when_durable()
        else:
            self.input.admit()

    def try_commit(self) -> bool:
        """Commit what the turn wrote; False: that failed, and the object was reset."""
        try:
            if self.sockets is not None:
                self.sockets.turn_ends()
                if self.turn_dirty == SENT:
                    self.turn_dirty = False
                    return True
            self.turn_dirty = False
            self.storage.end_turn()
        except PerdureError as error:
            if isinstance(self.input.holder, Event) and not isinstance(error, StorageFull):
                blame(self, self.input.holder)
            self.reset(error)
            return False
        except BaseException as error:  # half a commit: the log alone knows what is true
            self.output.commits.end(error)
            raise
        commits = self.output.commits
        batch = commits.touch(self)
        if batch != self.touched:
            if self.touched <= commits.durable():
                self.waiting_s = self.shelf.now_s
            self.touched = self.turns.newest_batch = batch
        if self.output.closing:
            self.output.close(batch)
        return True

    def callback_ended(self, event: Event) -> None:
        """A loop callback that used storage is over."""
        if self.fatal is not None:
            self.break_now()
        elif event.call is None and event.task is None and self.input.holder is event:
            self.end_turn(event)

    def task_ended(self, event: Event) -> None:
        """A task that user code created has ended: the turn may now be over."""
        if not self.tasks and not self.events:
            end_active(self)
        if self.fatal is not None:
            self.break_now()
        elif self.input.holder is event and not event.pinned:
            event.quiet = self.turns.rounds  # also while it is watched: who awaits the task has yet to go on
            if not event.watched:
                event.watched = True
                self.turns.loop.call_soon(self.watch_quiet, event)

    # ------------------------------------------------------------------ TurnHost
    def enter_storage(self) -> None:
        turns = self.turns
        if turns.running is not self or threading.get_ident() != turns.thread:
            enter_otherwise(self)

    def may_write(self) -> None:
        refusal = self.shelf.write_refusal
        if refusal is not None:
            raise QuotaExceeded(refusal.message, hint=refusal.hint, object_id=self.object_id.hex())

    def wrote(self, unconfirmed: bool = False) -> None:
        self.turn_dirty = True
        if not unconfirmed:
            self.output.closing = True

    def commit_turn(self) -> None:
        if self.turn_dirty and not self.try_commit():
            raise self.broken or ObjectReset()

    def durable(self) -> Awaitable[None]:
        return all_durable(self)

    def section(self, body: Callable[[], Awaitable[T]], what: str) -> Awaitable[T]:
        return self.sections.enter(body, what, breaking=False)

    def inner_sections_ended(self) -> Awaitable[None]:
        return self.sections.inner_ended()

    def has_alarm_handler(self) -> bool:
        return self.object is None or has_handler(self.runtime, "alarm")

    def break_object(self, error: BaseException) -> None:
        if self.fatal is None and self.broken is None:
            self.fatal = (
                error
                if isinstance(error, PerdureError)
                else as_remote(error, with_properties=self.runtime.errors_keep_properties)
            )
            self.fatal.durableObjectReset, self.fatal.remote = True, False  # as the reference tells of a reset
            blame(self)

    # ------------------------------------------------------------------ Committable
    def capture(self) -> CommitRecord | None:
        if self.abandoned:
            return None
        try:
            return self.storage.capture()
        except PerdureError as error:
            self.reset(error)
            raise

    def committed(self, change: int) -> None:
        if self.abandoned:
            return
        self.storage.committed(change)
        if self.broken is None and self.storage.wal_bytes() > self.limits.wal_bytes_checkpoint:
            if self.storage.may_close():
                with contextlib.suppress(StorageFull):  # the -wal keeps it; the marker tries again, and says so
                    self.settling.settle()

    def is_waiting(self) -> bool:
        """Whether nothing of it has run yet, because its file is being changed."""
        return self.state is State.COLD and self.input.holder is BLOCKED

    def postponed(self, batch: int) -> None:
        if self.output.batch == self.touched:
            self.output.batch = batch
        self.touched = batch

    def failed(self, error: BaseException, dropped: Sequence[Effect]) -> None:
        resetting.failed(self, error, dropped)

    # ------------------------------------------------------------------ eviction
    def forget_program(self) -> None:
        """It has left memory. Whatever its program's object held goes with it now, not when garbage is collected: stubs, too,
        are let go of, and what they lead to may leave memory in its turn."""
        self.object = self.context = None
        self.handler.forget()
        if self.sockets is not None:
            self.sockets.stop()
        for body in list(self.arriving or ()):
            body.end()

    def at_rest(self) -> bool:
        """No turn is open, everything is durable, nobody needs the storage."""
        return (
            self.input.holder is None
            and not self.turn_dirty
            and self.touched <= self.output.commits.durable()
            and self.storage.may_close()
        )

    def quiet(self) -> bool:
        """At rest, and no event or task of it is there. Timers and calls that have left may be (`awake`)."""
        if self.sockets is not None and self.sockets.unsettled():  # what waits for holders would be lost with it
            return False
        return not self.events and not self.tasks and self.at_rest()

    def hibernate(self) -> None:
        """Drop a quiet object from memory; its next event constructs it anew."""
        leaving.hibernate(self)

    def evict(self) -> None:
        """Drop an object that is at rest from memory, and cancel what it does."""
        leaving.evict(self)

    # ------------------------------------------------------------------ sockets
    def all_sockets(self) -> Sockets:
        """The object's sockets, made when it has had none."""
        if self.sockets is None:
            self.sockets = Sockets(self)
        return self.sockets

    # ------------------------------------------------------------------ the past
    @property
    def history(self) -> History:
        found = self.shelf.history
        if found is None:
            raise StorageUnavailable("no history is kept here", retryable=False)
        return found

    # ------------------------------------------------------------------ reset
    def break_now(self) -> None:
        """Apply a pending `fatal`."""
        error, self.fatal = self.fatal, None
        if error is not None and self.broken is None:
            self.reset(error)

    def reset(self, error: PerdureError, *, discard: bool = False) -> None:
        """Undo the running turn, fail whatever runs or waits, and make room for a fresh instance."""
        resetting.reset(self, error, discard=discard)
