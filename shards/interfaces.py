"""What stands between a shard and where its state is kept: three narrow interfaces, with local drivers in this package.

`Log` is the session's log, `Meta` holds counters and the slot map, `Blobs` holds whole files for copies. Another driver (a
bucket, a lease service) takes a local one's place without a change in what calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .records import Head


class Log(Protocol):
    """The log of one session: batches appended in order, each durable when it is synced. One batch at a time."""

    session: str
    number: int
    """The segment that is being written."""

    def append(self, heads: Sequence[Head], pages: Sequence[bytes], *, control: bool = False) -> None:
        """Write one batch, unsynced. Raises OSError when writing fails, StorageFull before anything was written.

        `control`: marks and trims, which may use the last of the space.
        """
        ...

    def sync_device(self) -> None:
        """Sync what was appended; may run on a thread. Raises OSError: never call it again for the same batch."""
        ...

    def synced(self) -> None:
        """Note that the appended batch is durable."""
        ...

    def begin_anew(self) -> None:
        """After a failed append or sync: a new segment that ends the old one before the failed batch.

        Raises OSError, StorageFull: then nothing can be acknowledged any more.
        """
        ...

    @property
    def wants_room(self) -> bool:
        """Whether it is time for `make_room`."""
        ...

    def make_room(self) -> bool:
        """Reserve space for what comes, on a thread; False when there is none. Raises OSError."""
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
