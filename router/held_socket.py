"""What is known of one socket by who holds its connection: which messages are under way, which come next. No I/O, no clock.

What always holds: messages are numbered from 1 in the order that the client sent them, sent in that order, and kept until
they are acknowledged; nothing is sent after one that must be sent again before that is.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..engine.socket_calls import MESSAGE, Closing, Data

IN_FLIGHT_MAX = 64
IN_FLIGHT_BYTES_MAX = 512 << 10
"""What may be sent and not acknowledged: more waits."""
WAITING_MAX = 256
WAITING_BYTES_MAX = 1 << 20
"""What may be kept; above it the connection is not read."""
LAST = 1 << 62
"""Number of what comes after all messages."""


class Kept:
    """A message, or the end, of a socket that is not acknowledged."""

    __slots__ = ("data", "number", "sent", "size", "what")

    def __init__(self, number: int, what: int, data: Data | Closing, size: int) -> None:
        self.number = number
        self.what = what
        self.data = data
        self.size = size
        self.sent = False


class Numbered:
    """See the module."""

    __slots__ = ("_bytes", "_flying", "_flying_bytes", "_last", "kept")

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}
        """Not acknowledged, by number, in order."""
        self._last = 0
        self._bytes = self._flying = self._flying_bytes = 0

    def come_last(self) -> None:
        """The next one is after all that anybody has numbered: of a socket whose messages another process has had."""
        self._last = LAST - 1

    def take(self, what: int, data: Data | Closing) -> Kept:
        """The next one."""
        self._last += 1
        size = len(data) if what == MESSAGE else 0
        kept = self.kept[self._last] = Kept(self._last, what, data, size)
        self._bytes += size
        return kept

    @property
    def acknowledged(self) -> int:
        """All up to here are."""
        return next(iter(self.kept)) - 1 if self.kept else self._last

    @property
    def full(self) -> bool:
        """So much is kept that the client must wait."""
        return len(self.kept) > WAITING_MAX or self._bytes > WAITING_BYTES_MAX

    @property
    def roomy(self) -> bool:
        """The client may go on."""
        return len(self.kept) <= WAITING_MAX // 2 and self._bytes <= WAITING_BYTES_MAX // 2

    def due(self) -> Iterator[tuple[Kept, int]]:
        """Those to be sent now, each with the number of the one before it (0: it is acknowledged); they count as sent."""
        unsent = len(self.kept) - self._flying
        if not unsent:
            return
        before = 0
        if unsent == 1:  # nearly always: the newest
            newest = reversed(self.kept.values())
            kept = next(newest)
            if not kept.sent and self._may_fly():
                previous = next(newest, None)
                yield self._flies(kept), 0 if previous is None else previous.number
                return
        for kept in self.kept.values():
            if not kept.sent:
                if not self._may_fly():
                    return
                yield self._flies(kept), before
            before = kept.number

    def _may_fly(self) -> bool:
        return not self._flying or (self._flying < IN_FLIGHT_MAX and self._flying_bytes <= IN_FLIGHT_BYTES_MAX)

    def _flies(self, kept: Kept) -> Kept:
        kept.sent = True
        self._flying += 1
        self._flying_bytes += kept.size
        return kept

    def acknowledge(self, number: int) -> Kept | None:
        """It was handled. None: that was known."""
        kept = self.kept.pop(number, None)
        if kept is not None:
            self._bytes -= kept.size
            if kept.sent:
                self._flying -= 1
                self._flying_bytes -= kept.size
        return kept

    def go_back(self, number: int = 0) -> bool:
        """It and all after it are to be sent again. False: nothing of it was sent."""
        found = False
        for kept in self.kept.values():
            if kept.number >= number and kept.sent:
                kept.sent = False
                self._flying -= 1
                self._flying_bytes -= kept.size
                found = True
        return found
