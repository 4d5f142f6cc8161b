"""Objects are told that a process which held sockets of theirs is dead: each such socket closes with 1006.

What always holds: an object is told until it has acknowledged it; the dead one's journal stays until all are told, so if who
tells dies too, another tells again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ..engine.disk import Disk
from ..engine.socket_calls import Data, SocketRef
from .held_sockets import HeldSockets
from .socket_journal import read_journal

AT_ONCE_MAX = 256
"""Sockets whose objects are being told: each may wake its object."""


class Bereaved:
    """Those of one journal. `begin()` tells them; `done` is there when all know, and the journal is gone."""

    def __init__(self, disk: Disk, path: str, sockets: HeldSockets, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self.told = 0
        self.done: asyncio.Future[None] = loop.create_future()
        self._disk = disk
        self._sockets = sockets
        self._loop = loop
        self._left: Iterator[SocketRef] = iter(())
        self._under_way = 0
        self._scheduled = False

    def begin(self) -> int:
        """How many sockets the dead one had. Raises OSError."""
        found = read_journal(self._disk, self.path)
        self._left = iter(found)
        self._schedule()
        return len(found)

    def forgotten(self) -> None:
        """One object knows."""
        self._under_way -= 1
        self.told += 1
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._tell_more)

    def _tell_more(self) -> None:
        self._scheduled = False
        while self._under_way < AT_ONCE_MAX and (ref := next(self._left, None)) is not None:
            self._under_way += 1
            self._sockets.lost(ref, _Gone(self))
        if not self._under_way and not self.done.done():
            self._disk.unlink(self.path, missing_ok=True)
            self.done.set_result(None)


class _Gone:
    """A connection that was another process's: nothing reaches its client."""

    __slots__ = ("_all", "_known")

    def __init__(self, bereaved: Bereaved) -> None:
        self._all = bereaved
        self._known = False

    def message(self, data: Data) -> None: ...
    def closed(self, code: int, reason: str, clean: bool) -> None: ...
    def failed(self, text: str) -> None: ...

    def forgotten(self) -> None:
        if not self._known:
            self._known = True
            self._all.forgotten()
