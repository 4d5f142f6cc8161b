"""Objects hear of the sockets of gateways that died: those under TLS, and those that Workers relay.

What always holds: a living gateway keeps its journal locked, so who gets the lock knows that it is dead, and tells alone; if who
tells dies too, another gets the lock.
"""

from __future__ import annotations

import asyncio
import fcntl
import os

from ..engine.disk import Disk
from .bereaved import Bereaved
from .held_sockets import HeldSockets
from .logs import Report
from .socket_journal import journals

KIND = "gateway-"
"""How the names of their journals begin."""
LOOK_S = 5.0


def hold(fd: int) -> None:
    """Lock a journal for as long as this process lives, or has it open. Raises OSError when another has."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LostGateways:
    """Looks for journals of dead gateways at the start, and again and again: nobody takes the place of one that was leaving."""

    def __init__(
        self, disk: Disk, data: str, sockets: HeldSockets, loop: asyncio.AbstractEventLoop, report: Report
    ) -> None:
        """`data`: the data folder."""
        self._disk = disk
        self._data = data
        self._sockets = sockets
        self._loop = loop
        self._report = report
        self._telling: dict[str, int] = {}
        """Path → the descriptor by which it is locked."""
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Now, and from now on."""
        self._timer = self._loop.call_later(LOOK_S, self.look)
        try:
            for path in journals(self._disk, self._data):
                if os.path.basename(path).startswith(KIND) and path not in self._telling:
                    self._take(path)
        except OSError as error:
            self._report(
                "error", "socket_journal_failed", {"error": str(error), "hint": "objects hear it when they load"}
            )

    def _take(self, path: str) -> None:
        """Tell the objects, if its gateway is dead. Raises OSError."""
        try:
            fd = self._disk.open(path, write=False)
        except FileNotFoundError:  # it has ended in order, or another has told
            return
        if not _dead(fd, path):
            self._disk.close(fd)
            return
        self._telling[path] = fd
        bereaved = Bereaved(self._disk, path, self._sockets, self._loop)
        bereaved.done.add_done_callback(lambda _: self._told(path))
        hint = "the gateway that held them died; clients come back"
        self._report("warning", "sockets_lost", {"sockets": bereaved.begin(), "hint": hint})

    def _told(self, path: str) -> None:
        self._disk.close(self._telling.pop(path))

    def close(self) -> None:
        """This process ends."""
        if self._timer is not None:
            self._timer.cancel()
        for fd in self._telling.values():
            self._disk.close(fd)
        self._telling.clear()


def _dead(fd: int, path: str) -> bool:
    """Whether nobody had it locked, and it still is the file of that name (it is made anew now and then, and removed)."""
    try:
        hold(fd)
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except (BlockingIOError, FileNotFoundError):
        return False
