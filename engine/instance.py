"""One resident object: its lifecycle, the events it runs, and what happens when it must be reset.

COLD → LOADING (the constructor, under the gate) → IDLE ⇄ RUNNING → EVICTED, or BROKEN from anywhere but EVICTED.

What always holds: one instance per id has its storage; a broken instance never runs user code again; each call is
answered exactly once, and not before what it depends on is durable.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from .bodies import OutgoingBody
from .bookmarks import History, Position
from .calls import REQUEST_ID, Call
from .clock import Clock
from .commits import CommitRecord, Effect
from .disk import Disk
from .errors import (
    DurableObjectAbort,
    ObjectReset,
    Overloaded,
    PerdureError,
    ProgramBug,
    QuotaExceeded,
    StorageUnavailable,
)
from .gate import BLOCKED, InputGate, OutputGate
from .handling import Handler, as_remote
from .http import HttpRequest, HttpResponse
from .ids import ClassKey, ObjectId
from .lifecycle import State, check_move
from .limits import Limits
from .meters import Meters
from .sections import Sections
from .stubs import Transport
from .turnhost import StorageBackend
from .turns import SCOPE, Event, InstanceGone, Turns, drive
from .values import EMPTY_ARGS, pack, unpack

if TYPE_CHECKING:
    from .storage import DurableObjectStorage

T = TypeVar("T")


class HttpAdapter(Protocol):
    """How the SDK's Request and Response are made from, and turned into, what travels."""

    def to_request(self, request: HttpRequest) -> object: ...
    async def from_response(self, response: object) -> HttpResponse: ...


@dataclass(slots=True, eq=False)
class ClassRuntime:
    """What all objects of one class share: the program's class, its `env`, its HTTP adapter."""

    key: ClassKey
    name: str
    cls: type
    env: object
    http: HttpAdapter
    sqlite: bool = True
    delete_all_deletes_alarm: bool = True
    """`deleteAll` disarms the alarm too (compatibility date 2026-02-24)."""
    limits: Limits | None = None
    """Bounds of the class's own; None: the shard's."""


class Shelf(Protocol):
    """What an instance needs of the collection that it stands in."""

    turns: Turns
    clock: Clock
    disk: Disk
    limits: Limits
    transport: Transport
    history: History | None
    """None: nothing of the past is kept."""
    threads: Executor
    """For checkpoints that would stop the loop for too long."""
    now_s: float
    write_refusal: PerdureError | None
    """Set while a quota refuses writes."""
    failed_restores: dict[bytes, Position]
    """Points that could not be restored, as long as that is not noted in the objects' own databases."""

    def forget(self, instance: Instance, error: PerdureError) -> None:
        """The instance is broken: the next event gets a new one, once `closed` was called."""
        ...

    def closed(self, instance: Instance) -> None:
        """A broken instance's storage is closed and its file is right."""
        ...

    def metered(self, instance: Instance, taken: Meters) -> None:
        """What an instance has used since its meters were last taken."""
        ...

    def settled(self, instance: Instance, change: int) -> None:
        """The main file is complete up to `change`."""
        ...

    def report(self, level: str, event: str, fields: dict[str, object]) -> None: ...


async def _await(value: Awaitable[object]) -> object:
    return await value


class Instance:
    """One object in memory. Implements TurnHost for its storage and Committable for the group commit."""

    __slots__ = (
        "_settling",
        "_state",
        "abandoned",
        "active_s",
        "active_since_s",
        "bodies",
        "broken",
        "clock",
        "context",
        "disk",
        "events",
        "fatal",
        "folding",
        "handler",
        "input",
        "key",
        "limits",
        "meters",
        "name",
        "object",
        "object_id",
        "output",
        "queued",
        "queued_bytes",
        "runtime",
        "sections",
        "shelf",
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
        """Of busy periods that are over; `take_meters` puts it into the meters."""
        self.active_since_s = 0.0
        """When the running busy period began (monotonic seconds); 0: idle, and not billed."""
        self.object: object | None = None
        self.context: object | None = None
        self.input = InputGate(shelf.turns.loop)
        self.sections = Sections(self)
        self.events: dict[Event, None] = {}
        self.tasks: set[asyncio.Task[object]] = set()
        self.bodies: set[OutgoingBody] = set()
        self.queued = 0
        self.queued_bytes = 0
        self.used_s = shelf.now_s
        self.touched = 0
        """The newest batch with any write of this object, confirmed or not."""
        self.waiting_s = 0.0
        """When the oldest of its writes that are not durable was made, by the coarse clock."""
        self.turn_dirty = False
        self.fatal: PerdureError | None = None
        """Breaks the object as soon as the running step is over."""
        self.broken: PerdureError | None = None
        self.abandoned = False
        self.folding = False
        """A checkpoint runs on a thread: the storage must not be touched."""
        self._settling = False
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
        if self.queued >= limits.mailbox_length_max or self.queued_bytes > limits.mailbox_bytes_max:
            what = "Too many requests queued" if self.queued >= limits.mailbox_length_max else "Too much data queued"
            call.answer(call, self._overloaded(what))
            return
        event = Event(self, call)
        call.handle = event
        self.events[event] = None
        self.queued += 1
        self.queued_bytes += len(call.payload)
        self.used_s = call.arrived_s = self.shelf.now_s
        event.task = asyncio.Task(self._run(event, call), loop=self.turns.loop, name="event")

    def _overloaded(self, what: str) -> PerdureError:
        return Overloaded(
            f"Durable Object is overloaded. {what}.",
            object_id=self.object_id.hex(),
            hint="spread the load over more objects, or back off",
        )

    async def _run(self, event: Event, call: Call) -> None:
        SCOPE.set(event)
        if call.request_id:
            REQUEST_ID.set(call.request_id)
        result: bytes | HttpResponse | PerdureError
        try:
            method = self.handler.ready(call)
            if method is None or not self.input.try_enter(event):
                result = await drive(event, self.handler.handle(event, call))  # pyright: ignore[reportAssignmentType]
            else:
                begun, value = self._begin_at_once(event, call, method)
                result = pack((await drive(event, *value)) if begun else value)
        except (InstanceGone, GeneratorExit):
            return
        except DurableObjectAbort as abort:
            self.fatal = self.fatal or self.abort_error(abort.reason)
            self.break_now()
            return
        except asyncio.CancelledError as error:
            if self.broken is not None:
                return
            result = as_remote(error)
        except BaseException as error:
            if self.broken is not None:
                return
            result = as_remote(error)
            self._report_raised(call, error, result)
        if self.fatal is not None:
            self.break_now()
            return
        self._finish(event, call, result)

    def _begin_at_once(self, event: Event, call: Call, method: Callable[..., Any]) -> tuple[bool, Any]:
        """The first step without a driver: most methods end in it. (False, result), or (True, what `drive` goes on with)."""
        late = self.begin(event, call)
        if late is not None:
            raise late
        turns = self.turns
        if turns.running is not None:
            turns.end_callback()
        turns.running, turns.scope = self, event
        try:
            value = method() if call.payload == EMPTY_ARGS else method(*cast("list[object]", unpack(call.payload)))
            if type(value) is CoroutineType:
                try:
                    return True, (value, True, value.send(None))
                except StopIteration as stop:
                    return False, stop.value
        finally:
            turns.running = turns.scope = None
        if hasattr(value, "__await__"):
            return True, (_await(value),)
        return False, value

    def _report_raised(self, call: Call, error: BaseException, result: PerdureError) -> None:
        """The program's own exception, with what an operator needs to find it."""
        if isinstance(error, PerdureError):
            return
        fields: dict[str, object] = {"object": str(self), "id": self.object_id.hex(), "method": call.method}
        self.shelf.report("warning", "raised", {**fields, "request_id": call.request_id, "traceback": result.message})

    def _finish(self, event: Event, call: Call, result: bytes | HttpResponse | PerdureError) -> None:
        if event.answered:  # cancelled by its caller
            self.end_turn(event)
            return
        del self.events[event]
        if not self.events and not self.tasks and self.active_since_s:  # `_end_active`, on the hot path
            self.active_s += self.clock.monotonic_s() - self.active_since_s
            self.active_since_s = 0.0
        event.answered = True
        event.task = call.handle = None  # cycles: without this each call would be work for the garbage collector
        if event.children:  # what it started may still belong to this turn: let it become quiet first
            self.output.emit(call.answer, call, result)
            event.quiet = self.turns.rounds
            if not event.watched:
                event.watched = True
                self.turns.loop.call_soon(self.watch_quiet, event)
            return
        if self.turn_dirty and not self._commit_turn():
            call.answer(call, self.broken or ObjectReset())
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
        if (self.shelf.now_s - call.arrived_s) * 1000 > self.limits.mailbox_age_ms_max:
            return self._overloaded("Requests queued for too long")
        self.meters.requests += 1
        return None

    def cancel(self, call: Call) -> None:
        """The caller is gone: cancel the event's task, unless it is inside a critical section."""
        event = call.handle
        if not isinstance(event, Event) or event.answered or event.task is None or event not in self.events:
            return
        if not event.begun:
            self.queued -= 1
            self.queued_bytes -= len(call.payload)
            del self.events[event]
            if not self.events and not self.tasks:
                self._end_active()
            event.answered = True
            self.output.emit(call.answer, call, PerdureError("The call was cancelled by its caller"))
        elif self.input.section is not None:
            return
        event.task.cancel()

    # ------------------------------------------------------------------ meters
    def _end_active(self) -> None:
        """No event and no task is left: the busy period is over. Periods are measured, not calls: a burst costs two looks."""
        if self.active_since_s:
            self.active_s += self.clock.monotonic_s() - self.active_since_s
            self.active_since_s = 0.0

    def task_began(self) -> None:
        """A task of the program keeps the object from hibernating: it is active, also without an event."""
        if not self.active_since_s:
            self.active_since_s = self.clock.monotonic_s()

    def take_meters(self) -> None:
        """Hand what was used so far to the shelf; a busy period that goes on counts up to now."""
        if self.active_since_s:
            now_s = self.clock.monotonic_s()
            self.active_s += now_s - self.active_since_s
            self.active_since_s = now_s
        self.meters.active_us += round(self.active_s * 1e6)
        self.active_s = 0.0
        if self.meters:
            self.shelf.metered(self, self.meters.take())

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
        if self.turn_dirty and not self._commit_turn():
            return
        if self.input.holder is event:
            self._turn_over()

    def _turn_over(self) -> None:
        self.input.holder = None
        if self._settling and not self.sections.open():
            self._settle_when_durable()
        else:
            self.input.admit()

    def _commit_turn(self) -> bool:
        self.turn_dirty = False
        try:
            self.storage.end_turn()
        except PerdureError as error:
            self.reset(error)
            return False
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
        if event.call is None and event.task is None and self.input.holder is event:
            self.end_turn(event)

    def task_ended(self, event: Event) -> None:
        """A task that user code created has ended: the turn may now be over."""
        if not self.tasks and not self.events:
            self._end_active()
        if self.fatal is not None:
            self.break_now()
        elif self.input.holder is event and not event.watched and not event.pinned:
            event.watched = True
            event.quiet = self.turns.rounds
            self.turns.loop.call_soon(self.watch_quiet, event)

    # ------------------------------------------------------------------ TurnHost
    def enter_storage(self) -> None:
        turns = self.turns
        if turns.running is not self or threading.get_ident() != turns.thread:
            self._enter_otherwise()

    def _enter_otherwise(self) -> None:
        turns = self.turns
        if threading.get_ident() != turns.thread:
            raise ProgramBug(
                f"the storage of {self} was used from another thread", hint="use storage on the object's own thread"
            )
        if self.broken is not None or self.fatal is not None or self._state is State.EVICTED:
            raise StorageUnavailable(
                "The instance of this Durable Object was reset: its storage is no longer accessible",
                object_id=self.object_id.hex(),
            )
        if turns.running is not None and not turns.callback:
            raise ProgramBug(f"the storage of {self} was used from a turn of {turns.running}")
        turns.end_callback()
        scope = SCOPE.get()
        if self.input.section is not None and not (
            scope is not None and scope.instance is self and self.input.admits(scope)
        ):
            raise ProgramBug(f"the storage of {self} was used by a callback while a critical section is open")
        self._enter_callback(scope.event if scope is not None and scope.instance is self else None)

    def _enter_callback(self, own: Event | None) -> None:
        gate, turns = self.input, self.turns
        if own is None or gate.holder is not own:
            if isinstance(gate.holder, Event) and not gate.holder.pinned:
                if self.turn_dirty and not self._commit_turn():
                    raise StorageUnavailable("The instance of this Durable Object was reset")
                gate.holder = None
            if gate.holder is not None:
                raise ProgramBug(f"the storage of {self} was used by a callback while it is being written")
            own = Event(self, None)
            gate.holder = own
        turns.running, turns.scope, turns.callback = self, own, True
        turns.loop.call_soon(turns.end_callback)

    def may_write(self) -> None:
        refusal = self.shelf.write_refusal
        if refusal is not None:
            raise QuotaExceeded(refusal.message, hint=refusal.hint, object_id=self.object_id.hex())

    def wrote(self, unconfirmed: bool = False) -> None:
        self.turn_dirty = True
        if not unconfirmed:
            self.output.closing = True

    def commit_turn(self) -> None:
        if self.turn_dirty and not self._commit_turn():
            raise self.broken or ObjectReset()

    def durable(self) -> Awaitable[None]:
        """Done when all writes issued so far are durable; no other event enters meanwhile."""
        future: asyncio.Future[None] = self.turns.loop.create_future()
        scope = self.turns.scope
        self.commit_turn()
        if self.touched <= self.output.commits.durable() or scope is None:
            future.set_result(None)
            return future
        event = scope.event
        event.pinned += 1
        self.output.commits.hold(self.touched, self, self._unpin, event, future)
        return future

    def _unpin(self, event: Event, future: asyncio.Future[None]) -> None:
        event.pinned -= 1
        if not future.done():
            future.set_result(None)
        self.task_ended(event)

    def section(self, body: Callable[[], Awaitable[T]], what: str) -> Awaitable[T]:
        return self.sections.enter(body, what, breaking=False)

    def inner_sections_ended(self) -> Awaitable[None]:
        return self.sections.inner_ended()

    def has_alarm_handler(self) -> bool:
        return self.object is None or callable(getattr(type(self.object), "alarm", None))

    def break_object(self, error: BaseException) -> None:
        if self.fatal is None and self.broken is None:
            self.fatal = error if isinstance(error, PerdureError) else as_remote(error)
            self.fatal.durableObjectReset = True

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
                self.settle()

    def postponed(self, batch: int) -> None:
        if self.output.batch == self.touched:
            self.output.batch = batch
        self.touched = batch

    def failed(self, error: BaseException, dropped: Sequence[Effect]) -> None:
        """A batch with this object's commits failed: nothing in memory or scratch can be trusted."""
        cause = error if isinstance(error, PerdureError) else ObjectReset(str(error))
        self._answer_dropped(dropped, cause)
        if self.abandoned:
            return
        if self.broken is None:
            self.reset(cause, discard=True)
        else:
            self._close_storage(discard=True)

    def fail_late(self, since_s: float) -> None:
        """Reset the object if it waits since before `since_s` for its writes to be durable."""
        commits = self.output.commits
        if self.broken is not None or self.touched <= commits.durable() or self.waiting_s >= since_s:
            return
        error = Overloaded(
            "Durable Object storage operation exceeded timeout which caused object to be reset.",
            reset=True,
            hint="the disk of the data folder is too slow or stalled: see `iostat -x`, `dmesg`",
        )
        self._answer_dropped(commits.drop(self), error)
        self.reset(error)

    # ------------------------------------------------------------------ settle, evict
    def quiet(self) -> bool:
        """Nothing runs, nothing waits, everything is durable."""
        return (
            self.input.holder is None
            and not self.turn_dirty
            and not self.events
            and not self.tasks
            and self.touched <= self.output.commits.durable()
            and self.storage.may_close()
        )

    def settle(self) -> int | None:
        """Complete the main file now and give its change number; None: later, `Shelf.settled` will tell."""
        if self.broken is not None or self._settling:
            return None
        if self._asks_history():
            self.storage.before_checkpoint()
            return self.storage.checkpoint()
        if self.input.holder is None and not self.turn_dirty and not self.sections.open():
            if self.touched <= self.output.commits.durable() and not self._large():
                self.storage.before_checkpoint()
                return self.storage.checkpoint()
            self._settle_when_durable()
            return None
        self._settling = True
        return None

    def _asks_history(self) -> bool:
        """The running turn waits for history, which may need the main file complete; everything is durable."""
        holder = self.input.holder
        return (
            isinstance(holder, Event)
            and holder.pinned > 0
            and not self.turn_dirty
            and self.touched <= self.output.commits.durable()
            and not self.storage.in_transaction()
        )

    def _settle_when_durable(self) -> None:
        self.input.block()
        self._settling = True
        if self.touched <= self.output.commits.durable():
            self._settle_now()
        else:
            self.output.commits.hold(self.touched, self, self._settle_now)

    def _settle_now(self) -> None:
        if self.broken is not None or self.input.holder is not BLOCKED:
            return
        self.storage.before_checkpoint()
        if self._large():
            self.folding = True
            future = self.turns.loop.run_in_executor(self.shelf.threads, self.storage.checkpoint)
            future.add_done_callback(self._settled_on_thread)
            return
        self._settled(self.storage.checkpoint())

    def _large(self) -> bool:
        """Whether a checkpoint would stop the loop for too long."""
        return self.storage.wal_bytes() > 2 * self.limits.wal_bytes_checkpoint

    def _settled_on_thread(self, future: asyncio.Future[int]) -> None:
        self.folding = False
        error = future.exception()
        if error is None:
            self._settled(future.result())
            return
        self._settling = False
        failure = error if isinstance(error, PerdureError) else StorageUnavailable(f"a checkpoint failed: {error}")
        self.reset(failure, discard=True)

    def settling(self) -> bool:
        """Whether its main file is being completed, so that its storage must be left alone."""
        return self._settling or self.folding

    def _settled(self, change: int) -> None:
        self._settling = False
        self.input.unblock()
        self.shelf.settled(self, change)

    def evict(self) -> None:
        """Drop a quiet object from memory; its next event constructs it anew."""
        self.move(State.EVICTED)
        self.abandoned = True
        self.storage.release()
        self.take_meters()

    # ------------------------------------------------------------------ the past
    @property
    def history(self) -> History:
        found = self.shelf.history
        if found is None:
            raise StorageUnavailable("no history is kept here", retryable=False)
        return found

    async def restore(self, event: Event, position: Position) -> None:
        """Before the constructor: put the state at a point in the place of the present one. The turn is held meanwhile.

        Raises HistoryGone, StorageFull, StorageError, ShardLost: the object goes on with the state that it has, and this is
        not tried again, also where the disk is too full to note that.
        """
        failed = self.shelf.failed_restores
        if failed.get(self.object_id) == position:
            return
        event.pinned += 1
        try:
            self.storage.release()
            await self.history.restore(self.key, self.object_id, self.name, position)
        except PerdureError as error:
            failed[self.object_id] = position
            fields: dict[str, object] = {"object": str(self), "id": self.object_id.hex(), "error": error.message}
            self.shelf.report("error", "restore_failed", fields)
            self.storage.give_up_restore()
            self.output.commits.hold(self.touched, self, self._restore_given_up)
            raise
        finally:
            event.pinned -= 1

    def _restore_given_up(self) -> None:
        """The object's own database says so, durably."""
        self.shelf.failed_restores.pop(self.object_id, None)

    # ------------------------------------------------------------------ reset
    def abort_error(self, reason: str | None) -> PerdureError:
        return ObjectReset(
            reason if reason is not None else "Application called abort() to reset Durable Object.",
            object_id=self.object_id.hex(),
        )

    def break_now(self) -> None:
        """Apply a pending `fatal`."""
        error, self.fatal = self.fatal, None
        if error is not None and self.broken is None:
            self.reset(error)

    def reset(self, error: PerdureError, *, discard: bool = False) -> None:
        """Undo the running turn, fail whatever runs or waits, and make room for a fresh instance."""
        if self.broken is not None:
            return
        self.broken = error
        self.fatal = None
        self.move(State.BROKEN)
        if error.durableObjectId is None:
            error.durableObjectId = self.object_id.hex()
        self.turn_dirty = False
        if self.turns.running is self:
            self.turns.running = None  # the step goes on until it suspends, but without storage
        self._answer_dropped(self.output.drop(), error)
        self.input.shut()
        self.shelf.forget(self, error)
        try:
            if not discard:
                self.storage.abort_turn()
        except PerdureError:
            discard = True
        events, self.events = self.events, {}
        self.take_meters()
        self.active_since_s = 0.0
        for event in events:
            if event.call is not None and not event.answered:
                event.answered = True
                event.call.answer(event.call, error)
            if event.task is not None:
                event.task.cancel()
        for task in list(self.tasks):
            task.cancel()
        for body in list(self.bodies):
            body.fail(error)
        if discard:
            self._close_storage(discard=True)
        elif self.touched <= self.output.commits.durable():
            self._close_storage(discard=False)
        else:  # earlier turns were promised their commit: the file is closed when they are durable
            self.output.commits.hold(self.touched, self, self._close_storage)

    def _answer_dropped(self, dropped: Sequence[Effect], error: PerdureError) -> None:
        """Replies that were held never leave: their callers get the reason instead."""
        if error.durableObjectId is None:
            error.durableObjectId = self.object_id.hex()
        error.durableObjectReset = True
        for _, args in dropped:
            if args and isinstance(args[0], Call):
                args[0].answer(args[0], error)

    def _close_storage(self, discard: bool = False) -> None:
        if self.abandoned:
            return
        self.abandoned = True
        try:
            if discard:
                self.storage.discard()
            else:
                self.storage.release()
        finally:
            self.shelf.closed(self)
