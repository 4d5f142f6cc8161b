"""What one object has used since its meters were last taken: the counters that a bill is made of (spec: pricing).

What always holds: counters only grow between two takings; taking them loses nothing and counts nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


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
    active_us: int = 0
    """Microseconds with an event or task running, concurrent ones counted once; idle and able to hibernate is not active."""

    def take(self) -> Meters:
        """The counts so far; these start anew."""
        taken = Meters(
            self.requests,
            self.messages,
            self.alarms,
            self.rows_read,
            self.rows_written,
            self.kv_read_units,
            self.kv_write_units,
            self.kv_deletes,
            self.active_us,
        )
        self.requests = self.messages = self.alarms = self.rows_read = self.rows_written = 0
        self.kv_read_units = self.kv_write_units = self.kv_deletes = self.active_us = 0
        return taken

    def add(self, other: Meters) -> None:
        """Add the counts of `other`."""
        self.requests += other.requests
        self.messages += other.messages
        self.alarms += other.alarms
        self.rows_read += other.rows_read
        self.rows_written += other.rows_written
        self.kv_read_units += other.kv_read_units
        self.kv_write_units += other.kv_write_units
        self.kv_deletes += other.kv_deletes
        self.active_us += other.active_us

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in METER_NAMES)


METER_NAMES = tuple(field.name for field in fields(Meters))
"""The counters, in the order of the columns that keep them."""
