"""Removes all objects of classes that a migration has deleted: files, catalogue rows, alarms and history, of one shard.

What always holds: nobody reaches such an object, its class is in no program any more; a removal that is cut off begins again at
the next start of the shard, and takes what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from ..engine.errors import PerdureError
from ..engine.ids import ClassKey

PAGE = 500
"""Objects that are looked up at once."""
AGAIN_S = 1.0
Report = Callable[[str, str, dict[str, object]], None]


class List(Protocol):
    """The listing of a shard's objects."""

    async def list(self, limit: int, class_key: str | None = None) -> dict[str, object]: ...


class Past(Protocol):
    """What the timeline does for it."""

    async def delete(self, key: ClassKey, object_id: bytes) -> bool: ...


class Removal:
    """Of one shard. `ask_history(job, **fields)` asks the archivist."""

    def __init__(
        self,
        listing: List,
        timeline: Past,
        ask_history: Callable[..., Awaitable[dict[str, object]]],
        groups: Iterable[int],
        report: Report,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._listing = listing
        self._timeline = timeline
        self._ask_history = ask_history
        self._groups = list(groups)
        self._report = report
        self._sleep = sleep

    async def run(self, class_keys: Iterable[str], removed: Callable[[str], None]) -> None:
        """Class by class; `removed(class_key)` when nothing of it is left here."""
        for class_key in class_keys:
            count = await self._remove(class_key)
            self._report("info", "class_removed", {"class_key": class_key, "objects": count})
            removed(class_key)

    async def _remove(self, class_key: str) -> int:
        """How many objects there were."""
        key, count = ClassKey(class_key), 0
        while True:
            try:
                found = await self._some(class_key)
                for object_id in found:
                    await self._timeline.delete(key, object_id)
                count += len(found)
            except PerdureError as error:  # a full disk, a file that is being copied: it is tried until it works
                fields: dict[str, object] = {"class_key": class_key, "error": error.message, "hint": error.hint or None}
                self._report("warning", "class_removal_waits", fields)
                await self._sleep(AGAIN_S)
                continue
            if not found:
                return count

    async def _some(self, class_key: str) -> list[bytes]:
        """Objects of the class that exist, or else those of which only history is left."""
        page = await self._listing.list(PAGE, class_key)
        rows = cast("list[dict[str, object]]", page["objects"])
        if rows:
            return [bytes.fromhex(str(row["id"])) for row in rows]
        past = await self._ask_history("of_class", class_key=class_key, groups=self._groups, limit=PAGE)
        return [bytes.fromhex(text) for text in cast("list[str]", past["objects"])]
