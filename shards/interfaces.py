"""What stands between a shard and where its state is kept: three narrow interfaces, with local drivers in this package.

`Log` is the session's log, `Meta` holds counters and the slot map, `Blobs` holds whole files for copies. Another driver (a
bucket, a lease service) takes a local one's place without a change in what calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..engine.commits import CommitRecord
from .records import Head


class Log(Protocol):
    """The log of one session: batches appended in order, each durable when `sync` has returned."""

    session: str
    number: int
    """The segment that is being written."""

    def append(self, heads: Sequence[Head], pages: Sequence[bytes]) -> None:
        """Write one batch, unsynced. Raises OSError; StorageFull when there is no room for a segment."""
        ...

    def sync(self) -> None:
        """Make what was appended durable. Raises OSError; never call it again for the same batch."""
        ...

    def begin_anew(self) -> None:
        """After a failed append or sync: a new segment that ends the old one before the failed batch. Raises OSError."""
        ...

    def trim(self, first: int) -> None:
        """Delete the segments below `first`; a TRIM record that says so is durable."""
        ...

    def close(self, *, clean: bool) -> None:
        """Stop writing. `clean`: end with an END record, synced."""
        ...


class Meta(Protocol):
    """Small values that must never go back: epochs, session numbers."""

    def get(self, key: str) -> bytes | None: ...

    def compare_and_set(self, key: str, old: bytes | None, new: bytes) -> bool:
        """Replace `old` (None: absent) by `new`, durably; False when another value stands there."""
        ...


class Blobs(Protocol):
    """Whole files under names with slashes."""

    def put(self, name: str, data: bytes, *, create_only: bool = False) -> bool:
        """Durable when it returns; False when `create_only` and the name is taken."""
        ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def list(self, prefix: str = "") -> list[str]: ...
    def delete(self, name: str) -> None: ...


Record = CommitRecord
