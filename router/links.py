"""A ZeroMQ socket on an event loop: frames queued in one turn leave as one message, arriving ones are handed over.

What always holds: no call of this module blocks; a peer's death is told by ZeroMQ's monitor, not by silence.
pyzmq's own asyncio sockets are not used: they cost several times as much as a reader on the socket's descriptor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import zmq

from .wire import FLUSH_BYTES, MESSAGE_BYTES_MAX, Frame, encode

# Plain ints: pyzmq's enums cost a microsecond at each use.
POLLIN, EVENTS, NOBLOCK = int(zmq.POLLIN), int(zmq.EVENTS), int(zmq.NOBLOCK)
_DRAIN = 64  # messages handled before other callbacks of the loop get a turn
_LAST_WORDS_MS = 100  # the loop stands still so long at most when a client closes and a peer takes nothing
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


def prepare(socket: zmq.Socket[bytes]) -> None:
    """What all our sockets have in common: the bounds are ours, not ZeroMQ's."""
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)


def descriptor(socket: zmq.Socket[bytes]) -> int:
    """What an event loop watches for the socket."""
    return cast("int", socket.getsockopt(zmq.FD))


def has_messages(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits; the descriptor does not tell after a send."""
    return bool(socket.getsockopt(EVENTS) & POLLIN)  # pyright: ignore[reportOperatorIssue]


class LinkPort(Protocol):
    """For what travels by reference over a link."""

    @property
    def needed(self) -> bool:
        """Whether anything would break if the link were closed now."""
        ...

    def receive(self, frame: Frame) -> None: ...
    def lost(self) -> None: ...


class Link:
    """A DEALER connected to one endpoint."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        endpoint: str,
        on_message: Callable[[Link, bytes], None],
        on_lost: Callable[[Link, str], None],
        curve: tuple[bytes, bytes, bytes] | None = None,
    ) -> None:
        """`curve`: server's public key, own public key, own secret key. `on_lost(link, reason)`: the peer is gone."""
        self.endpoint = endpoint
        self.closed = False
        self.port: LinkPort | None = None
        """For what travels by reference, once the other side has said that it understands that."""
        self._loop = loop
        self._on_message = on_message
        self._on_lost = on_lost
        self._queue: list[Frame] = []
        self._queued_bytes = 0
        self._scheduled = False
        self._socket = context.socket(zmq.DEALER)
        prepare(self._socket)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
        if curve is not None:
            self._socket.curve_serverkey, self._socket.curve_publickey, self._socket.curve_secretkey = curve
        self._monitor = self._socket.get_monitor_socket(_LOST)
        loop.add_reader(descriptor(self._monitor), self._monitored)
        self._socket.connect(endpoint)
        self._fd = cast("int", self._socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._readable)
        loop.call_soon(self._monitored)

    def send(self, frame: Frame, size: int = 0) -> None:
        """Queue a frame; all that is queued in this turn of the loop leaves together."""
        self._queue.append(frame)
        self._queued_bytes += size
        if self._queued_bytes > FLUSH_BYTES:
            self._flush_queue()
        if not self._scheduled:  # also after a message that left at once: it has eaten the edge of the descriptor
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self.closed:
            return
        self._flush_queue()
        if has_messages(self._socket):  # sending eats the edge of the descriptor
            self._loop.call_soon(self._readable)

    def _flush_queue(self) -> None:
        if self._queue and not self.closed:
            queue, self._queue, self._queued_bytes = self._queue, [], 0
            self._socket.send(encode(queue), NOBLOCK)

    def _readable(self) -> None:
        receive, handle = self._socket.recv, self._on_message
        for _ in range(_DRAIN):
            if self.closed:
                return
            try:
                data = receive(NOBLOCK)
            except zmq.Again:
                return
            handle(self, data)
        self._loop.call_soon(self._readable)

    def _monitored(self) -> None:
        while not self.closed:
            try:
                event, _address = self._monitor.recv_multipart(NOBLOCK)
            except zmq.Again:
                return
            number = int.from_bytes(event[:2], "little")
            reason = "disconnected" if number == zmq.EVENT_DISCONNECTED else "refused: the keys are not accepted"
            self._read_rest()
            if not self.closed:
                self._on_lost(self, reason)

    def _read_rest(self) -> None:
        """What the peer said before it went: the monitor may be heard first."""
        while not self.closed:
            try:
                data = self._socket.recv(NOBLOCK)
            except zmq.Again:
                return
            self._on_message(self, data)

    def close(self) -> None:
        """Close the sockets. Frames still queued leave if the peer takes them at once."""
        if self.closed:
            return
        if self.port is not None:
            self.port.lost()
        linger_ms = _LAST_WORDS_MS if self._queue else 0
        self._flush_queue()
        self.closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_reader(descriptor(self._monitor))
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(linger_ms)
