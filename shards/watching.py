"""The shard's watchdog: a timer's signal looks at what runs, and breaks turns that are past their bounds.

What always holds: an exception is raised only in code of the program, never in the runtime's, not even under the program's
(`interruption.may_raise`); an object that was broken is reset whether or not its code swallows that; nothing is logged from the
signal's handler, since it may have interrupted a log line.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
import types
from collections.abc import Callable
from typing import cast

from ..engine.beacon import SEEN, WHOLE, read
from ..engine.errors import EventRefused, MemoryExceeded, PerdureError, TurnTooLong
from ..engine.instance import Instance
from ..engine.interruption import TurnInterrupted, insist, may_raise, place
from ..engine.memory import MemoryWatch
from ..engine.residents import TICK_S, Residents
from ..engine.watchdog import Watchdog
from ..router.pulse import Heart, Pulse
from .machine_memory import Bounds, resident_bytes
from .restarts import EXIT_MEMORY

SIGNAL_S = 0.1
_AGAIN_S = 0.02
"""How often it is tried again to break a turn that is past its bound: most of what it does may be the runtime's code."""
_LAG_S = 0.25
_MEMORY_LOOK_S = 0.2
_SHRINK_PART = 0.125
_RESET_LARGEST_S = 2.0
_TRIM_S = 10.0
Report = Callable[[str, str, dict[str, object]], None]


class Lags:
    """How late the loop went round, since the start."""

    __slots__ = ("count", "longest_s")

    def __init__(self) -> None:
        self.count = 0
        """Of those above 250 ms."""
        self.longest_s = 0.0


class ShardWatch:
    """Watches over one shard's turns and memory. `start` on the loop's thread, which is the process's main one."""

    def __init__(
        self,
        residents: Residents,
        pulse: Pulse,
        bounds: Bounds,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lags = Lags()
        self._residents = residents
        self._turns = residents.turns
        self._page = pulse.memory
        self._bounds = bounds
        self._report = report
        self._clock = clock
        self._watchdog = Watchdog()
        self._memory: MemoryWatch[Instance] = MemoryWatch(resident_bytes())
        self._said: list[tuple[str, str, dict[str, object]]] = []
        """What the signal's handler has to say: the loop does."""
        self._ticked_s = clock()
        self._signalled_s = clock()
        self._blamed: tuple[str, str] | None = None
        """The object and method that ran long since the loop last went round."""
        self._looked_s = 0.0
        self._reset_s = self._trimmed_s = -_TRIM_S
        self._above_hard = 0
        self._fast = False
        self._raised = False
        """In the step that runs: the program has swallowed it if it still does."""
        self.heart = Heart(pulse, clock, self._budget_s, self._in_turn, lambda: self._ticked_s)

    # ------------------------------------------------------------------ start
    def start(self) -> None:
        """Begin: the signal, the heart, the look at each coarse tick."""
        self._turns.beacon = cast("bytearray", self._page)
        self._residents.on_tick = self._on_tick
        signal.signal(signal.SIGALRM, self._on_signal)
        wakeup = signal.set_wakeup_fd(-1)  # a loop that is stuck does not read it: a full one is no reason to complain
        if wakeup >= 0:
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.setitimer(signal.ITIMER_REAL, SIGNAL_S, SIGNAL_S)
        self.heart.start()

    def leave(self) -> None:
        """Another process has the objects now: turns that still run are watched, the loop's clock is not."""
        self.heart.end()

    def stop(self) -> None:
        """No event runs any more, the process ends: only the heart beats on."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.heart.end()
        self._residents.on_tick = None

    def _in_turn(self) -> bool:
        return self._turns.scope is not None

    def _budget_s(self) -> float:
        scope = self._turns.scope
        limits = self._residents.limits if scope is None else scope.instance.limits
        return limits.turn_ms_max / 1000

    # ------------------------------------------------------------------ the signal
    def _on_signal(self, _number: int, frame: types.FrameType | None) -> None:
        now_s = self._clock()
        late_s, self._signalled_s = now_s - self._signalled_s, now_s
        scope = self._turns.scope
        if scope is None or scope.instance.broken is not None:
            self._watchdog.idle()
            self._set_pace(False)
            return
        instance = scope.instance
        same, self._page[SEEN] = self._page[SEEN] == 0, 0
        look = self._watchdog.look(same, instance.limits.turn_ms_max / 1000, now_s)
        if look.age_s > 0 or late_s > _LAG_S:
            running = read(self._page[WHOLE])
            self._blamed = (str(instance), "" if running is None else running.method)
        error = _too_long(instance) if look.first else None
        if not same:
            self._memory.look(resident_bytes(), None, now_s)
            self._raised = False
        elif error is None:
            error = self._look_at_step(instance, look.over, now_s)
        if error is not None:
            self._watchdog.condemn()
            self._condemn(instance, error, frame)
        over = look.over or error is not None
        self._set_pace(over)
        if over:
            self._break(instance, frame)

    def _look_at_step(self, instance: Instance, over: bool, now_s: float) -> PerdureError | None:
        """What the running step has grown by is its object's. The error it must end with, if that is too much."""
        resident = resident_bytes()
        held = self._memory.look(resident, instance, now_s)
        if held > instance.limits.memory_mb << 20 and not over:
            return _too_large(instance, held)
        if resident > self._bounds.hard:
            self._die(resident, instance)
        return None

    def _condemn(self, instance: Instance, error: PerdureError, frame: types.FrameType | None) -> None:
        """The object is reset when the step ends; until then its storage refuses."""
        instance.break_object(error)
        running = read(self._page[WHOLE])
        fields: dict[str, object] = {
            "object": str(instance),
            "id": instance.object_id.hex(),
            "method": "" if running is None else running.method,
            "place": place(frame),
            "error": error.message,
        }
        self._said.append(("warning", "turn_broken", fields))

    def _break(self, instance: Instance, frame: types.FrameType | None) -> None:
        if self._turns.running is instance:
            self._turns.running = None
        if frame is not None and may_raise(frame):
            if self._raised:
                insist(frame)
            self._raised = True
            raise TurnInterrupted(f"{instance} is past a bound")

    def _set_pace(self, fast: bool) -> None:
        if fast is not self._fast:
            self._fast = fast
            every_s = _AGAIN_S if fast else SIGNAL_S
            signal.setitimer(signal.ITIMER_REAL, every_s, every_s)

    # ------------------------------------------------------------------ the coarse clock
    def _on_tick(self, _residents_now_s: float) -> None:
        now_s = self._clock()
        late_s, self._ticked_s = now_s - self._ticked_s - TICK_S, now_s
        said, self._said = self._said, []
        for level, event, fields in said:
            self._report(level, event, fields)
        blamed, self._blamed = self._blamed, None
        self.lags.longest_s = max(self.lags.longest_s, late_s)
        if late_s > _LAG_S:
            self.lags.count += 1
            name, method = blamed or ("", "")
            self._report("warning", "loop_late", {"late_ms": round(late_s * 1000), "object": name, "method": method})
        if now_s - self._looked_s >= _MEMORY_LOOK_S:
            self._looked_s = now_s
            self._look_at_memory(now_s)

    def _look_at_memory(self, now_s: float) -> None:
        memory = self._memory
        resident = resident_bytes()
        memory.look(resident, None, now_s)
        memory.keep(self._residents.holds)
        measuring = isinstance(self._turns.beacon, Measure)
        if memory.wants_steps(now_s):
            if not measuring:
                self._turns.beacon = Measure(self)
        elif measuring:
            self._turns.beacon = cast("bytearray", self._page)
        if resident > self._bounds.soft:
            self._shrink(resident, now_s)
        self._above_hard = self._above_hard + 1 if resident > self._bounds.hard else 0
        if self._above_hard > 1:
            self._die(resident, None)

    def _shrink(self, resident: int, now_s: float) -> None:
        """Idle objects leave memory; when there are none, the one with the largest estimate is reset."""
        gone = self._residents.let_part_go(_SHRINK_PART)
        largest = self._memory.largest()
        fields: dict[str, object] = {"resident_mib": resident >> 20, "bound_mib": self._bounds.soft >> 20}
        if gone:
            self._report("warning", "memory_short", {**fields, "evicted": gone})
        elif largest is not None and now_s - self._reset_s > _RESET_LARGEST_S:
            self._reset_s = now_s
            instance, held = largest
            self._report("warning", "memory_short", {**fields, "reset": str(instance)})
            instance.reset(_too_large(instance, held, of_shard=True))
        self.give_back(now_s)

    def give_back(self, now_s: float) -> None:
        """What is free goes back to the system: not too often, it takes as long as there are objects."""
        if now_s - self._trimmed_s < _TRIM_S:
            return
        self._trimmed_s = now_s
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)

    def begin(self, step: bytes) -> Instance | None:
        """A step begins while every one is measured: its object."""
        self._page[WHOLE] = step
        scope = self._turns.scope
        return None if scope is None else scope.instance

    def measured(self, instance: Instance) -> None:
        """A step of `instance` has ended, and another one begins."""
        now_s = self._clock()
        held = self._memory.look(resident_bytes(), instance, now_s)
        if held > instance.limits.memory_mb << 20 and instance.broken is None and instance.fatal is None:
            self._turns.loop.call_soon(self._too_large, instance, held)

    def _too_large(self, instance: Instance, held: int) -> None:
        if self._residents.holds(instance):
            instance.reset(_too_large(instance, held))
            self._turns.loop.call_soon(self.give_back, self._clock())

    def _die(self, resident: int, instance: Instance | None) -> None:
        """End at once: what was acknowledged is in the log."""
        text = f"perdure: this shard holds {resident >> 20} MiB, more than its {self._bounds.hard >> 20} (shard_memory_hard_mb)"
        running = "" if instance is None else f"; running: {instance}"
        os.write(2, f"{text}{running}\n".encode())
        os._exit(EXIT_MEMORY)


class Measure:
    """Stands in for the beacon while memory grows: each step that begins ends the one before."""

    __slots__ = ("_watch", "_who")

    def __init__(self, watch: ShardWatch) -> None:
        self._watch = watch
        self._who: Instance | None = None

    def __setitem__(self, where: slice, step: bytes, /) -> None:
        watch = self._watch
        before, self._who = self._who, watch.begin(step)
        if before is not None:
            watch.measured(before)


def refuse_event(residents: Residents, found: dict[str, object]) -> None:
    """What the supervisor says of an event that has ended this shard again and again: id, method, name, seconds."""
    object_id, method = bytes.fromhex(cast("str", found["id"])), cast("str", found["method"])
    seconds = cast("float", found["for_s"])
    residents.refused[object_id, method] = (
        residents.clock.monotonic_s() + seconds,
        EventRefused(
            f"{found['object']}.{method} has ended its shard's process again and again: it is refused for a while",
            object_id=object_id.hex(),
            hint=f"it is let in again after {round(seconds)} s; see `died_running` and `stuck` in the log",
        ),
    )


def _too_long(instance: Instance) -> TurnTooLong:
    return TurnTooLong(
        f"Durable Object {instance} exceeded its CPU time limit and was reset: one turn ran for more than "
        f"{instance.limits.turn_ms_max} ms without a suspension (turn_ms_max)",
        object_id=instance.object_id.hex(),
        hint="await between pieces of the work, do it in a thread or a process of its own, or raise turn_ms_max",
    )


def _too_large(instance: Instance, held: int, *, of_shard: bool = False) -> MemoryExceeded:
    which = "its shard is short of memory" if of_shard else f"more than {instance.limits.memory_mb} (memory_mb)"
    return MemoryExceeded(
        f"Durable Object {instance} exceeded its memory limit and was reset: about {held >> 20} MiB, {which}",
        object_id=instance.object_id.hex(),
        hint="keep less in memory and more in storage, or raise memory_mb",
    )
