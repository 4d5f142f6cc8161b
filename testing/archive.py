"""The archivist without its process: each job is done when it is asked for."""

from __future__ import annotations

from ..engine.disk import Disk
from ..router.control import Message
from ..shards.archivist import Archivist


class InlineArchive:
    """Implements Archive over the history in `data`/history."""

    def __init__(self, disk: Disk, data: str) -> None:
        self.archivist = Archivist(disk, f"{data}/history")

    async def ask(self, kind: str, *, urgent: bool = True, **fields: object) -> Message:
        """The answer. Raises PerdureError."""
        return self.archivist.work({"kind": kind, **fields})

    async def ended(self) -> None:
        """There is no process to wait for."""

    def close(self) -> None:
        self.archivist.close()
