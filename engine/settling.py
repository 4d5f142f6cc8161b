"""Completing an object's main file: a checkpoint between two turns, when everything that was committed is durable.

What always holds: nobody uses the storage while it is settled; what is not durable never reaches the main file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .errors import PerdureError, StorageUnavailable
from .gate import BLOCKED

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
        """Complete the main file now and give its change number; None: later, `Shelf.settled` will tell."""
        instance = self._instance
        if instance.broken is not None or instance.settles:
            return None
        if instance.input.holder is None and not instance.turn_dirty and not instance.sections.open():
            if instance.touched <= instance.output.commits.durable() and not self._large():
                instance.storage.before_checkpoint()
                return instance.storage.checkpoint()
            self.when_durable()
            return None
        instance.settles = True
        return None

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
        self._settled(instance.storage.checkpoint())

    def _large(self) -> bool:
        """Whether a checkpoint would stop the loop for too long."""
        instance = self._instance
        return instance.storage.wal_bytes() > 2 * instance.limits.wal_bytes_checkpoint

    def _settled_on_thread(self, future: asyncio.Future[int]) -> None:
        instance = self._instance
        self.folding = False
        error = future.exception()
        if error is None:
            self._settled(future.result())
            return
        instance.settles = False
        failure = error if isinstance(error, PerdureError) else StorageUnavailable(f"a checkpoint failed: {error}")
        instance.reset(failure, discard=True)

    def busy(self) -> bool:
        """Whether its main file is being completed, so that its storage must be left alone."""
        instance = self._instance
        return instance.settles or self.folding

    def _settled(self, change: int) -> None:
        instance = self._instance
        instance.settles = False
        instance.input.unblock()
        instance.shelf.settled(instance, change)
