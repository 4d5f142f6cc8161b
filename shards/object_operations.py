"""What operators ask of single objects: copies out and in, their past, deletion.

Each function is an operation: called by name, with plain arguments, beside the objects' turns. What always holds: files are read
and written under the paths that the caller names, never in the data folder itself but by the shard.
"""

from __future__ import annotations

import os
from typing import cast

from ..engine.bookmarks import Position, pack_bookmark, read_bookmark
from ..engine.clock import Clock
from ..engine.errors import InvalidArgument
from ..engine.ids import ClassKey
from .timeline import Timeline

HISTORY_POINTS_MAX = 1_000


class ObjectOperations:
    """Over the timeline of a shard."""

    def __init__(self, timeline: Timeline, clock: Clock) -> None:
        self._timeline = timeline
        self._clock = clock

    def _bookmark(self, object_id: bytes, generation: object, change: object) -> str:
        position = Position(cast("int", generation), cast("int", change))
        return pack_bookmark(object_id, position, self._timeline.stamp())

    async def _position(self, class_key: str, object_id: bytes, at: str | int | None) -> Position | None:
        """Of a bookmark, or of milliseconds since the epoch; None: the present. Raises InvalidArgument, HistoryGone."""
        if isinstance(at, str):
            return read_bookmark(object_id, at)
        if at is None or at >= self._clock.now_ms():
            return None
        return await self._timeline.find(ClassKey(class_key), object_id, at)

    async def export(
        self, object_id: bytes, class_key: str, path: str, at: str | int | None = None
    ) -> dict[str, object]:
        """Write the object's state, now or at a point, as a plain SQLite file to `path`, which must not exist.

        Gives bytes, bookmark and time_ms of what was written. Raises ObjectNotFound, HistoryGone, InvalidArgument.
        """
        _check_path(path)
        position = await self._position(class_key, object_id, at)
        made = await self._timeline.export(ClassKey(class_key), object_id, path, position)
        bookmark = self._bookmark(object_id, made["generation"], made["change"])
        return {"bytes": made["bytes"], "bookmark": bookmark, "time_ms": made["time_ms"]}

    async def import_file(
        self, object_id: bytes, class_key: str, path: str, name: str | None = None, replace: bool = False
    ) -> dict[str, object]:
        """Make the SQLite file at `path` the object's. Raises ImportRefused, InvalidArgument when the object exists."""
        _check_path(path)
        size = await self._timeline.import_file(ClassKey(class_key), object_id, name, path, replace)
        generation = self._timeline.generation(ClassKey(class_key), object_id)
        return {"bytes": size, "bookmark": self._bookmark(object_id, generation, 1)}

    async def vacuum(self, object_id: bytes, class_key: str, name: str | None = None) -> dict[str, object]:
        """Write the object's file anew, without its free pages. Raises ObjectNotFound."""
        before, after = await self._timeline.vacuum(ClassKey(class_key), object_id, name)
        return {"before": before, "after": after}

    async def delete(self, object_id: bytes, class_key: str) -> dict[str, object]:
        """Remove the object with its past."""
        return {"existed": await self._timeline.delete(ClassKey(class_key), object_id)}

    async def history(self, object_id: bytes, class_key: str) -> dict[str, object]:
        """The newest points that can be restored, bytes of history, and the oldest time."""
        found = await self._timeline.moments(ClassKey(class_key), object_id, HISTORY_POINTS_MAX)
        points = [
            {"bookmark": self._bookmark(object_id, generation, change), "time_ms": time_ms, "bytes": used}
            for generation, change, time_ms, used in cast("list[list[int]]", found["points"])
        ]
        return {"points": points, "oldest_ms": found["oldest_ms"], "bytes": found["bytes"]}

    async def restore(
        self, object_id: bytes, class_key: str, at: str | int, name: str | None = None
    ) -> dict[str, object]:
        """Bring back the state of a point; the bookmark that undoes it."""
        position = await self._position(class_key, object_id, at)
        if position is None:
            raise InvalidArgument("that time is not in the past", hint="`perdure objects history ID` lists the points")
        undo = await self._timeline.restore_now(ClassKey(class_key), object_id, name, position)
        return {"undo": self._bookmark(object_id, undo.generation, undo.change)}


def _check_path(path: str) -> None:
    if not os.path.isabs(path):
        raise InvalidArgument(f"the path must be absolute, got {path!r}")
