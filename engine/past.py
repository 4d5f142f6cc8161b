"""Point-in-time recovery as programs see it: the part of `ctx.storage` that deals in bookmarks (spec: point-in-time recovery)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bookmarks import END_OF_GENERATION, Position, pack_bookmark, read_bookmark, time_ms_of

if TYPE_CHECKING:
    from .object_storage import ObjectStorage


class Past:
    """Bookmarks of one object. A bookmark is text that grows; it covers what was written before it was asked for."""

    _storage: ObjectStorage

    def _bookmark(self, position: Position) -> str:
        storage = self._storage
        return pack_bookmark(storage.host.object_id, position, storage.stamp())

    async def getCurrentBookmark(self) -> str:
        """The present point: everything written so far, nothing that comes after. Waits until it is durable."""
        storage = self._storage
        storage.enter()
        await storage.host.durable()
        return self._bookmark(storage.position())

    async def getBookmarkForTime(self, timestamp: object) -> str:
        """The state at a time: milliseconds since the epoch, or a datetime.

        Raises InvalidArgument for what is no time, HistoryGone for one before the history that is kept.
        """
        storage = self._storage
        storage.enter()
        time_ms = time_ms_of(timestamp)
        await storage.host.durable()
        if time_ms >= storage.host.clock.now_ms():
            return self._bookmark(storage.position())
        found = await storage.host.history.find(storage.host.key, storage.host.object_id, time_ms)
        return self._bookmark(found)

    async def onNextSessionRestoreBookmark(self, bookmark: str) -> str:
        """Begin the object's next instance with the state at `bookmark`; the bookmark that undoes this.

        What was written before is committed. Raises InvalidArgument for no bookmark of this object, HistoryGone for one
        that cannot be restored (any more).
        """
        storage = self._storage
        storage.enter()
        position = read_bookmark(storage.host.object_id, bookmark)
        await storage.host.durable()
        await storage.host.history.reaches(storage.host.key, storage.host.object_id, position)
        storage.request_restore(position)
        undo = Position(storage.position().generation, END_OF_GENERATION)
        await storage.host.durable()
        return self._bookmark(undo)

    get_current_bookmark = getCurrentBookmark
    get_bookmark_for_time = getBookmarkForTime
    on_next_session_restore_bookmark = onNextSessionRestoreBookmark
