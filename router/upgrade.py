"""A request for a WebSocket in the gateway: uvicorn hands the connection over, the Worker answers, somebody serves the socket.

What always holds: a request that is not answered with a socket gets a plain response, and its connection ends; a socket of an
object goes to the keeper (under TLS it stays here, since a descriptor says nothing without its keys), one of the Worker stays.
"""

from __future__ import annotations

import asyncio
import http
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast

from ..engine.closing_codes import ABNORMAL, NO_CODE
from ..engine.errors import NotConnected, ProgramBug
from ..engine.http import Headers, HttpResponse
from ..engine.socket_calls import Data, SocketRef
from ..engine.web_socket import Line
from .connection import Connection, Connections
from .gateway_http import ACCEPT, ClientGone, Front, Message
from .handshake import Offer, Refusal, offer
from .held_sockets import HeldSockets
from .keeper_door import Passed, give

EARLY_BYTES_MAX = 256 << 10
"""What a client may send behind its request before it is answered; above it the connection is not read."""
UPGRADES_MAX = 1_024
"""What one gateway answers at once. More are refused at once: a flood of clients must not make all others wait behind it."""


class Keepers:
    """The keepers, as a gateway reaches them. `ask` makes the supervisor tell their paths, which it starts if need be."""

    TOLD_S_MAX = 15.0
    TRIES = 4

    def __init__(self, loop: asyncio.AbstractEventLoop, ask: Callable[[], None]) -> None:
        self._loop = loop
        self._ask = ask
        self._paths: list[str] = []
        self._told: asyncio.Future[None] | None = None

    def tell(self, paths: list[str]) -> None:
        """They serve at these. Empty: one of them does not."""
        self._paths = paths
        if paths and self._told is not None and not self._told.done():
            self._told.set_result(None)

    async def _known(self) -> list[str]:
        if not self._paths:
            if self._told is None or self._told.done():
                self._told = self._loop.create_future()
                self._ask()
            try:
                await asyncio.wait_for(asyncio.shield(self._told), self.TOLD_S_MAX)
            except TimeoutError:
                raise NotConnected("the keeper of WebSockets does not start", hint="see the supervisor's log") from None
        return self._paths

    async def give(self, passed: Passed, connection: socket.socket) -> None:
        """To the keeper of the object. Raises NotConnected: nobody has it; ConnectionError: that is not known."""
        for number in range(self.TRIES):
            paths = await self._known()
            path = paths[(passed.ref.object_id[0] >> 2) % len(paths)]
            try:
                await give(path, passed, connection, self._loop)
            except NotConnected:
                self._paths = []  # it has died perhaps: the supervisor knows when there is another
                if number == self.TRIES - 1:
                    raise
                await asyncio.sleep(0.05 * 4**number)
            else:
                return


class Upgrades:
    """What all upgrades of a gateway have in common; `protocol` is what uvicorn makes for each."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        front: Front,
        held: HeldSockets,
        keepers: Keepers | None,
        connections: Connections,
    ) -> None:
        """`keepers` None: objects' sockets stay here."""
        self.loop = loop
        self.front = front
        self.held = held
        self.keepers = keepers
        self.connections = connections
        self.under_way = 0
        """Requests that are not answered yet."""

    def protocol(self, config: object, server_state: object, app_state: object) -> UpgradeProtocol:
        """Called by uvicorn with these names."""
        return UpgradeProtocol(self, cast("set[object]", server_state.connections))  # pyright: ignore


class TransportStream:
    """The bytes of a connection that stays with its transport."""

    __slots__ = ("_full", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._full = False

    def full(self, full: bool) -> None:
        """Whether the transport wants no more."""
        self._full = full

    def send(self, data: bytes) -> int:
        if self._transport.is_closing():
            return -1
        if self._full:
            return 0
        self._transport.write(data)
        return len(data)

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def finish(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _WorkersEnd:
    """The far end of a connection whose other end the Worker has."""

    def __init__(self, connection: Connection, line: Line) -> None:
        self._connection = connection
        self._line = line
        self._waits: asyncio.Future[None] | None = None

    def send(self, data: Data) -> bool:
        room = self._line.send(data)
        if room is None or isinstance(room, bool):
            return True
        self._waits = asyncio.ensure_future(self._until(room))
        return False

    async def _until(self, room: Awaitable[None]) -> None:
        await room
        self._connection.resume()

    def closed(self, code: int, reason: str, clean: bool) -> None:
        if not clean:
            code = ABNORMAL
        self._line.close(None if code == NO_CODE else code, reason)

    def failed(self, text: str) -> None:
        self._line.close(ABNORMAL, text)

    def buffers(self, size: int) -> None:
        return


class UpgradeProtocol(asyncio.Protocol):
    """One upgrade, from its request to the end of its connection or until the keeper has it."""

    def __init__(self, upgrades: Upgrades, connections: set[object]) -> None:
        self._up = upgrades
        self._connections = connections
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._stream: TransportStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._early: deque[bytes] = deque()
        self._early_bytes = 0
        self._lost: asyncio.Future[None] = upgrades.loop.create_future()
        self._room: asyncio.Future[None] | None = None
        self._began = False

    # ------------------------------------------------------------------ the transport's
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._stream = TransportStream(self._transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.data(data)
        elif self._task is None:
            self._task = self._up.loop.create_task(self._answer(data), name="upgrade")
        else:
            self._early.append(data)
            self._early_bytes += len(data)
            if self._early_bytes > EARLY_BYTES_MAX:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._connection is not None:
            self._connection.eof()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if not self._lost.done():
            self._lost.set_result(None)
        self.resume_writing()
        if self._connection is not None:
            self._connection.lost()

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.full(True)
        self._room = self._up.loop.create_future()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.full(False)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self._connection is not None:
            self._connection.writable()

    def shutdown(self) -> None:
        """uvicorn ends: what is being answered may end, the sockets are the gateway's to close."""

    # ------------------------------------------------------------------ the request
    async def _answer(self, head: bytes) -> None:
        """`head`: as uvicorn puts it together again: a line, headers, an empty line."""
        first, *lines = head[:-4].split(b"\r\n")
        method, _, rest = first.partition(b" ")
        target = rest.rpartition(b" ")[0]
        raw = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        headers: Headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
        path, _, query = target.partition(b"?")
        found = offer(method.decode("latin-1"), headers)
        if not isinstance(found, Refusal) and self._up.under_way >= UPGRADES_MAX:
            found = Refusal(503, "too many clients connect at once\n", [("retry-after", "1")])
        if isinstance(found, Refusal):
            await self._refuse(found)
            return
        agreed = found

        async def accept(response: HttpResponse) -> None:
            await self._accept(agreed, response)

        scope: Message = {
            "type": "http",
            "method": "GET",
            "scheme": "https" if self._transport.get_extra_info("sslcontext") is not None else "http",
            "headers": raw,
            "raw_path": path,
            "query_string": query,
            ACCEPT: accept,
        }
        self._up.under_way += 1
        try:
            await self._up.front(scope, self._receive, self._send)
        except Exception:
            self._transport.abort()  # said in the log: the body broke off
        finally:
            self._up.under_way -= 1
        if self._connection is None:
            self._transport.close()

    async def _refuse(self, refusal: Refusal) -> None:
        headers = [*refusal.headers, ("content-type", "text/plain;charset=UTF-8")]
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await self._send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self._send({"type": "http.response.body", "body": refusal.text.encode()})
        self._transport.close()

    async def _receive(self) -> Message:
        await asyncio.shield(self._lost)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """A plain response: its end is the end of the connection."""
        if self._room is not None and not self._room.done():
            await self._room
        if self._lost.done():
            return
        if message["type"] == "http.response.body":
            self._transport.write(cast("bytes", message.get("body", b"")))
            return
        status = cast("int", message["status"])
        try:
            phrase = http.HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        lines = [f"HTTP/1.1 {status} {phrase}".encode(), b"connection: close"]
        for name, value in cast("list[tuple[bytes, bytes]]", message["headers"]):
            if name not in (b"connection", b"transfer-encoding"):
                if b"\n" in name + value or b"\r" in name + value:
                    raise RuntimeError("Invalid HTTP header.")
                lines.append(name + b": " + value)
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n")

    # ------------------------------------------------------------------ the socket
    async def _accept(self, agreed: Offer, response: HttpResponse) -> None:
        """Serve the response's socket, or have it served. Raises PerdureError: nothing was sent; ClientGone."""
        web_socket = response.web_socket
        assert web_socket is not None, "a response that is accepted has a socket"
        try:
            head = agreed.accept(response.headers)
        except ValueError as error:
            raise ProgramBug(str(error), name="TypeError") from error
        if self._lost.done():
            raise ClientGone
        ref = web_socket.give()
        window_bits = 0 if agreed.agreed is None else agreed.agreed.window_bits
        if ref is not None and self._up.keepers is not None:
            await self._hand_over(self._up.keepers, ref, head, window_bits)
            return
        stream = self._stream
        assert stream is not None
        connection = Connection(self._up.connections, stream, window_bits=window_bits, answers=ref is None)
        self._transport.write(head)
        self._connection = connection
        if ref is None:
            connection.far = _WorkersEnd(connection, web_socket.take(connection))
        else:
            connection.far = self._up.held.open(ref, connection)
        while self._early:
            connection.data(self._early.popleft())
        self._transport.resume_reading()

    async def _hand_over(self, keepers: Keepers, ref: SocketRef, head: bytes, window_bits: int) -> None:
        self._transport.pause_reading()  # what comes from here on is the keeper's to read
        passed = Passed(ref, head, b"".join(self._early), window_bits)
        try:
            await keepers.give(passed, cast("socket.socket", self._transport.get_extra_info("socket")))
        except ConnectionError as error:  # it may have been answered already: no other answer then
            self._transport.abort()
            raise ClientGone from error
        except NotConnected:
            self._transport.resume_reading()
            raise
        self._transport.close()
