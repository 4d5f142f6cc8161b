"""Fires the alarms of a shard's objects: what is due is delivered to the object, whose own rows decide whether it runs.

Known are the alarms that are due soon (`alarm_window`): read from the catalogue, and what the log says beyond it. What always
holds: an alarm that is armed is fired in the end, whatever was killed or lost in between; none runs before its time, because the
object looks at the clock again; at most `alarms_running_max` run, and `alarms_per_second_max` begin in a second.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import apsw

from ..engine.alarm_calls import AlarmCall, read_answer
from ..engine.alarm_retries import Outcome, delay_ms
from ..engine.alarms import UNSURE_MS
from ..engine.calls import ALARM, Call
from ..engine.clock import Clock
from ..engine.errors import ObjectNotFound, PerdureError
from ..engine.http import HttpResponse
from ..engine.limits import Limits
from ..engine.residents import Residents
from ..engine.turns import outside
from .alarm_notes import Noted, RunNotes
from .alarm_window import READ_MAX, Window
from .catalogue import AlarmRow, Catalogue
from .files import ObjectFiles

LOOK_S = 1.0
"""How often the wall clock is looked at, at least: somebody may have set it."""
_PAUSE_S = 0.02
"""Until the next ones begin when as many began as may in a second."""
_BURST = 0.1
"""Part of a second's alarms that may begin at once."""
Begin = Callable[[Coroutine[object, object, None], str], asyncio.Task[None]]


class _Run:
    """An object that is being asked to run its alarm, or to note what became of a run."""

    __slots__ = ("alarm", "done", "said", "slot", "tries")

    def __init__(self, alarm: AlarmRow) -> None:
        self.alarm = alarm
        self.tries = 0
        """How often what became of it could not be written."""
        self.slot: int | None = None
        """Its place in the notes, once it runs."""
        self.said: int | None = None
        """What commits said meanwhile of when the alarm is due."""
        self.done: asyncio.Future[bool] | None = None
        """Who waits for it: whether the handler ran."""


class Alarms:
    """Of one shard. Everything runs on its loop but the reading of the catalogue."""

    def __init__(
        self,
        residents: Residents,
        files: ObjectFiles,
        catalogue: Catalogue,
        clock: Clock,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        *,
        notes: RunNotes,
        lost: Sequence[Noted],
        on_catalogue: Callable[[Callable[[], None]], asyncio.Future[None]],
        report: Callable[[str, str, dict[str, object]], None],
        threads: Executor | None = None,
    ) -> None:
        """`lost`: runs that dead sessions had begun. `on_catalogue(work)`: runs `work` on the thread that writes it."""
        self.fired = 0
        """Runs that were begun."""
        self._residents, self._files, self._catalogue = residents, files, catalogue
        self._clock, self._limits, self._loop, self._report = clock, limits, loop, report
        self._notes, self._lost, self._on_catalogue = notes, list(lost), on_catalogue
        self._threads = threads or ThreadPoolExecutor(1, thread_name_prefix="alarms")
        self._classes = residents.class_keys
        """Alarms of classes that the program has no more wait until it has them again."""
        self._window = Window()
        self._running: dict[bytes, _Run] = {}
        self._failures: dict[bytes, int] = {}
        """Object → how often in a row it could not be asked."""
        self._corrections: dict[bytes, int] = {}
        """What the catalogue has to be told: it said something else than the object."""
        self._to_correct = asyncio.Event()
        self._changed: set[bytes] | None = None
        """While the catalogue is read: objects that something was heard of."""
        self._wake = asyncio.Event()
        self._allowed = 0.0
        self._allowed_at_s = clock.monotonic_s()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        files.on_alarm = self._on_alarm
        files.on_unsure = self.ask

    def start(self, begin: Begin) -> None:
        """Begin to fire. `begin(work, name)` makes a task, and stops the shard when it fails."""
        for noted in self._lost:
            self._inherit(noted)
        self._tasks = [begin(self._work(), "alarms"), begin(self._correct_catalogue(), "alarm corrections")]

    def stop(self) -> None:
        """Begin no more runs. Those that run go on, and stay noted until they have ended."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Let go of thread and file: nothing runs any more."""
        self.stop()
        self._notes.close()
        self._threads.shutdown(wait=False)

    def look_ahead(self, ms: int) -> None:
        """Read the catalogue so far ahead: where time jumps, as in tests, a minute is too little. Before `start`."""
        self._window.ahead_ms = ms

    def next_ms(self) -> int | None:
        """When the soonest alarm that is known is due (wall time)."""
        return self._window.next_ms()

    def look(self) -> None:
        """Time has passed: fire what is due."""
        self._wake.set()

    def refresh(self) -> None:
        """The catalogue has got rows that nobody was told of."""
        self._window.forget_horizon()
        self._wake.set()

    def statistics(self) -> dict[str, int]:
        return {"alarms_fired": self.fired, "alarms_running": len(self._running), "alarms_soon": len(self._window)}

    # ------------------------------------------------------------------ what is due
    async def _work(self) -> None:
        while True:
            wait_s = LOOK_S
            if not self._residents.refuses:
                if self._window.wants_more(self._clock.now_ms()):
                    await self._read()
                wait_s = self._fire_due()
            self._wake.clear()
            await self._until_woken(wait_s)

    async def _until_woken(self, seconds: float) -> None:
        timer = self._loop.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _fire_due(self) -> float:
        """Begin what may begin now; seconds until it is worth looking again."""
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        rate = self._limits.alarms_per_second_max
        most = max(rate * _BURST, 1.0)
        self._allowed = min(self._allowed + (now_s - self._allowed_at_s) * rate, most)
        self._allowed_at_s = now_s
        while len(self._running) < self._limits.alarms_running_max:
            if self._allowed < 1.0:
                return min(max(1.0 / rate, _PAUSE_S), LOOK_S)
            alarm = self._window.take(now_ms)
            if alarm is None:
                break
            self._allowed -= 1.0
            self._deliver(_Run(alarm))
        next_ms = self._window.next_ms()
        if next_ms is None or next_ms <= now_ms:  # as many run as may: one that ends wakes this
            return LOOK_S
        return min((next_ms - now_ms) / 1000, LOOK_S)

    async def _read(self) -> None:
        """Read on in the catalogue, with what the log knows and the catalogue does not yet."""
        window = self._window
        until_ms = window.begin_read(self._clock.now_ms())
        known = {*window.ids(), *self._running}
        for alarm in self._in_logs():
            known.add(alarm.object_id)
            if alarm.due_ms and alarm.object_id not in window and alarm.object_id not in self._running:
                if alarm.class_key in self._classes:
                    window.learn(alarm)
        self._changed = set()
        try:
            rows = await self._loop.run_in_executor(
                self._threads, self._catalogue.due, until_ms, self._classes, known, READ_MAX
            )
        except apsw.Error as error:
            window.forget_horizon()
            self._report("error", "alarms_not_read", {"error": str(error), "hint": "see the disk of the data folder"})
            return
        finally:
            changed, self._changed = self._changed, None
        window.end_read(rows, {*changed, *self._running})

    def _in_logs(self) -> Iterable[AlarmRow]:
        """Of objects with commits that no mark covers: what those say of their alarms, 0 for none."""
        live = self._files.live
        for object_id, item in live.items():
            if item.alarm_ms is not None:
                yield AlarmRow(item.alarm_ms, object_id, item.class_key, item.name)
        for object_id, dead in self._files.dead.objects.items():
            if dead.alarm_ms is not None and object_id not in live:
                yield AlarmRow(dead.alarm_ms, object_id, dead.class_key, dead.name)

    def _on_alarm(self, object_id: bytes, class_key: str, name: str | None, due_ms: int) -> None:
        """A durable commit says when an object's alarm is due; 0: it has none."""
        run = self._running.get(object_id)
        if run is not None:
            run.said = due_ms
            return
        if self._changed is not None:
            self._changed.add(object_id)
        self._corrections.pop(object_id, None)
        if not due_ms:
            self._window.forget(object_id)
            return
        self._window.learn(AlarmRow(due_ms, object_id, class_key, name))
        if self._window.next_ms() == due_ms:
            self._wake.set()

    def ask(self, object_id: bytes) -> None:
        """Nobody knows about an object's alarm any more (its file is another): it is asked."""
        class_key = self._residents.class_of(object_id)
        run = self._running.get(object_id)
        if run is not None:
            run.said = UNSURE_MS
        elif class_key is not None:
            self._window.learn(AlarmRow(UNSURE_MS, object_id, class_key, None), certainly=True)
            self._wake.set()
        else:
            self._window.forget(object_id)

    # ------------------------------------------------------------------ runs
    async def fire(self, object_id: bytes) -> bool:
        """Run an object's alarm now, also before its time; whether it had one, and no run of it was under way.

        Returns when its outcome is durable. Raises ObjectNotFound for an id of no class of the program, and what broke the run.
        """
        class_key = self._residents.class_of(object_id)
        if class_key is None:
            raise ObjectNotFound(f"{object_id.hex()} is the id of no class of this program")
        if object_id in self._running:
            return False
        self._window.forget(object_id)
        run = _Run(AlarmRow(UNSURE_MS, object_id, class_key, None))
        run.done = self._loop.create_future()
        self._deliver(run, forced=True)
        return await run.done

    def _deliver(self, run: _Run, *, forced: bool = False) -> None:
        alarm = run.alarm
        self._running[alarm.object_id] = run
        began = functools.partial(self._began, run)
        answer = functools.partial(self._answered, run)
        call = AlarmCall(alarm.class_key, alarm.object_id, alarm.name, ALARM, "alarm", b"", answer)
        call.forced, call.began = forced, began
        self._residents.deliver(call)

    def _began(self, run: _Run, call: AlarmCall) -> None:
        """The object is about to run it."""
        assert call.armed is not None, "what runs is known"
        self.fired += 1
        try:
            run.slot = self._notes.begin(Noted(call.object_id, call.class_key, call.armed))
        except OSError as error:  # only a killed process would need it
            self._report("warning", "alarm_not_noted", {"id": call.object_id.hex(), "error": str(error)})

    def _answered(self, run: _Run, call: Call, result: bytes | HttpResponse | PerdureError) -> None:
        assert isinstance(call, AlarmCall), "only alarms are answered here"
        if isinstance(result, bytes):
            ran, due_ms = read_answer(result)
            self._ended(run, due_ms, ran=ran)
            _tell(run, ran)
        elif isinstance(result, PerdureError):
            if call.armed is not None:
                self._settle(run, call)
            else:
                self._postpone(run, result)
            _tell(run, result)

    def _ended(self, run: _Run, due_ms: int, *, ran: bool = True) -> None:
        """The object has said when its alarm is due now, or that it has none."""
        alarm = run.alarm
        self._let_go(run)
        self._failures.pop(alarm.object_id, None)
        if run.said is None:
            self._correct(alarm.object_id, due_ms)
        else:
            due_ms = run.said
        certainly = due_ms == UNSURE_MS
        if not ran and 0 < due_ms <= self._clock.now_ms() and not certainly:
            # Its caller was answered, but the handler goes on; or the clock was set back.
            due_ms, certainly = self._clock.now_ms() + round(LOOK_S * 1000), True
        if due_ms:
            self._window.learn(AlarmRow(due_ms, alarm.object_id, alarm.class_key, alarm.name), certainly=certainly)

    def _let_go(self, run: _Run) -> None:
        del self._running[run.alarm.object_id]
        if self._changed is not None:
            self._changed.add(run.alarm.object_id)
        if run.slot is not None:
            try:
                self._notes.end(run.slot)
            except OSError as error:
                self._report("warning", "alarm_not_noted", {"id": run.alarm.object_id.hex(), "error": str(error)})
            run.slot = None
        self._wake.set()

    def _postpone(self, run: _Run, error: PerdureError) -> None:
        """The object could not be asked: later, and each time later than before."""
        alarm = run.alarm
        self._let_go(run)
        if self._stopped:
            return
        failures = self._failures.get(alarm.object_id, 0)
        self._failures[alarm.object_id] = failures + 1
        due_ms = self._clock.now_ms() + delay_ms(failures, self._residents.random())
        fields: dict[str, object] = {"id": alarm.object_id.hex(), "object": alarm.name, "error": error.message}
        self._report("warning", "alarm_postponed", {**fields, "due_ms": due_ms, "hint": error.hint})
        self._window.learn(AlarmRow(due_ms, alarm.object_id, alarm.class_key, alarm.name), certainly=True)

    def _settle(self, run: _Run, lost: AlarmCall) -> None:
        """The object was reset while it ran: what becomes of the alarm is written by its next instance."""
        if self._stopped:  # it stays noted: the next session does it
            return
        alarm = run.alarm
        outcome = Outcome.DROPPED if lost.dropped else Outcome.RAISED if lost.counted else Outcome.LOST

        def answer(call: Call, result: bytes | HttpResponse | PerdureError) -> None:
            if isinstance(result, bytes):
                self._ended(run, read_answer(result)[1])
            else:
                fields: dict[str, object] = {"id": call.object_id.hex(), "error": str(result)}
                self._report("warning", "alarm_not_settled", fields)
                delay_s = delay_ms(run.tries, 0.0) / 1000
                self._loop.call_later(delay_s, self._settle, run, lost, context=outside())
                run.tries += 1

        call = AlarmCall(alarm.class_key, alarm.object_id, alarm.name, ALARM, "alarm", b"", answer)
        call.outcome, call.armed = outcome, lost.armed
        self._residents.deliver(call)

    def _inherit(self, noted: Noted) -> None:
        """A run that a dead session had begun, and whose outcome nobody knows: it may be what killed it."""
        if noted.object_id in self._running:
            return
        run = _Run(AlarmRow(noted.armed.due_ms, noted.object_id, noted.class_key, None))
        self._running[noted.object_id] = run
        lost = AlarmCall(noted.class_key, noted.object_id, None, ALARM, "alarm", b"", _nobody)
        lost.armed = noted.armed
        self._began(run, lost)
        self.fired -= 1
        fields: dict[str, object] = {"id": noted.object_id.hex(), "retries": noted.armed.retries}
        self._report("warning", "alarm_run_lost", {**fields, "scheduled_ms": noted.armed.scheduled_ms})
        self._settle(run, lost)

    # ------------------------------------------------------------------ the catalogue
    def _correct(self, object_id: bytes, due_ms: int) -> None:
        """The catalogue may say something else of an object of which no commit spoke lately."""
        live = self._files.live.get(object_id)
        if live is None or live.alarm_ms is None:
            self._corrections[object_id] = due_ms
            self._to_correct.set()

    async def _correct_catalogue(self) -> None:
        while True:
            await self._to_correct.wait()
            self._to_correct.clear()
            corrections, self._corrections = self._corrections, {}
            try:
                await self._on_catalogue(functools.partial(self._catalogue.set_alarms, corrections))
            except apsw.Error as error:  # they are asked again, no more
                self._report("warning", "alarms_not_corrected", {"error": str(error)})


def _tell(run: _Run, outcome: bool | PerdureError) -> None:
    done, run.done = run.done, None
    if done is None or done.done():
        return
    if isinstance(outcome, PerdureError):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)


def _nobody(call: Call, result: bytes | HttpResponse | PerdureError) -> None:
    """A run of another session is answered to nobody."""


__all__ = ["Alarms"]
