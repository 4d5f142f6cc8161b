"""Point-in-time recovery as programs see it: the part of `ctx.storage` that deals in bookmarks (spec: point-in-time recovery).

What always holds: a call takes effect when it is made, awaited or not; awaiting it lets no other event in, also while
history is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from .bookmarks import END_OF_GENERATION, Position, pack_bookmark, read_bookmark, time_ms_of
from .errors import InvalidArgument, PerdureError, StorageError
from .thenable import Thenable
from .values import JsDict

if TYPE_CHECKING:
    from .object_storage import ObjectStorage

T = TypeVar("T")


class Later(Thenable, Generic[T]):
    """What a call that has taken effect still waits for: to be durable, and the answer of history."""

    __slots__ = ("_finish",)

    def __init__(self, finish: Callable[[], Coroutine[object, None, T]]) -> None:
        self._finish = finish

    def __await__(self) -> Generator[object, None, T]:
        return self._finish().__await__()  # pyright: ignore[reportReturnType]


class Past:
    """Bookmarks of one object. A bookmark is text that grows; it covers what was written before it was asked for."""

    _storage: ObjectStorage

    def _enter(self, name: str) -> ObjectStorage:
        storage = self._storage
        storage.enter()
        if storage.savepoints.nested:
            raise StorageError(f"Cannot call {name}() within transactionSync()")
        return storage

    def _bookmark(self, position: Position) -> str:
        host = self._storage.host
        return pack_bookmark(host.object_id, position, host.history.stamp())

    async def _held(self, work: Awaitable[T]) -> T:
        """Await, and let no other event in meanwhile."""
        scope = self._storage.host.turns.scope
        if scope is None:
            return await work
        event = scope.event
        event.pinned += 1
        try:
            return await work
        finally:
            event.pinned -= 1

    # ------------------------------------------------------------------ bookmarks
    def getCurrentBookmark(self) -> Later[str]:
        """The present point: everything written so far, nothing that comes after. Waits until it is durable."""
        storage = self._enter("getCurrentBookmark")
        durable = storage.host.durable()

        async def finish() -> str:
            await durable
            return self._bookmark(storage.position())

        return Later(finish)

    def getBookmarkForTime(self, timestamp: object) -> Later[str]:
        """The state at a time: milliseconds since the epoch, or a datetime.

        Raises InvalidArgument for what is no time, HistoryGone for one before the history that is kept.
        """
        storage = self._enter("getBookmarkForTime")
        time_ms = time_ms_of(timestamp)
        host = storage.host
        durable = host.durable()

        async def finish() -> str:
            await durable
            if time_ms >= host.clock.now_ms():
                return self._bookmark(storage.position())
            return self._bookmark(await self._held(host.history.find(host.key, host.object_id, time_ms)))

        return Later(finish)

    def onNextSessionRestoreBookmark(self, bookmark: str) -> Later[str]:
        """Begin the object's next instance with the state at `bookmark`; the bookmark that undoes this.

        What was written before is committed, and so is the request, whatever becomes of the running turn; of several the last
        one counts. Raises InvalidArgument for no bookmark of this object; when awaited HistoryGone for one that cannot be
        restored (any more), which takes the request back.
        """
        storage = self._enter("onNextSessionRestoreBookmark")
        host = storage.host
        position = read_bookmark(host.object_id, bookmark)
        before = storage.request_restore(position)
        durable = host.durable()

        async def finish() -> str:
            await durable
            try:
                await self._held(host.history.reaches(host.key, host.object_id, position))
            except PerdureError:
                storage.take_restore_back(position, before)
                raise
            return self._bookmark(Position(storage.position().generation, END_OF_GENERATION))

        return Later(finish)

    # ------------------------------------------------------------------ snapshots
    def snapshot(self, bookmark: str | None = None) -> Later[JsDict]:
        """The present point, or the one of a bookmark, as a value for `ctx.onNextSessionRestore`; it may travel over RPC."""
        storage = self._enter("snapshot")
        current = None
        if bookmark is None:
            current = self.getCurrentBookmark()
        else:
            read_bookmark(storage.host.object_id, bookmark)

        async def finish() -> JsDict:
            return JsDict({"bookmark": bookmark if current is None else await current})

        return Later(finish)

    def restore_snapshot(self, snapshot: object) -> Later[JsDict]:
        """`ctx.onNextSessionRestore`: the snapshot that undoes it. Raises what onNextSessionRestoreBookmark raises."""
        bookmark = cast("dict[object, object]", snapshot).get("bookmark") if isinstance(snapshot, dict) else None
        if not isinstance(bookmark, str):
            raise InvalidArgument("this is no snapshot", hint="pass what storage.snapshot() gave", name="Error")
        undo = self.onNextSessionRestoreBookmark(bookmark)

        async def finish() -> JsDict:
            return JsDict({"bookmark": await undo})

        return Later(finish)

    get_current_bookmark = getCurrentBookmark
    get_bookmark_for_time = getBookmarkForTime
    on_next_session_restore_bookmark = onNextSessionRestoreBookmark
