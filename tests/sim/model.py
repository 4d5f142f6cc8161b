"""What an object's storage must be: dicts that are copied at each commit, and which of the copies a crash may leave.

What always holds: `versions` are the states after the commits, oldest first; everything before `acknowledged` is history, one
of the others is what a recovery must find, or the target of a restore that is under way.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

State = dict[Any, Any]
"""Key → value; ALARM → milliseconds; ("row", id) → text."""
ALARM = ("alarm",)


class Wrong(AssertionError):
    """The real thing is not what the model is."""


@dataclass
class Version:
    """The state after a commit, and when that was."""

    state: State
    time_ms: int


@dataclass
class Seen:
    """A bookmark that was given out. `state` is None while it is the undo of a restore that has not happened."""

    text: str
    state: State | None


@dataclass
class Model:
    """One object. `state` is what a reader sees now; the last version is what is left when the turn is undone."""

    versions: list[Version] = field(default_factory=lambda: [Version({}, 0)])
    state: State = field(default_factory=dict)
    acknowledged: int = 0
    confirmed: int = 0
    """The last version with a write that holds replies back."""
    holds: bool = False
    """The running turn has such a write."""
    depth: int = 0
    bookmarks: list[Seen] = field(default_factory=list)
    newest: str = ""
    """The bookmark of the present that was given out last."""
    wanted: list[State] = field(default_factory=list)
    """Targets of restores that may happen at the next start."""
    certain: bool = False
    """One of them will: the next instance begins with it."""
    unknown: bool = False
    """After a crash, until somebody has looked."""
    written: bool = False
    """It was found with something in it, or acknowledged: it has a history."""
    known_from_ms: int = 0
    """Which state was at which time is known from then on."""

    @property
    def committed(self) -> State:
        return self.versions[-1].state

    def write(self, confirmed: bool = True) -> State:
        """The state, to be changed by a write."""
        self.holds = self.holds or confirmed
        return self.state

    def commit(self, now_ms: int) -> None:
        """The turn ends, or something commits in its middle. Inside a transaction nothing does."""
        if not self.depth:
            self.keep(now_ms)

    def keep(self, now_ms: int) -> None:
        if self.state != self.committed:
            self.versions.append(Version(dict(self.state), now_ms))
        if self.holds:
            self.confirmed = len(self.versions) - 1
        self.holds = False

    def undo(self) -> None:
        """The turn is undone, and the transaction that it belonged to."""
        self.state = dict(self.committed)
        self.depth, self.holds = 0, False

    def begun(self, now_ms: int) -> None:
        """A new instance: a restore that was asked for has happened."""
        if self.unknown or not self.wanted:
            return
        for seen in self.bookmarks:
            if seen.state is None:
                seen.state = dict(self.committed)
        self.state, self.wanted, self.certain = dict(self.wanted[-1]), [], False
        self.versions.append(Version(dict(self.state), now_ms))
        self.acknowledged = self.confirmed = len(self.versions) - 1
        self.known_from_ms = now_ms

    def times(self) -> list[int]:
        """Of the commits that are known."""
        known = [version.time_ms for version in self.versions[0 if self.written else 1 :]]
        return sorted({time_ms for time_ms in known if time_ms >= self.known_from_ms})

    def at_time(self, time_ms: int) -> State:
        return [version for version in self.versions if version.time_ms <= time_ms][-1].state

    def wants(self, target: State) -> None:
        """A restore is asked for; it is sure when `promised`."""
        self.wanted = [*self.wanted, target]

    def promised(self) -> None:
        self.wanted, self.certain = self.wanted[-1:], True

    # ------------------------------------------------------------------ crashes
    def crashed(self) -> Model:
        """What the next process knows of it."""
        after = copy.copy(self)
        after.wanted = list(self.wanted)
        after.versions, after.bookmarks = list(self.versions), [copy.copy(seen) for seen in self.bookmarks]
        after.unknown, after.depth, after.holds = True, 0, False
        return after

    def possible(self) -> list[State]:
        """The states that a recovery may find."""
        if self.certain:
            return self.wanted
        return [*(version.state for version in self.versions[self.acknowledged :]), *self.wanted]

    def found(self, state: State, now_ms: int) -> None:
        """A recovery has found this. Raises Wrong when it must not be."""
        possible = self.possible()
        if state not in possible:
            raise Wrong(f"after a crash there is {brief(state)}, not one of {[brief(each) for each in possible]}")
        self.written = self.written or bool(state) or self.acknowledged > 0
        self.state, self.versions = dict(state), [Version(state, now_ms)]
        self.acknowledged = self.confirmed = 0
        self.wanted, self.certain, self.unknown = [], False, False
        self.bookmarks = [seen for seen in self.bookmarks if seen.state is not None]
        self.known_from_ms = now_ms


def brief(state: State) -> dict[Any, Any]:
    """For messages: large values by their length."""
    return {key: len(value) if isinstance(value, str) and len(value) > 20 else value for key, value in state.items()}
