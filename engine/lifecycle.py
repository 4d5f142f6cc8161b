"""Where a resident object stands, and which moves are legal."""

from __future__ import annotations

from enum import Enum

from .errors import ProgramBug


class State(Enum):
    """COLD → LOADING (the constructor, under the gate) → IDLE ⇄ RUNNING → HIBERNATED or EVICTED, or BROKEN."""

    COLD = "cold"
    LOADING = "loading"
    IDLE = "idle"
    RUNNING = "running"
    HIBERNATED = "hibernated"
    """Left memory with nothing to do."""
    EVICTED = "evicted"
    """Left memory although something of it ran, which was cancelled."""
    BROKEN = "broken"


_MOVES = {
    State.COLD: {State.LOADING, State.HIBERNATED, State.BROKEN},
    State.LOADING: {State.IDLE, State.BROKEN},
    State.IDLE: {State.HIBERNATED, State.EVICTED, State.BROKEN},
    State.RUNNING: {State.EVICTED, State.BROKEN},
    State.HIBERNATED: set[State](),
    State.EVICTED: set[State](),
    State.BROKEN: set[State](),
}


def check_move(what: object, current: State, asked: State) -> None:
    """Raises ProgramBug for an illegal move, naming both states."""
    if asked not in _MOVES[current]:
        allowed = ", ".join(sorted(state.name for state in _MOVES[current])) or "nothing"
        raise ProgramBug(f"cannot move {what} from {current.name} to {asked.name}: allowed is {allowed}")
