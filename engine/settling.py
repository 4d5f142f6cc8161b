"""Completing an object's main file: a checkpoint between two turns, when everything that was committed is durable.

What always holds: nobody uses the storage while it is settled; what is not durable never reaches the main file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .errors import PerdureError, StorageFull, StorageUnavailable
from .gate import BLOCKED
from .resetting import close_storage
from .turns import Event

if TYPE_CHECKING:
    from .instance import Instance


class Settling:
    """Of one instance, whose mark `settles` says that it is wanted or under way."""

    __slots__ = ("_instance", "folding")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.folding = False
        """A checkpoint runs on a thread: the storage must not be touched."""

    def settle(self) -> int | None:
        """Complete the main file now and give its change number; None: later, `Shelf.settled` will tell.

        Raises StorageFull: the main file has no room to grow. Nothing is lost: the -wal stays, and so does the log.
        """
        instance = self._instance
        if instance.broken is not None or instance.settles:
            return None
        if self._asks_history():
            instance.storage.before_checkpoint()
            return instance.storage.checkpoint()
        if instance.input.holder is None and not instance.turn_dirty and not instance.sections.open():
            if instance.touched <= instance.output.commits.durable() and not self._large():
                instance.storage.before_checkpoint()
                return instance.storage.checkpoint()
            self.when_durable()
            return None
        instance.settles = True
        return None

    def _asks_history(self) -> bool:
        """The running turn waits for history, which may need the main file complete; everything is durable."""
        instance = self._instance
        holder = instance.input.holder
        return (
            isinstance(holder, Event)
            and holder.pinned > 0
            and not instance.turn_dirty
            and instance.touched <= instance.output.commits.durable()
            and not instance.storage.in_transaction()
        )

    def when_durable(self) -> None:
        instance = self._instance
        instance.input.block()
        instance.settles = True
        if instance.touched <= instance.output.commits.durable():
            self._settle_now()
        else:
            instance.output.commits.hold(instance.touched, instance, self._settle_now)

    def _settle_now(self) -> None:
        instance = self._instance
        if instance.broken is not None or instance.input.holder is not BLOCKED:
            return
        instance.storage.before_checkpoint()
        if self._large():
            self.folding = True
            future = instance.turns.loop.run_in_executor(instance.shelf.threads, instance.storage.checkpoint)
            future.add_done_callback(self._settled_on_thread)
            return
        try:
            change = instance.storage.checkpoint()
        except PerdureError as error:
            self._not_settled(error)
        else:
            self._settled(change)

    def _large(self) -> bool:
        """Whether a checkpoint would stop the loop for too long."""
        instance = self._instance
        return instance.storage.wal_bytes() > 2 * instance.limits.wal_bytes_checkpoint

    def _settled_on_thread(self, future: asyncio.Future[int]) -> None:
        instance = self._instance
        self.folding = False
        error = future.exception()
        if instance.broken is not None:  # reset meanwhile: the storage could not be closed under the checkpoint
            close_storage(instance, discard=True)
        elif error is None:
            self._settled(future.result())
        else:
            failure = error if isinstance(error, PerdureError) else None
            self._not_settled(failure or StorageUnavailable(f"a checkpoint failed: {error}"))

    def _not_settled(self, error: PerdureError) -> None:
        """A full disk is no reason to reset: the -wal has everything, and there may be room the next time."""
        instance = self._instance
        instance.settles = False
        if isinstance(error, StorageFull):
            instance.input.unblock()
            instance.shelf.unsettled(instance, error)
        else:
            instance.reset(error, discard=True)

    def busy(self) -> bool:
        """Whether its main file is being completed, so that its storage must be left alone."""
        instance = self._instance
        return instance.settles or self.folding

    def _settled(self, change: int) -> None:
        instance = self._instance
        instance.settles = False
        instance.input.unblock()
        instance.shelf.settled(instance, change)
