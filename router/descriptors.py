"""The bytes of a connection whose descriptor this process has: read and written here, so that it can be given to another process.

What always holds: nothing is buffered between the connection and the kernel, so what one process has not sent another can.
"""

from __future__ import annotations

import asyncio
import socket

from .connection import Connection

READ_BYTES = 64 << 10


class DescriptorStream:
    """A socket that is watched on the loop. Set `connection`, then `begin`."""

    __slots__ = ("_loop", "_open", "_reads", "_writes", "connection", "socket")

    def __init__(self, loop: asyncio.AbstractEventLoop, end: socket.socket) -> None:
        end.setblocking(False)
        self._loop = loop
        self.socket = end
        self.connection: Connection | None = None
        self._open = True
        self._reads = False
        self._writes = False

    def begin(self) -> None:
        """Read."""
        self.resume()

    def pause(self) -> None:
        if self._reads:
            self._reads = False
            self._loop.remove_reader(self.socket.fileno())

    def resume(self) -> None:
        if self._open and not self._reads:
            self._reads = True
            self._loop.add_reader(self.socket.fileno(), self._readable)

    def _readable(self) -> None:
        connection = self.connection
        assert connection is not None, "a stream is read when it has a connection"
        try:
            data = self.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # reset by the peer
            self.close()
            connection.lost()
            return
        if data:
            connection.data(data)
        else:
            connection.eof()

    def send(self, data: bytes) -> int:
        if not self._open:
            return -1
        try:
            taken = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError:
            return -1
        if taken < len(data) and not self._writes:
            self._writes = True
            self._loop.add_writer(self.socket.fileno(), self._writable)
        return taken

    def _writable(self) -> None:
        self._writes = False
        self._loop.remove_writer(self.socket.fileno())
        assert self.connection is not None
        self.connection.writable()

    def finish(self) -> None:
        if self._open:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone already: reading says so
                return

    def let_go(self) -> None:
        """Watch it no more: another process has it, or will."""
        self.pause()
        if self._writes:
            self._writes = False
            self._loop.remove_writer(self.socket.fileno())
        self._open = False

    def close(self) -> None:
        if self._open:
            self.let_go()
            self.socket.close()

    def abort(self) -> None:
        self.close()
