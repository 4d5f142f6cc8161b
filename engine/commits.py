"""What the engine asks of whoever makes commits durable (the shard's group commit; a small one in unit tests).

What always holds: `number` of a batch grows by one; batches become durable in order; effects held in a batch run in
the order held, only after the batch is durable; if it fails none of them runs and `failed` is told of them instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Effect = tuple[Callable[..., None], tuple[object, ...]]


class Committable(Protocol):
    """What has commits: one resident object, as the group commit sees it."""

    def capture(self) -> CommitRecord | None:
        """Commit what the ended turns wrote, and return the new page images; None when nothing changed.

        A large commit comes in pieces (`CommitRecord.part`), and what was committed after it begins stays behind: who says
        that there is `more` must be asked again for the next batch, and what is held for it waits for that.

        Raises PerdureError when this object's commit fails (full, constraint): the object alone is reset.
        """
        ...

    def committed(self, change: int) -> None:
        """The record with that change number is durable."""
        ...

    def postponed(self, batch: int) -> None:
        """What it wrote goes with that later batch: what was held for it too."""
        ...

    def failed(self, error: BaseException, dropped: Sequence[Effect]) -> None:
        """The batch with this object's record failed, or its capture did: reset, rebuild from the log.

        `dropped`: what was held for it and will not run; whoever waits for a reply among it must hear of the failure.
        """
        ...


class CommitRecord(Protocol):
    """One object's part of a batch."""

    object_id: bytes
    class_key: str
    name: str | None
    generation: int
    change: int
    size_pages: int
    part: int
    """0: whole. Negative: a piece of a large commit, more follow. Positive: the last one, after that many pieces."""
    pages: dict[int, bytes]
    """Page number (from 1) → 4,096 bytes."""
    alarm_ms: int | None
    """When the object's alarm is due after the commit, in ms since the epoch; 0: it has none any more; None: as it was."""
    time_ms: int
    more: bool
    """Commits, or pieces of one, are left that this record does not have."""


class Commits(Protocol):
    """The group commit of one shard."""

    def touch(self, who: Committable) -> int:
        """`who` has writes of an ended turn: they go with the open batch, whose number is returned. Seals soon."""
        ...

    def durable(self) -> int:
        """Number of the newest durable batch."""
        ...

    def hold(self, batch: int, who: Committable, effect: Callable[..., None], *args: object) -> None:
        """Run `effect(*args)` when `batch` is durable; drop it if the batch or `who` in it fails."""
        ...

    def drop(self, who: Committable) -> list[Effect]:
        """Take away what is held for `who`, in any batch: it will not run."""
        ...
