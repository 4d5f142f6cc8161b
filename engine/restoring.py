"""Putting an object's state at a point of its past in the place of the present one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .bookmarks import Position
from .errors import PerdureError
from .turns import Event, outside

if TYPE_CHECKING:
    from .instance import Instance


async def restore(instance: Instance, event: Event, position: Position) -> None:
    """Before the constructor: put the state at a point in the place of the present one. The turn is held meanwhile.

    Raises HistoryGone, StorageFull, StorageError, ShardLost: the object goes on with the state that it has, and this is not
    tried again, also where the disk is too full to note that.
    """
    failed = instance.shelf.failed_restores
    if failed.get(instance.object_id) == position:
        return
    event.pinned += 1
    try:
        instance.storage.release()
        await _to_the_end(instance, position)
    except PerdureError as error:
        failed[instance.object_id] = position
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "error": error.message}
        instance.shelf.report("error", "restore_failed", fields)
        instance.storage.give_up_restore()
        instance.output.commits.hold(instance.touched, instance, _given_up, instance)
        raise
    finally:
        event.pinned -= 1


def is_restoring(instance: Instance) -> bool:
    """Whether its file is being replaced: it must not be reset now."""
    holder = instance.input.holder
    return instance.object is None and isinstance(holder, Event) and holder.pinned > 0


async def _to_the_end(instance: Instance, position: Position) -> None:
    """Also when its caller gives up: nobody may open the file while it is being replaced."""
    restoring = instance.history.restore(instance.key, instance.object_id, instance.name, position)
    work = outside().run(asyncio.ensure_future, restoring)
    given_up: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            given_up = error
            if instance.broken is not None:
                break
    if given_up is not None:
        raise given_up
    work.result()


def _given_up(instance: Instance) -> None:
    """The object's own database says so, durably."""
    instance.shelf.failed_restores.pop(instance.object_id, None)
