"""Running an object's alarm: as an event like others, except that its outcome is written in the handler's own last turn.

What always holds: the object's own row says when its alarm is due, and nothing runs before that; one run at a time; what comes of
a run is in the same commit as the last writes of its handler; an object that has nothing to run is not constructed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .alarm_calls import AlarmCall, packed_answer
from .alarm_retries import RETRIES_MAX, Armed, Outcome, after
from .errors import DurableObjectAbort, ObjectReset
from .handlers import Method, call_relaxed, has_handler
from .tracebacks import shown
from .turns import Event, InstanceGone, one_round
from .values import JsDict

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .instance import Instance


_WHY = {
    Outcome.RAISED: "the run broke its object: see object_reset",
    Outcome.LOST: "the run was lost: its object was reset, or its process died or was replaced",
}


class AlarmInfo(JsDict):
    """What `alarm` is told: `retryCount`, `isRetry`, `scheduledTime` (ms since the epoch, what `setAlarm` was given)."""

    __slots__ = ()

    @property
    def retry_count(self) -> object:
        return self["retryCount"]

    @property
    def is_retry(self) -> object:
        return self["isRetry"]

    @property
    def scheduled_time(self) -> object:
        return self["scheduledTime"]


def prepare(instance: Instance, call: AlarmCall) -> bytes | None:
    """Before the object is constructed: the answer when there is nothing to run, None when there is."""
    alarm = instance.storage.alarm
    if instance.name is None:
        name = alarm.name()
        if (
            name is not None and instance.key.id_from_name(name) == instance.object_id
        ):  # else: the data of another object
            instance.name = name
    armed = alarm.armed()
    if armed is None:
        return packed_answer(False, None)
    if call.outcome is not None:
        if armed == call.armed and alarm.running is None:
            armed = _settle(instance, armed, call.outcome)
        return packed_answer(False, armed)
    if alarm.running is not None or (armed.due_ms > instance.clock.now_ms() and not call.forced):
        return packed_answer(False, armed)
    if not has_handler(instance.runtime, "alarm"):
        _report(
            instance, "warning", "alarm_without_handler", armed, hint="declare `async def alarm(self)` in the class"
        )
        alarm.store(None)
        return packed_answer(False, None)
    call.armed = armed
    if call.began is not None:
        call.began(call)
    return None


async def run(instance: Instance, event: Event, call: AlarmCall, method: Method) -> bytes:
    """Run the handler and write what comes of it. Raises when the object breaks, or loses its storage, meanwhile."""
    alarm = instance.storage.alarm
    armed = alarm.begin()
    if armed is None or (armed.due_ms > instance.clock.now_ms() and not call.forced):
        alarm.running = None  # the constructor has deleted it, or set another
        return packed_answer(False, armed)
    call.armed = armed
    instance.meters.alarms += 1
    text = ""
    timer = instance.turns.loop.call_later(instance.limits.alarm_wall_ms_max / 1000, _overran, instance, event, call)
    try:
        info = AlarmInfo(retryCount=armed.retries, isRetry=armed.retries > 0, scheduledTime=armed.scheduled_ms)
        result = call_relaxed(method, info)
        if hasattr(result, "__await__"):
            await cast("Awaitable[object]", result)
    except (InstanceGone, DurableObjectAbort):
        raise
    except (
        GeneratorExit
    ):  # the object is gone, or the program raised it: then the next call writes what comes of the run
        alarm.running, call.counted = None, True
        raise
    except BaseException as error:
        if instance.broken is not None or instance.fatal is not None:
            raise
        text = shown(error)
    finally:
        timer.cancel()
    while instance.input.section is not None:  # begun by the handler and not awaited
        await one_round()
    if instance.storage.failure is not None:  # taken away: the next session writes what becomes of it
        raise instance.storage.failure
    next_armed = _finish(instance, armed, text)
    return packed_answer(True, next_armed)


def _finish(instance: Instance, armed: Armed, text: str) -> Armed | None:
    """Write what the run leaves. `text`: the traceback of what it raised; empty: it ended well."""
    alarm = instance.storage.alarm
    queued = alarm.queued()
    outcome = Outcome.RAISED if text else Outcome.DONE
    following = after(armed, outcome, instance.clock.now_ms(), instance.shelf.random())
    if queued is not None:
        following = Armed.first(queued)
    alarm.running = None
    alarm.store(following)
    if text:
        _report_failed(instance, armed, following, text)
    return following


def _settle(instance: Instance, armed: Armed, outcome: Outcome) -> Armed | None:
    """Write what is left of a run whose object was reset, or whose process died."""
    following = after(armed, outcome, instance.clock.now_ms(), instance.shelf.random())
    instance.storage.alarm.store(following)
    if outcome is Outcome.DROPPED:
        _report(instance, "info", "alarm_dropped", armed, reason="abort() with retryAlarm: False")
    else:
        _report_failed(instance, armed, following, _WHY[outcome])
    return following


def _report_failed(instance: Instance, armed: Armed, following: Armed | None, text: str) -> None:
    if following is None:
        reason = f"it failed after {RETRIES_MAX} retries"
        _report(instance, "error", "alarm_dropped", armed, reason=reason, traceback=text)
    else:
        _report(instance, "warning", "alarm_failed", armed, due_ms=following.due_ms, traceback=text)


def _report(instance: Instance, level: str, event: str, armed: Armed, **more: object) -> None:
    fields: dict[str, object] = {
        "object": str(instance),
        "id": instance.object_id.hex(),
        "scheduled_ms": armed.scheduled_ms,
        "retries": armed.retries,
    }
    instance.shelf.report(level, event, {**fields, **more})


def _overran(instance: Instance, event: Event, call: AlarmCall) -> None:
    if event.answered or instance.broken is not None:
        return
    call.counted = True
    instance.reset(
        ObjectReset(
            "Alarm exceeded its allowed execution time: it was cancelled and the Durable Object was reset.",
            hint="do less in one run, and set the alarm again at its end; or raise alarm_wall_ms_max",
        )
    )


def as_alarm(call: object) -> AlarmCall:
    """The call of kind ALARM that it is."""
    return cast("AlarmCall", call)
