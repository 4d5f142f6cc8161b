"""The channel between the supervisor and a process that it started: a socket pair, one JSON object a line.

What always holds: the first line to the child is its `start` message; when the supervisor is gone the child reads the end
of the channel and must end too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import cast

from ..engine.errors import ProtocolError

TERMINAL_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
"""The supervisor's alone: who drains first is decided by one."""
FD_VARIABLE = "PERDURE_CONTROL_FD"
LINE_BYTES_MAX = 16 << 20

Message = dict[str, object]


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete now. Raises ProtocolError for what is no JSON object or too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise ProtocolError(f"a control message is longer than {LINE_BYTES_MAX} bytes")
        messages: list[Message] = []
        for line in lines:
            try:
                message: object = json.loads(line)
            except ValueError as error:
                raise ProtocolError(f"malformed control message: {error}") from error
            if not isinstance(message, dict):
                raise ProtocolError("malformed control message: not an object")
            messages.append(cast("Message", message))
        return messages


class Channel:
    """One end on an event loop: messages queued out, messages handed in. Both the supervisor and its children have one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        lines: Lines,
        on_message: Callable[[Message], None],
        on_eof: Callable[[], None],
    ) -> None:
        """`on_eof`: the other side is gone."""
        end.setblocking(False)
        self._loop = loop
        self._socket = end
        self._lines = lines
        self._on_message = on_message
        self._on_eof = on_eof
        self._out = b""
        loop.add_reader(end.fileno(), self.read)

    def send(self, message: Message) -> None:
        """Queue a message; nothing is lost while the other side lives."""
        self._out += encode(message)
        self._write()

    def _write(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        except OSError:
            self._out = b""  # the other side is gone: the reader's end, or waitpid, says so

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._write()

    def read(self) -> bool:
        """Hand in what has arrived; False when there is nothing (more)."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket.fileno())
            self._on_eof()
            return False
        for message in self._lines.feed(data):
            self._on_message(message)
        return True

    def close(self) -> None:
        """Hand in the rest, then close."""
        try:
            while self.read():
                continue
        finally:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()


class Control:
    """The child's side."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = Lines()
        self._early: list[Message] = []
        self._channel: Channel | None = None

    @classmethod
    def from_environment(cls) -> Control:
        """The channel that the supervisor gave to this process. Raises ProtocolError when there is none."""
        text = os.environ.pop(FD_VARIABLE, "")
        if not text.isdigit():
            raise ProtocolError(
                f"{FD_VARIABLE} is not set: this module is started by the supervisor", hint="use `perdure run`"
            )
        end = socket.socket(fileno=int(text))
        end.set_inheritable(False)
        return cls(end)

    def fileno(self) -> int:
        """The channel's descriptor, for those who watch its end."""
        return self._socket.fileno()

    def read_start(self) -> Message:
        """Wait for the first message."""
        self._socket.setblocking(True)
        while not self._early:
            data = self._socket.recv(65536)
            if not data:
                raise ProtocolError("the supervisor is gone before it said what to do")
            self._early += self._lines.feed(data)
        message = self._early.pop(0)
        if message.get("type") != "start":
            raise ProtocolError(f"the first control message is {message.get('type')!r}, expected 'start'")
        return message

    def messages(self) -> Iterator[Message]:
        """Every later message, for a process without a loop; ends when the other side is gone."""
        self._socket.setblocking(True)
        while True:
            while self._early:
                yield self._early.pop(0)
            try:
                data = self._socket.recv(65536)
            except OSError:  # the other side died with something of ours unread
                data = b""
            if not data:
                return
            self._early += self._lines.feed(data)

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message], None],
        on_eof: Callable[[], None],
    ) -> None:
        """Hand every later message to `on_message` on the loop; `on_eof` when the supervisor is gone."""
        self._channel = Channel(loop, self._socket, self._lines, on_message, on_eof)
        for message in self._early:
            loop.call_soon(on_message, message)
        self._early = []

    def send(self, message: Message) -> None:
        """Queue a message; nothing is lost while the supervisor lives. Before `attach` it is sent at once."""
        if self._channel is not None:
            self._channel.send(message)
            return
        with contextlib.suppress(OSError):  # the supervisor is gone: there is nobody to tell
            self._socket.sendall(encode(message))
