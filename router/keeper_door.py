"""How a gateway gives a connection to the keeper: over a UNIX socket, the descriptor and all that was agreed on.

    → length (4 bytes), msgpack {ref, head, early, window_bits}, with the descriptor    ← b"1": the keeper has it

What always holds: the keeper has the descriptor and has written the 101 before it answers, and the gateway lets go only then; so
whoever of the two is killed when, the client sees either no 101 or a connection that somebody serves.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import cast

import msgpack

from ..engine.errors import NotConnected, ProtocolError
from ..engine.socket_calls import SocketRef

TAKEN = b"1"
TAKE_S_MAX = 10.0
PASSED_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Passed:
    """A connection that has been upgraded, apart from its descriptor."""

    ref: SocketRef
    head: bytes
    """The 101, to be written first."""
    early: bytes
    """What the client has sent behind its request."""
    window_bits: int
    """Of the compression that was agreed on, 0: none."""

    def to_bytes(self) -> bytes:
        ref = self.ref
        fields = [ref.class_key, ref.object_id, ref.name, ref.socket, ref.hibernates]
        packed = cast("bytes", msgpack.packb([fields, self.head, self.early, self.window_bits]))
        return len(packed).to_bytes(4, "big") + packed

    @classmethod
    def from_bytes(cls, packed: bytes) -> Passed:
        """Raises ProtocolError."""
        try:
            ref, head, early, window_bits = msgpack.unpackb(packed)
            return cls(SocketRef(*ref), head, early, window_bits)
        except (ValueError, TypeError) as error:
            raise ProtocolError(f"malformed hand-over of a connection: {error!r}") from error


async def give(path: str, passed: Passed, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    """Give a connection away. Raises NotConnected: nobody has it, nothing was written; ConnectionError: that is not known."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.setblocking(False)
    data = passed.to_bytes()
    try:
        try:
            async with asyncio.timeout(TAKE_S_MAX):
                await loop.sock_connect(door, path)
            sent = socket.send_fds(door, [data], [connection.fileno()])
        except (OSError, TimeoutError) as error:
            raise NotConnected("the keeper of WebSockets cannot be reached", hint="try again") from error
        async with asyncio.timeout(TAKE_S_MAX):
            if sent < len(data):
                await loop.sock_sendall(door, data[sent:])
            if await loop.sock_recv(door, 1) != TAKEN:
                raise ConnectionError("the keeper has gone while it took a connection")
    except TimeoutError as error:
        raise ConnectionError("the keeper does not answer") from error
    finally:
        door.close()


async def taken(door: socket.socket, loop: asyncio.AbstractEventLoop) -> tuple[Passed, socket.socket]:
    """What somebody at the door gives. Raises ProtocolError, OSError, TimeoutError."""
    async with asyncio.timeout(TAKE_S_MAX):
        data, descriptors = await _receive(door, loop)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        try:
            if len(sockets) != 1 or len(data) < 4:
                raise ProtocolError(f"a hand-over with {len(sockets)} descriptors")
            length = int.from_bytes(data[:4], "big")
            if length > PASSED_BYTES_MAX:
                raise ProtocolError(f"a hand-over of {length} bytes")
            while len(data) < 4 + length:
                more = await loop.sock_recv(door, 4 + length - len(data))
                if not more:
                    raise ProtocolError("a hand-over broke off")
                data += more
            return Passed.from_bytes(data[4:]), sockets[0]
        except BaseException:
            for each in sockets:
                each.close()
            raise


async def _receive(door: socket.socket, loop: asyncio.AbstractEventLoop) -> tuple[bytes, list[int]]:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(door.fileno(), lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(door.fileno())
    data, descriptors, _flags, _address = socket.recv_fds(door, 64 << 10, 4)
    return data, descriptors
