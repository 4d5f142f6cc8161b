"""Which alarms run right now, in a small file of the session: what a killed process leaves for the next one to read.

What always holds: a run is noted before anything of the program runs, and the note goes when its outcome is known. Notes are not
synced: they outlive the process, not a power cut, and a note that is not whole counts as none.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from typing import cast

import msgpack

from ..engine.alarm_retries import Armed
from ..engine.disk import Disk

_SLOT = 1_024
_HEAD = struct.Struct("<II")
_FREE = bytes(_HEAD.size)


@dataclass(frozen=True, slots=True)
class Noted:
    """A run that had begun."""

    object_id: bytes
    class_key: str
    armed: Armed


class RunNotes:
    """The file of one session, made with the first run. Slots are used again."""

    def __init__(self, disk: Disk, folder: str) -> None:
        """`folder`: DATA/log/<session>: it stays until everything in it was recovered."""
        self._disk = disk
        self._path = _path(folder)
        self._fd = -1
        self._free: list[int] = []
        self._slots = 0

    def begin(self, noted: Noted) -> int:
        """Note a run; its slot. Raises OSError."""
        armed = noted.armed
        fields = [noted.object_id, noted.class_key, armed.scheduled_ms, armed.due_ms, armed.counted, armed.uncounted]
        body = cast("bytes", msgpack.packb(fields))
        assert len(body) <= _SLOT - _HEAD.size, "a note fits into its slot"
        if self._fd < 0:
            self._fd = self._disk.open(self._path, create=True)
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        self._disk.pwrite(self._fd, _HEAD.pack(len(body), zlib.crc32(body)) + body, slot * _SLOT)
        return slot

    def end(self, slot: int) -> None:
        """The outcome of the run is known. Raises OSError."""
        self._disk.pwrite(self._fd, _FREE, slot * _SLOT)
        self._free.append(slot)

    def close(self) -> None:
        """Let go of the file: what is noted in it stays."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1


def read_notes(disk: Disk, folder: str) -> list[Noted]:
    """The runs that had begun and not ended in a session that is dead."""
    path = _path(folder)
    if not disk.exists(path):
        return []
    fd = disk.open(path, write=False)
    try:
        data = disk.pread(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)
    found: list[Noted] = []
    for start in range(0, len(data), _SLOT):
        length, crc = _HEAD.unpack_from(data.ljust(start + _HEAD.size, b"\0"), start)
        body = data[start + _HEAD.size : start + _HEAD.size + length]
        if length == 0 or length > _SLOT or zlib.crc32(body) != crc:
            continue
        with contextlib.suppress(ValueError, TypeError):
            object_id, class_key, *times = cast("tuple[bytes, str, int, int, int, int]", msgpack.unpackb(body))
            found.append(Noted(object_id, class_key, Armed(*times)))
    return found


def _path(folder: str) -> str:
    return os.path.join(folder, "alarms")
