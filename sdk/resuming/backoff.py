"""When a client comes back, and when it stays away: decided from why its connection ended and how often it has failed.

What always holds: waits are spread at random over their whole length (full jitter), so clients that were all cut off together
do not come back together; no wait is longer than LONGEST_MS.
"""

from __future__ import annotations

FIRST_MS, FIRST_SENT_AWAY_MS, LONGEST_MS = 250, 4_000, 30_000
SENT_AWAY = (1012, 1013)
"""The server restarts; or it has too much to do. Whoever is told so waits longer the first time."""
BROKEN = 1011
FINAL = (1000, 1002, 1003, 1007, 1008, 1009, 1010)
"""Closing codes after which the same would only happen again: ended, not understood, not allowed, too big."""
BROKEN_MAX = 3
"""Times in a row, with nothing acknowledged between, that BROKEN is taken for bad luck."""


def wait_ms(attempt: int, code: int, chance: float) -> int:
    """How long to wait. `attempt`: failures in a row before this one; `chance`: in [0, 1)."""
    first_ms = FIRST_SENT_AWAY_MS if code in SENT_AWAY else FIRST_MS
    return int(chance * min(LONGEST_MS, first_ms * 2 ** min(attempt, 16)))


def is_final(code: int, broken: int) -> bool:
    """Whether a connection that ended with `code` is not made again. `broken`: how often in a row it was BROKEN."""
    return code in FINAL or 4_000 <= code <= 4_999 or broken >= BROKEN_MAX
