"""The sockets of a world's objects, over the world's network: what holds them is the real thing (`router.held_sockets`), and so
is the shard's side (`router.socket_peers`); only what is between is ours.

What always holds: what one process says to another stays in order; what a process has said in one round of the loop arrives
whole or, when it died before that left, not at all; a new session is met after all that the one before it has said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from ..engine.closing_codes import ABNORMAL, NOT_CLEAN
from ..engine.errors import ProtocolError
from ..engine.socket_calls import Data, SocketRef
from ..router.held_line import Connection, HeldSocket
from ..router.held_sockets import HeldSockets
from ..router.slots import group_of
from ..router.socket_peers import SocketPeer
from ..router.wire import SOCKET_EVENT, Frame, decode, encode

if TYPE_CHECKING:
    from ..engine.residents import Residents
    from .network import Network, Receiver


class Hosts(Protocol):
    """A process of a world, as who holds sockets sees it."""

    alive: bool
    name: str

    @property
    def residents(self) -> Residents: ...


class Link:
    """One holding and one process: both ends."""

    def __init__(self, way: WorldWay, process: Receiver) -> None:
        self.process = process
        self.way = way
        self.peer = SocketPeer(way.holding.identity, self._send, cast("Hosts", process).residents, self._waits)
        self._leaving: list[Frame] = []

    def _send(self, frame: Frame, _size: int) -> None:
        self._leaving.append(frame)
        if len(self._leaving) == 1:
            self.way.network.soon(self._left)

    def _waits(self, frame: Frame) -> bool:
        return bool(self._leaving) and self._leaving[-1] is frame

    def _left(self) -> None:
        leaving, self._leaving = self._leaving, []
        network = self.way.network
        if self.process.alive:
            network.schedule.point("reply", self.process)
        if self.process.alive:
            self.back(self.way.arrive, self, decode(encode(leaving)))

    def back(self, work: Callable[..., None], *args: object) -> None:
        """After all that the process has said."""
        self.way.network.travel(("sockets from", self), "reply", work, *args)

    def there(self, work: Callable[..., None], *args: object) -> None:
        """After all that was said to the process."""
        self.way.network.travel(("sockets to", self), "call", work, *args)


class WorldWay:
    """Implements Way: to one shard, whichever process that is."""

    takes_sockets = True

    def __init__(self, holding: Holding, index: int) -> None:
        self.holding = holding
        self.network = holding.network
        self.ready = False
        self._index = index
        self._link: Link | None = None

    def send_frame(self, frame: Frame, size: int = 0) -> None:
        if self._link is not None and self.holding.alive():
            self._link.there(self._arrived, self._link, decode(encode([frame]))[0])

    def _arrived(self, link: Link, frame: Frame) -> None:
        """At the process."""
        process, network = link.process, self.network
        if not process.alive:
            return
        if frame[0] == SOCKET_EVENT:
            network.introduce(frame[2], frame[3], frame[4])
            network.schedule.may_sleep(process, frame[3])
            network.schedule.point("arrive", process)
        if process.alive:
            link.peer.receive(frame)

    # ------------------------------------------------------------------ processes come and go
    def meet(self) -> None:
        """Say hello to the process that serves now, if the one before it has been heard to its end."""
        process = self.network.shards[self._index]
        if self._link is None and process is not None and process.alive and process is not self.holding.owner:
            self._link = Link(self, process)
            self._link.there(self._met, self._link)

    def _met(self, link: Link) -> None:
        """At the process: it knows us from here on."""
        if link.process.alive and self.holding.alive():
            self.holding.met[link.process] = link
            link.back(self._welcomed, link)

    def _welcomed(self, link: Link) -> None:
        if link is self._link and self.holding.alive():
            self.ready = True
            self.holding.sockets.ready(self)

    def leave(self, process: Receiver) -> None:
        """A process is gone; what it has said before is still heard."""
        link = self._link
        if link is not None and link.process is process:
            self.holding.met.pop(process, None)
            link.peer.gone = True
            link.back(self._parted, link)

    def _parted(self, link: Link) -> None:
        if link is self._link:
            self._link, self.ready = None, False
            if self.holding.alive():
                self.holding.sockets.parted(self, True)
                self.meet()

    def arrive(self, link: Link, frames: list[Frame]) -> None:
        """At the holder: what a process has said in one round."""
        if link is not self._link or not self.holding.alive():
            raise ProtocolError("what a process says is heard before its successor is met")
        for frame in frames:
            self.holding.sockets.receive(self, frame)


class _Nobody:
    """The client of a connection that is gone."""

    def message(self, data: Data) -> None: ...
    def closed(self, code: int, reason: str, clean: bool) -> None: ...
    def failed(self, text: str) -> None: ...
    def forgotten(self) -> None: ...


NOBODY = _Nobody()


class Holding:
    """All sockets that one process holds; `owner` None: the keeper, and what the Worker and tests hold. Implements Route."""

    epoch = 1

    def __init__(self, network: Network, owner: Receiver | None, identity: str) -> None:
        self.network = network
        self.owner = owner
        self.identity = identity
        self.met: dict[Receiver, Link] = {}
        """Processes that know of it."""
        self.sockets = HeldSockets(network.loop, self, identity)
        self.sockets.clock = lambda: network.now_ms() / 1000
        self.sockets.report = lambda level, event, fields: network.report(level, event, fields)
        self._gone = False
        self._ways = [WorldWay(self, index) for index in range(len(network.shards))]
        for way in self._ways:
            way.meet()

    def alive(self) -> bool:
        """Whether its process still runs."""
        return not self._gone and (self.owner is None or self.owner.alive)

    def way(self, object_id: bytes) -> WorldWay:
        return self._ways[self.network.groups[group_of(object_id)]]

    # ------------------------------------------------------------------ Opener
    def open(self, ref: SocketRef, sink: Connection) -> HeldSocket:
        """The peer of an object's socket is here."""
        return self.sockets.open(ref, sink)

    # ------------------------------------------------------------------ processes come and go
    def meets(self, _process: Receiver) -> None:
        """A process serves."""
        for way in self._ways:
            way.meet()

    def leaves(self, process: Receiver) -> None:
        """A process is gone; what it has not acknowledged waits for the next one."""
        for way in self._ways:
            way.leave(process)

    def end(self) -> list[SocketRef]:
        """Its process is dead; what its journal says that it had."""
        had = list(self.sockets.refs())
        for connection in self.sockets.connections():
            connection.closed(ABNORMAL, NOT_CLEAN, False)
        self._gone = True
        self.sockets.close()
        for process, link in self.met.items():
            if process.alive:
                link.there(link.peer.lost)
        return had

    def peers(self, process: Receiver) -> SocketPeer | None:
        """As a process reaches it."""
        link = self.met.get(process)
        return None if link is None or link.peer.gone else link.peer
