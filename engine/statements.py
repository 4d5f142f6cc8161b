"""What is known of the SQL texts that an object has run, so that running them again asks SQLite for nothing but their rows.

What always holds: an entry says the same as preparing its text would, so all are forgotten when the schema may have changed; the
texts kept are bounded in bytes, and those not used lately go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .cursor import NOT_RUN, Finished
from .row_counts import NOTHING, RowCounts

_ENTRY_BYTES: Final = 500
"""About what is known of a text takes beside it: many small texts are bounded too."""
QUERY: Final = 0
"""Gives rows, changes nothing, and needs no counters of SQLite."""
CHANGE: Final = 1
"""Changes rows, gives none, and SQLite's count of changes tells all there is to count."""
ONE_ROW: Final = 2
"""A `CHANGE` that changes exactly one row, or fails."""
COUNTED: Final = 3
"""Everything else."""
SEVERAL: Final = 4
"""Several statements."""


@dataclass(slots=True)
class Statement:
    """One text. `pieces`: of a text with several statements, the text of each; nothing else is known of it then."""

    text: str
    """What is given to SQLite: not always what the program wrote."""
    parameters: int = 0
    reads_only: bool = False
    columns: tuple[str, ...] = ()
    counts: RowCounts = NOTHING
    pieces: tuple[str, ...] = ()
    used: bool = False
    """Since the cache last looked for what may go."""
    kind: int = COUNTED
    """How it runs."""
    finished: Finished = NOT_RUN
    """What a `CHANGE` gave last: most give the same each time, and what gives no rows can be given twice."""

    def learn(self) -> None:
        """Conclude, from what was found when it ran first, how it can run again."""
        counts = self.counts
        if counts.profiled:
            self.kind = COUNTED
        elif self.reads_only:
            self.kind = QUERY if self.columns else COUNTED
        elif self.columns or not counts.direct:
            self.kind = COUNTED
        else:
            self.kind = ONE_ROW if counts.one_row else CHANGE
            self.finished = self.finish(1)

    def finish(self, changes: int) -> Finished:
        """The cursor of a `CHANGE` that changed so many rows."""
        counts = self.counts
        return Finished(changes, counts.written(changes, changes), counts.read(0, changes, None, None))


class Statements:
    """The cache. `get` is the dict's own: it is on the path of every statement."""

    __slots__ = ("_bytes", "_bytes_max", "_known", "get")

    def __init__(self, bytes_max: int) -> None:
        self._known: dict[str, Statement] = {}
        self._bytes = 0
        self._bytes_max = bytes_max
        self.get = self._known.get

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes_held(self) -> int:
        """Length of the texts that are kept, and of what is known of them."""
        return self._bytes

    def put(self, query: str, statement: Statement) -> None:
        """Keep what is known of `query`; the least recently used go until it fits (by second chance)."""
        known = self._known
        self._drop(query)
        size = len(query) + _ENTRY_BYTES
        if size > self._bytes_max:
            return
        while self._bytes + size > self._bytes_max:
            oldest = next(iter(known))
            candidate = known[oldest]
            if candidate.used:
                candidate.used = False
                known[oldest] = known.pop(oldest)
            else:
                self._drop(oldest)
        known[query] = statement
        self._bytes += size

    def forget(self) -> None:
        """The schema, and with it what is known of statements, may have changed."""
        self._known.clear()
        self._bytes = 0

    def _drop(self, query: str) -> None:
        if self._known.pop(query, None) is not None:
            self._bytes -= len(query) + _ENTRY_BYTES
