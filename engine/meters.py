"""What one object has used since its meters were last taken: the counters that a bill is made of (spec: pricing).

What always holds: counters only grow between two takings; taking them loses nothing and counts nothing twice.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields


@dataclass(slots=True)
class Meters:
    """Counts of one object, or the sum of many. Units are in the names; everything else counts events."""

    requests: int = 0
    """HTTP requests and remote calls."""
    messages: int = 0
    """Incoming socket messages."""
    alarms: int = 0
    """Alarm runs."""
    rows_read: int = 0
    rows_written: int = 0
    kv_read_units: int = 0
    """Of 4,096 bytes of key and value, by the classes of the key-value backend; likewise below."""
    kv_write_units: int = 0
    kv_deletes: int = 0
    active_ms: int = 0
    """Time with an event running, or idle but not hibernatable."""

    def take(self) -> Meters:
        """The counts so far; these start anew."""
        taken = Meters(*astuple(self))
        for field in fields(self):
            setattr(self, field.name, 0)
        return taken

    def add(self, other: Meters) -> None:
        """Add the counts of `other`."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __bool__(self) -> bool:
        return any(astuple(self))


__all__ = ["Meters"]
