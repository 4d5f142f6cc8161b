"""The hand-off of one shard to the next generation of code, as pure decisions: `on_event(state, event)` → state, effects.

    MARKING ──▶ RELEASING ──▶ STARTING ──▶ DONE
       └─▶ WAITING ─▲  └─▶ FREE ─▲            FAILED

Two processes: the old one has a session and serves; the other stands by with the new code. What always holds: the new one begins
only when the old one has said `released`, or is dead; once the old one was asked to release, its code never serves again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Stage(Enum):
    """How far a hand-off is."""

    MARKING = "marking"
    """The old one serves and marks what it can, so that little is left."""
    WAITING = "waiting"
    """It has; the one that was to stand by died, and another one is being started."""
    RELEASING = "releasing"
    """The old one lets go."""
    FREE = "free"
    """Nobody has the slots: who stands by is not ready yet."""
    STARTING = "starting"
    """The new one begins its session."""
    DONE = "done"
    FAILED = "failed"


class Event(Enum):
    """What happened."""

    MARKED = "marked"
    RELEASED = "released"
    OLD_DIED = "old died"
    STANDBY_READY = "standby ready"
    STANDBY_DIED = "standby died"
    SERVES = "serves"
    TOO_LATE = "too late"
    """The bound of the stage is over."""
    GIVEN_UP = "given up"
    """The new code dies again and again before it serves."""


class Effect(Enum):
    """What is to be done."""

    ASK_TO_MARK = "ask to mark"
    ASK_TO_RELEASE = "ask to release"
    BEGIN_NEW = "begin new"
    """Give a session to the one that stands by; the old one's is a dead session from now on."""
    START_STANDBY = "start standby"
    KILL_OLD = "kill old"


@dataclass(frozen=True, slots=True)
class HandOff:
    """Of one shard."""

    stage: Stage
    standby: bool = True
    """Another process stands by."""


Decision = tuple[HandOff, tuple[Effect, ...]]


def begin() -> Decision:
    """With a process that stands by."""
    return HandOff(Stage.MARKING), (Effect.ASK_TO_MARK,)


def on_event(state: HandOff, event: Event) -> Decision:
    """The next state, and what to do. Events that mean nothing in a stage change nothing."""
    stage = state.stage
    if stage in (Stage.DONE, Stage.FAILED):
        return state, ()
    if event is Event.GIVEN_UP:
        return replace(state, stage=Stage.FAILED), ()
    if event is Event.SERVES and stage is Stage.STARTING:
        return replace(state, stage=Stage.DONE), ()
    if event is Event.STANDBY_DIED and stage is not Stage.STARTING:
        return replace(state, standby=False), (Effect.START_STANDBY,)
    if event is Event.STANDBY_READY:
        return _standby_ready(replace(state, standby=True))
    if event in (Event.MARKED, Event.TOO_LATE) and stage is Stage.MARKING:
        return _release(state)
    if event is Event.TOO_LATE and stage is Stage.RELEASING:
        return state, (Effect.KILL_OLD,)
    if event in (Event.RELEASED, Event.OLD_DIED) and stage in (Stage.MARKING, Stage.WAITING, Stage.RELEASING):
        return _free(state)
    return state, ()


def _standby_ready(state: HandOff) -> Decision:
    if state.stage is Stage.WAITING:
        return _release(state)
    if state.stage is Stage.FREE:
        return _free(state)
    return state, ()


def _release(state: HandOff) -> Decision:
    """Not before somebody stands by: until then the old one serves."""
    if not state.standby:
        return replace(state, stage=Stage.WAITING), ()
    return replace(state, stage=Stage.RELEASING), (Effect.ASK_TO_RELEASE,)


def _free(state: HandOff) -> Decision:
    if not state.standby:
        return replace(state, stage=Stage.FREE), ()
    return replace(state, stage=Stage.STARTING), (Effect.BEGIN_NEW,)
