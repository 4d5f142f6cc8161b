"""Bookmarks: points in an object's history, as text that grows (spec: point-in-time recovery).

`generation-change-change-stamp tag`: which file, which commit of it, the how manieth bookmark this is, whose it is. What always
holds: a later point has the larger text, also after a restore, whose file is the next generation; of the same point the later
bookmark has the larger text, whatever the clock does, over restarts too; no text is given twice.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from .errors import InvalidArgument
from .ids import ClassKey

_FORM = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{8})-([0-9a-f]{16})([0-9a-f]{16})\Z")
END_OF_GENERATION = (1 << 62) - 1
"""Above every change number: the state before whatever replaced the file."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Of a commit: the file's generation, the change number in it."""

    generation: int
    change: int


class History(Protocol):
    """What the engine asks of whoever keeps the history of objects."""

    def stamp(self) -> int:
        """A number larger than any given before, in this process or an earlier one."""
        ...

    def find(self, key: ClassKey, object_id: bytes, time_ms: int) -> Awaitable[Position]:
        """The newest commit not after that time. Raises HistoryGone."""
        ...

    def reaches(self, key: ClassKey, object_id: bytes, position: Position) -> Awaitable[None]:
        """Raises HistoryGone when that point cannot be restored."""
        ...

    def restore(self, key: ClassKey, object_id: bytes, name: str | None, position: Position) -> Awaitable[None]:
        """Put the state at a point in the place of the object's file. Its database is closed, nobody else gets at it.

        Raises HistoryGone, StorageFull, StorageError: then the file is what it was.
        """
        ...


def _tag(object_id: bytes) -> str:
    return hashlib.blake2b(object_id, digest_size=8).hexdigest()


def pack_bookmark(object_id: bytes, position: Position, stamp: int) -> str:
    """The text. `stamp`: larger than any given before."""
    high, low = divmod(position.change, 1 << 32)
    return f"{position.generation:08x}-{high:08x}-{low:08x}-{stamp:016x}{_tag(object_id)}"


def read_bookmark(object_id: bytes, text: object) -> Position:
    """The inverse. Raises InvalidArgument for what is no bookmark, or another object's."""
    match = _FORM.match(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidArgument(f"{text!r} is not a bookmark", hint="pass what getCurrentBookmark() gave", name="Error")
    generation, high, low, _, tag = match.groups()
    if tag != _tag(object_id):
        raise InvalidArgument("this bookmark is of another object", name="Error")
    return Position(int(generation, 16), (int(high, 16) << 32) + int(low, 16))


def time_ms_of(when: object) -> int:
    """Milliseconds since the epoch of a number, a datetime (naive: local time), or a date of the JavaScript style.

    Raises InvalidArgument.
    """
    ms: object = when
    if isinstance(when, datetime.datetime):
        try:
            ms = round(when.timestamp() * 1000)
        except (ValueError, OverflowError, OSError):
            ms = None
    elif callable(read := getattr(when, "getTime", None)):
        ms = read()
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms < math.inf:
        raise InvalidArgument(f"{when!r} is no time", hint="pass milliseconds since the epoch, or a datetime")
    return int(ms)
