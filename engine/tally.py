"""What storage operations count as: rows of SQLite classes, units of 4,096 bytes of the key-value backend (spec: pricing).

What always holds: an operation counts once, when it is made, also when its turn is undone later.
"""

from __future__ import annotations

from .entries import ABSENT, Entry, data_of
from .meters import Meters

UNIT_BYTES = 4096


def units(size: int) -> int:
    """Bytes of key and value in units, rounded up, at least one."""
    return max(1, -(-size // UNIT_BYTES))


def entry_units(key: str, entry: Entry) -> int:
    """Units of one key with its value; a missing key is one."""
    return 1 if entry is ABSENT else units(len(key.encode()) + len(data_of(entry)))


class Tally:
    """Counts one object's storage operations into its meters. The hottest two, get and put of one key, are counted in place."""

    __slots__ = ("_meters", "_rows")

    def __init__(self, meters: Meters, *, rows: bool) -> None:
        self._meters = meters
        self._rows = rows

    def read(self, key: str, entry: Entry) -> None:
        """A key was looked up."""
        if self._rows:
            self._meters.rows_read += 1
        else:
            self._meters.kv_read_units += entry_units(key, entry)

    def listed(self, rows: int, size: int) -> None:
        """A list returned so many rows with so many bytes of keys and values."""
        if self._rows:
            self._meters.rows_read += rows
        else:
            self._meters.kv_read_units += units(size)

    def wrote(self, key: str, entry: Entry) -> None:
        """A key was written."""
        if self._rows:
            self._meters.rows_written += 1
        else:
            self._meters.kv_write_units += entry_units(key, entry)

    def deleted(self, asked: int, existed: int) -> None:
        """So many keys were to be deleted, and so many of them existed."""
        if self._rows:
            self._meters.rows_written += existed
        else:
            self._meters.kv_deletes += asked

    def wiped(self, existed: int) -> None:
        """deleteAll removed so many keys."""
        if self._rows:
            self._meters.rows_written += existed
        else:
            self._meters.kv_deletes += max(1, existed)

    def armed(self) -> None:
        """An alarm was set or deleted, which changed what is stored."""
        if self._rows:
            self._meters.rows_written += 1
        else:
            self._meters.kv_write_units += 1
