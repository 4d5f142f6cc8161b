"""What runs right now, for whoever looks from outside: each step of a turn writes one record over the one before.

What always holds: a record is written whole before code of the program runs, so after a sudden end the memory behind it, which
another process may share, names the event that ran last. Writing it is all that a turn pays for being watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

BEACON_BYTES = 160
_ID_BYTES = 32
_TEXT_BYTES = BEACON_BYTES - _ID_BYTES - 2
HEARD, SEEN = BEACON_BYTES - 2, BEACON_BYTES - 1
"""Bytes that each record sets to 1 and a watcher to 0 when it has looked: still 0 at its next look means the same step."""
WHOLE = slice(0, BEACON_BYTES)


class Beacon(Protocol):
    """Where records go: shared memory, a bytearray, or what measures the steps while memory grows."""

    def __setitem__(self, where: slice, record: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """An event, as its record tells."""

    object_id: bytes
    object: str
    """`Class/name`, or the id's hex digits instead of a name; cut off after some hundred bytes."""
    method: str

    def __str__(self) -> str:
        return f"{self.object}.{self.method}"


def record(object_id: bytes, object_text: str, method: str) -> bytes:
    """The record of an event of an object."""
    text = f"{method}\0{object_text}".encode("utf-8", "replace")[:_TEXT_BYTES]
    return object_id + text.ljust(_TEXT_BYTES, b"\0") + b"\1\1"


NOTHING = bytes(BEACON_BYTES - 2) + b"\1\1"
"""The record of code that belongs to no event."""


def read(beacon: bytes) -> Running | None:
    """The event that a record names; None: none."""
    object_id = bytes(beacon[:_ID_BYTES])
    if not any(object_id):
        return None
    text = bytes(beacon[_ID_BYTES:HEARD]).decode("utf-8", "replace")
    method, _, name = text.partition("\0")
    return Running(object_id, name.rstrip("\0"), method)
