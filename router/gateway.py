"""A gateway process: `python -m perdure.router.gateway`, started by the supervisor.

startup (program, client, server) → serve → drain. uvicorn speaks HTTP on the socket that the supervisor has opened; the program's
Worker answers, and reaches objects through the router client. It keeps no state: it may be killed at any time.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import cast

import setproctitle
import uvicorn

from ..bindings.kinds import environments
from ..bindings.outgoing import HttpClient
from ..bindings.surroundings import Surroundings
from ..engine.disk import LocalDisk
from ..engine.limits import Limits
from ..sdk import fetching
from .client import Client
from .connection import Connections
from .control import Control, Message
from .gateway_http import Front
from .http_protocol import HttpProtocol
from .logs import configure, reporter
from .lost_gateways import LostGateways, hold
from .process import binding_settings_of, main, settings_of, settle_garbage
from .pulse import Pulse, beat_for_loop
from .scheduled import ScheduledRuns
from .served_programs import programs_of
from .slots import SlotMap
from .socket_journal import FOLDER, SocketJournal, path_of
from .upgrade import Keepers, UpgradeProtocol, Upgrades

RETIRE_IDLE_S_MAX = 10.0
"""How long a retiring gateway waits for the next request of a connection: its response says `Connection: close`."""
RETIRE_S_MAX = 60.0
LINGER_S_MAX = 24 * 3600.0
"""How long it stays for the WebSockets that it holds itself: the Worker's own, and all of them under TLS."""
CLOSE_SPREAD_S = 10.0
"""Over how long the clients of such sockets are sent away."""
SERVICE_RESTART = 1012
_LOOK_S = 0.02
KEEP_ALIVE_S = 65  # longer than the proxies in front, so that it is never us who closes first


class Gateway:
    """One gateway."""

    def __init__(self, control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> None:
        self._control = control
        self._start = start
        self._loop = loop
        self._report = reporter(f"gateway {start['index']}")
        self._drained: asyncio.Future[float] = loop.create_future()
        self._retiring: asyncio.Task[None] | None = None

    async def serve(self) -> int:
        """Until drained; the exit code. Raises PerdureError when the program or the certificate cannot be used."""
        start, loop = self._start, self._loop
        programs = programs_of(start)
        client = Client.in_process(
            loop,
            SlotMap.from_wire(start["map"]),
            cast("dict[str, str]", start.get("classes") or {}),
            role=f"gateway {start['index']}",
        )
        outgoing = HttpClient()
        fetching.install(outgoing)
        data = cast("str", start.get("data") or "")
        settings = binding_settings_of(start)
        around = Surroundings(client, loop, self._report, data, client.loopback(), settings=settings)
        environments(programs, around)
        makers = {name: doors.maker() for name, doors in around.doors.items()}
        first = programs.first
        worker = makers[first.name]
        scheduled = ScheduledRuns(worker, loop, self._report, self._control.send, makers=makers)
        front = Front(
            worker,
            loop,
            self._report,
            development=bool(start["development"]),
            host=f"{start['host']}:{start['port']}",
            assets=around.assets.get(first.name),
        )
        client.sockets.report = self._report
        journal = self._begin_journal(client, data) if data else None
        lost = LostGateways(LocalDisk(), data, client.sockets, loop, self._report)
        connections = self._connections = Connections(loop)
        connections.start()
        keepers = Keepers(loop, lambda: self._control.send({"type": "keeper"}))
        upgrades = Upgrades(loop, front, client.sockets, None if start.get("tls") else keepers, connections)
        server = self._server(front, upgrades)
        listener = socket.socket(fileno=cast("int", start["listen_fd"]))

        def on_control(message: Message) -> None:
            if message.get("type") == "map":
                client.adopt(SlotMap.from_wire(message["map"]), cast("dict[str, str]", message.get("classes") or {}))
            elif message.get("type") == "keepers":
                keepers.tell(cast("list[str]", message["paths"]))
            elif message.get("type") == "scheduled":
                scheduled.begin(message)
            elif message.get("type") == "drain" and not self._drained.done():
                self._drained.set_result(cast("float", message["seconds"]))
            elif message.get("type") == "retire" and self._retiring is None:
                self._retiring = loop.create_task(self._retire(server, front), name="retire")

        self._control.attach(loop, on_control, lambda: os._exit(0))
        serving = loop.create_task(server._serve([listener]), name="http")
        while not server.started:
            await asyncio.sleep(0.005)
            if serving.done():
                serving.result()
        settle_garbage()
        limits = Limits.from_settings({**first.config.limits, **settings_of(start)})
        beat_for_loop(Pulse.given(cast("int", start["pulse_fd"])), loop, limits.turn_ms_max / 1000)
        if data:
            lost.look()
        self._control.send({"type": "ready"})
        seconds = await self._drained
        server.config.timeout_graceful_shutdown = max(int(seconds), 1)
        server.should_exit = True
        front.drain()
        await self._close_sockets(connections, seconds)
        await serving
        await front.close(seconds)
        await scheduled.close(seconds)
        await around.close(seconds)
        lost.close()
        await client.close()
        if journal is not None:
            journal.end()
        await outgoing.close()
        return 0

    def _begin_journal(self, client: Client, data: str) -> SocketJournal:
        """Of the sockets that stay here; it outlives this process."""
        os.makedirs(f"{data}/{FOLDER}", mode=0o700, exist_ok=True)
        held = client.sockets
        held.journal = journal = SocketJournal(LocalDisk(), path_of(data, held.identity), held.refs, hold)
        return journal

    async def _close_sockets(self, connections: Connections, seconds: float) -> None:
        """Those that are held here: their clients come back, one after the other, to whoever serves then."""
        if len(connections):
            self._report("info", "closing_sockets", {"sockets": len(connections)})
        try:
            async with asyncio.timeout(seconds * 0.8):
                await connections.close_all(SERVICE_RESTART, "service restart", min(CLOSE_SPREAD_S, seconds * 0.5))
        except TimeoutError:
            for connection in connections.all():
                connection.expire()
        connections.stop()

    async def _retire(self, server: uvicorn.Server, front: Front) -> None:
        """Another gateway listens on the same socket: accept no more, and end when nobody has a connection to us.

        Nothing that a client has begun to send is reset: a connection is closed by the response to its next request, or after it
        was idle for long, and never with something unread.
        """
        setproctitle.setproctitle(f"perdure leaving gateway {self._start['index']}")
        for listening in server.servers:
            listening.close()
        front.closing = True
        now_s = self._loop.time()
        idle_until_s, end_s = now_s + RETIRE_IDLE_S_MAX, now_s + RETIRE_S_MAX
        while server.server_state.connections and not self._drained.done():
            held = len(self._connections)
            if self._loop.time() > (end_s if not held else now_s + LINGER_S_MAX):
                break
            if self._loop.time() > idle_until_s:
                _close_idle(server)
            await asyncio.sleep(_LOOK_S if not held else 1.0)
        if not self._drained.done():  # what works on without a connection gets the rest
            self._drained.set_result(max(end_s - self._loop.time(), 1.0))

    def _server(self, front: Front, upgrades: Upgrades) -> uvicorn.Server:
        start = self._start
        tls = cast("dict[str, str] | None", start.get("tls"))
        config = uvicorn.Config(
            front,  # pyright: ignore[reportArgumentType]
            http=HttpProtocol,
            ws=upgrades.protocol,  # pyright: ignore[reportArgumentType]
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            ssl_certfile=tls["cert"] if tls else None,
            ssl_keyfile=tls["key"] if tls else None,
        )
        config.load()
        return uvicorn.Server(config)


def _close_idle(server: uvicorn.Server) -> None:
    """Close the connections that have asked for nothing since their last response, and from which nothing has arrived."""
    for connection in list(server.server_state.connections):
        if isinstance(connection, UpgradeProtocol):
            continue
        protocol = cast("HttpProtocol", connection)
        if protocol.timeout_keep_alive_task is None:  # a request has begun to arrive, or is being answered
            continue
        descriptor = protocol.transport.get_extra_info("socket")
        if descriptor is None or not _readable(descriptor.fileno()):
            protocol.transport.close()


def _readable(fd: int) -> bool:
    """Whether bytes have arrived that nobody has read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


async def _body(control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> int:
    return await Gateway(control, start, loop).serve()


if __name__ == "__main__":
    main(lambda start: f"gateway {start['index']}", _body, configure)
