"""When a dead process is started again, and which events must not run again: pure decisions, no clock, no processes.

A death after having served is restarted at once. Deaths before serving back off; five within a minute are a crash loop,
which is told clearly and tried again only every five seconds. An event that has ended its shard three times within a minute is
refused for a while, twice as long each time that it does so again.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from ..engine.beacon import Running

CRASH_LOOP_DEATHS = 5
CRASH_LOOP_WINDOW_S = 60.0
_FIRST_DELAY_S = 0.1
_LOOP_DELAY_S = 5.0
EVENT_DEATHS = 3
EVENT_WINDOW_S = 60.0
REFUSED_S = 60.0
_REFUSED_S_MAX = 3_600.0
_FORGOTTEN_S = 600.0
_SUSPECTS_MAX = 1_000
EXIT_STOPPED, EXIT_MEMORY = 3, 4
"""A shard's exit codes: nothing can be made durable any more; it has grown past its memory."""
_CRASHES = frozenset(
    -number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
)


@dataclass(frozen=True, slots=True)
class Restart:
    """What to do about a death."""

    delay_s: float
    crash_loop: bool


@dataclass(slots=True)
class Restarts:
    """The deaths of one process."""

    early_deaths: list[float] = field(default_factory=list[float])

    def on_death(self, now_s: float, served: bool) -> Restart:
        """`served`: it had said that it is ready."""
        if served:
            self.early_deaths.clear()
            return Restart(0.0, False)
        self.early_deaths = [at for at in self.early_deaths if now_s - at < CRASH_LOOP_WINDOW_S] + [now_s]
        count = len(self.early_deaths)
        if count >= CRASH_LOOP_DEATHS:
            return Restart(_LOOP_DELAY_S, True)
        return Restart(_FIRST_DELAY_S * 2 ** (count - 1), False)


def is_by_event(code: int | None, killed_as_stuck: bool) -> bool:
    """Whether a shard's death is to be laid to the event that ran: not a kill by somebody else, not a disk that failed."""
    return killed_as_stuck or code in _CRASHES or (code is not None and code > 0 and code != EXIT_STOPPED)


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that must not run until then."""

    running: Running
    until_s: float


@dataclass(slots=True)
class _Suspect:
    deaths: list[float] = field(default_factory=list[float])
    refused_s: float = 0.0
    refused: Refused | None = None


@dataclass(slots=True)
class Suspects:
    """Events (object and method) that ran when their shard died. At most 1,000 are remembered."""

    _by_event: dict[tuple[bytes, str], _Suspect] = field(default_factory=dict[tuple[bytes, str], _Suspect])

    def on_death(self, now_s: float, running: Running) -> Refused | None:
        """That event ran. Says from when on it is refused, if it is."""
        key = (running.object_id, running.method)
        suspect = self._by_event.pop(key, None) or _Suspect()
        self._by_event[key] = suspect
        if len(self._by_event) > _SUSPECTS_MAX:
            del self._by_event[next(iter(self._by_event))]
        suspect.deaths = [at for at in suspect.deaths if now_s - at < EVENT_WINDOW_S] + [now_s]
        last = suspect.refused
        again = last is not None and now_s - last.until_s < _FORGOTTEN_S  # it was let in again, and did it again
        if last is not None and not again:
            suspect.refused, suspect.refused_s = None, 0.0
        if len(suspect.deaths) < EVENT_DEATHS and not again:
            return None
        suspect.refused_s = min(max(suspect.refused_s * 2, REFUSED_S), _REFUSED_S_MAX)
        suspect.refused = Refused(running, now_s + suspect.refused_s)
        return suspect.refused

    def refused(self, now_s: float) -> list[Refused]:
        """What must not run now."""
        found = [suspect.refused for suspect in self._by_event.values() if suspect.refused is not None]
        return [refused for refused in found if refused.until_s > now_s]
