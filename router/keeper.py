"""A keeper process: `python -m perdure.router.keeper`, started by the supervisor with the first socket of an object.

startup (client, door) → serve → drain, or hand everything to a successor. It holds the connections of objects' sockets and
runs no code of a program; a reload leaves it alone. What always holds: a connection that was taken is served until its client or
its object ends it, or this process dies; a successor goes on between two bytes, and the client sees nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import cast

import setproctitle

from ..engine.disk import LocalDisk
from ..engine.errors import ProtocolError
from .bereaved import Bereaved
from .client import Client
from .connection import Connection, Connections
from .control import Control, Message
from .descriptors import DescriptorStream
from .keeper_door import TAKEN, Passed, taken
from .late_reports import configure_later, late_reporter
from .process import main, settle_garbage
from .pulse import Pulse, beat_for_loop
from .slots import SlotMap
from .socket_journal import FOLDER, SocketJournal, journals, path_of

BEAT_BUDGET_S = 30.0
CLOSE_SPREAD_S = 10.0
SERVICE_RESTART = 1012
TAKING_MAX = 256
"""Hand-overs that are read at once; the others wait in the kernel."""


class Keeper:
    """One keeper."""

    def __init__(self, control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> None:
        self._control = control
        self._start = start
        self._loop = loop
        self._report = late_reporter(f"keeper {start['index']}")
        self._drained: asyncio.Future[float] = loop.create_future()
        self._connections = Connections(loop)
        self._client = Client.in_process(
            loop,
            SlotMap.from_wire(start["map"]),
            cast("dict[str, str]", start.get("classes") or {}),
            role=f"keeper {start['index']}",
        )
        self._client.sockets.report = self._report
        self._taking: set[asyncio.Task[None]] = set()
        self._journal = self._begin_journal(cast("str", start["data"]))

    async def serve(self) -> int:
        """Until drained; the exit code. Raises OSError when its door cannot be opened."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one a connection
        door = _door(cast("str", self._start["door"]))
        self._control.attach(self._loop, self._on_control, lambda: os._exit(0))
        accepting = self._loop.create_task(self._accept(door), name="door")
        self._tell_bereaved(cast("str", self._start["data"]))
        self._connections.start()
        settle_garbage()
        beat_for_loop(Pulse.given(cast("int", self._start["pulse_fd"])), self._loop, BEAT_BUDGET_S)
        self._control.send({"type": "ready"})
        seconds = await self._drained
        accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await accepting
        door.close()
        await self._drain(seconds)
        await self._client.close()
        self._journal.end()
        return 0

    def _on_control(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "map":
            self._client.adopt(SlotMap.from_wire(message["map"]), cast("dict[str, str]", message.get("classes") or {}))
        elif kind == "drain" and not self._drained.done():
            self._drained.set_result(cast("float", message["seconds"]))

    # ------------------------------------------------------------------ what outlives it
    def _begin_journal(self, data: str) -> SocketJournal:
        os.makedirs(f"{data}/{FOLDER}", mode=0o700, exist_ok=True)
        held = self._client.sockets
        held.journal = journal = SocketJournal(LocalDisk(), path_of(data, held.identity), held.refs)
        return journal

    def _tell_bereaved(self, data: str) -> None:
        """Tell the objects whose sockets were held by those who had this place before, or a place that is no more."""
        index, count = cast("int", self._start["index"]), cast("int", self._start["keepers"])
        for path in journals(LocalDisk(), data):
            kind, _, rest = os.path.basename(path).partition("-")
            place = rest.partition("-")[0]
            if kind != "keeper" or not place.isdigit() or int(place) % count != index or path == self._journal.path:
                continue
            found = Bereaved(LocalDisk(), path, self._client.sockets, self._loop).begin()
            self._report(
                "warning", "sockets_lost", {"sockets": found, "hint": "the keeper before died; clients come back"}
            )

    # ------------------------------------------------------------------ taking connections
    async def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                caller, _ = await self._loop.sock_accept(door)
            except OSError as error:  # no descriptors left: those in the door wait
                self._report("error", "door_failed", {"error": str(error)})
                await asyncio.sleep(0.1)
                continue
            task = self._loop.create_task(self._take(caller), name="take")
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
            if len(self._taking) >= TAKING_MAX:
                await asyncio.wait(self._taking, return_when=asyncio.FIRST_COMPLETED)

    async def _take(self, caller: socket.socket) -> None:
        """A gateway gives a connection."""
        caller.setblocking(False)
        with caller:
            try:
                passed, end = await taken(caller, self._loop)
            except (ProtocolError, OSError, TimeoutError) as error:
                self._report("warning", "hand_over_failed", {"error": f"{type(error).__name__}: {error}"})
                return
            self.adopt(passed, end)
            with contextlib.suppress(OSError):  # the gateway was killed meanwhile: the connection is ours all the same
                await self._loop.sock_sendall(caller, TAKEN)

    def adopt(self, passed: Passed, end: socket.socket) -> Connection:
        """Answer the upgrade, and serve it."""
        stream = DescriptorStream(self._loop, end)
        with contextlib.suppress(OSError):  # a UNIX socket, in tests
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = stream.connection = Connection(self._connections, stream, window_bits=passed.window_bits)
        connection.answer(passed.head)
        connection.far = self._client.sockets.open(passed.ref, connection)
        stream.begin()
        if passed.early:
            connection.data(passed.early)
        return connection

    # ------------------------------------------------------------------ the end
    async def _drain(self, seconds: float) -> None:
        """Close all, spread over a time. Those who do not end theirs in time are cut off."""
        setproctitle.setproctitle(f"perdure leaving keeper {self._start['index']}")
        if len(self._connections):
            self._report("info", "closing_sockets", {"sockets": len(self._connections)})
        try:
            async with asyncio.timeout(seconds * 0.9):
                spread_s = min(cast("float", self._start.get("close_spread_s") or CLOSE_SPREAD_S), seconds * 0.6)
                await self._connections.close_all(SERVICE_RESTART, "service restart", spread_s)
        except TimeoutError:
            for connection in self._connections.all():
                connection.expire()
        self._connections.stop()


def _door(path: str) -> socket.socket:
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of the one before, which is dead
        door.bind(path)
        os.chmod(path, 0o600)  # before it listens
        door.listen(1024)
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door


async def _body(control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> int:
    return await Keeper(control, start, loop).serve()


if __name__ == "__main__":
    main(lambda start: f"keeper {start['index']}", _body, configure_later)
