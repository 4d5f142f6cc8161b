"""The keepers, as the supervisor has them: started with the first socket, left alone by reloads, started again when they die.

What always holds: a gateway that has asked is told the paths when every keeper serves, and again when one is not there any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from ..engine.disk import LocalDisk
from ..router.control import Message
from ..router.socket_journal import journals
from .children import Child, Phase

MODULE = "perdure.router.keeper"


class Spawn(Protocol):
    """Starts a process of a module, by its name, with the fields of its start message and descriptors to keep."""

    def __call__(self, module: str, name: str, start: Message, keep_fds: list[int]) -> Child: ...


class Keepers:
    """All keepers of a run."""

    def __init__(self, count: int, run: Callable[[], str], spawn: Spawn) -> None:
        """`run()`: the run folder, where their doors are."""
        self._count = count
        self._run = run
        self._spawn = spawn
        self.children: dict[int, Child] = {}
        self._asked: set[Child] = set()
        """Gateways that wait for an answer."""

    def door(self, index: int) -> str:
        """Where a keeper takes connections."""
        return f"{self._run()}/k{index}"

    def start(self, index: int) -> None:
        """Its process, the first or the next."""
        start: Message = {"index": index, "keepers": self._count, "door": self.door(index)}
        self.children[index] = self._spawn(MODULE, f"keeper {index}", start, [])

    def start_bereaved(self, data: str) -> None:
        """An earlier run has ended with sockets: keepers tell their objects."""
        if any(os.path.basename(path).startswith("keeper-") for path in journals(LocalDisk(), data)):
            for index in range(self._count):
                self.start(index)

    def asked(self, gateway: Child) -> None:
        """A gateway has a socket for one of them."""
        self._asked.add(gateway)
        for index in range(self._count):
            if index not in self.children:
                self.start(index)
        self.changed()

    def changed(self) -> None:
        """One of them serves now: if all do, whoever has asked is told."""
        if len(self.children) < self._count or any(c.phase is not Phase.SERVING for c in self.children.values()):
            return
        paths = [self.door(index) for index in range(self._count)]
        asked, self._asked = self._asked, set()
        for gateway in asked:
            gateway.send({"type": "keepers", "paths": paths})

    def died(self, child: Child, gateways: list[Child]) -> None:
        """Its sockets are gone; gateways ask again."""
        self._asked.discard(child)
        if child.module == MODULE:
            for gateway in gateways:
                gateway.send({"type": "keepers", "paths": []})
