"""What one object adds to a batch of the group commit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Record:
    """One object's part of a batch: implements commits.CommitRecord."""

    object_id: bytes
    class_key: str
    name: str | None
    generation: int
    change: int
    size_pages: int
    part: int
    pages: dict[int, bytes]
    alarm_ms: int | None
    time_ms: int
    more: bool
