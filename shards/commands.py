"""The supervisor's command door: a UNIX socket in the run folder, one JSON object a line.

    → {"command": "reload"}                                 with its arguments beside it
    ← {"type": "progress", …}                               any number
    ← {"type": "done", …} or {"type": "failed", "error": …}

What always holds: who may enter is who may enter the run folder (0700, the socket 0600); nothing that is sent raises out of
here; a command that has begun goes on to its end, also when nobody listens any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import cast

from ..engine.errors import InvalidArgument, OperationNotFound, Overloaded, PerdureError, ProtocolError
from ..router.control import Message, encode
from .arguments import Entry, Registry

NAME = "supervisor"
"""Of the socket's file in the run folder."""
LINE_BYTES_MAX = 1 << 20
CONNECTIONS_MAX = 16

Report = Callable[[str, str, dict[str, object]], None]


class Progress:
    """Given to a command: called with fields, it tells them to who has asked."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell

    def __call__(self, **fields: object) -> None:
        self._tell({"type": "progress", **fields})


class Commands(Registry):
    """Name → async function of keyword arguments that gives the fields of `done`.

    A function with a parameter `progress: Progress` is given one. Every other parameter comes from the caller and must be of the
    annotated type.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[Message]] = set()

    # ------------------------------------------------------------------ the socket
    async def listen(self, run: str) -> None:
        """Open the door in the run folder. Raises OSError."""
        path = f"{run}/{NAME}"
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.bind(path)
            os.chmod(path, 0o600)  # before it listens
        except OSError:
            door.close()
            raise
        self._server = await asyncio.start_unix_server(self._connected, sock=door, limit=LINE_BYTES_MAX)

    async def close(self) -> None:
        """Close the door; what still runs is cancelled, who waits for it reads the end."""
        if self._server is not None:
            self._server.close()
        tasks: list[asyncio.Task[object]] = [*self._running, *self._connections]  # pyright: ignore[reportAssignmentType]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                refusal = Overloaded(f"{CONNECTIONS_MAX} commands are running", hint="try again later")
                writer.write(encode(_failure(refusal)))
                return
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            return  # who asked is gone, or the supervisor ends: nobody is left to tell
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other."""

        def tell(message: Message) -> None:
            if not writer.is_closing():
                writer.write(encode(message))

        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the limit: where the next request begins is not known
                tell(_failure(ProtocolError(f"a command is longer than {LINE_BYTES_MAX} bytes")))
                return
            if not line:
                return
            running = asyncio.get_running_loop().create_task(self.perform(line, tell), name="command")
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            tell(await asyncio.shield(running))
            await writer.drain()

    # ------------------------------------------------------------------ one command
    async def perform(self, line: bytes, tell: Callable[[Message], None]) -> Message:
        """Check and run what a line asks for; its last answer. Never raises but CancelledError."""
        try:
            name, entry, arguments = self._read(line, tell)
            self._report("info", "command", {"command": name})
            done = await entry.function(**arguments)
            return {"type": "done", **cast("Message", done or {})}
        except PerdureError as error:
            return _failure(error)
        except Exception as error:
            self._report("error", "command_failed", {"error": f"{type(error).__name__}: {error}"})
            return _failure(PerdureError(f"{type(error).__name__}: {error}", hint="see the supervisor's log"))

    def _read(self, line: bytes, tell: Callable[[Message], None]) -> tuple[str, Entry, Message]:
        try:
            request: object = json.loads(line)
        except ValueError as error:
            raise ProtocolError(f"malformed command: {error}") from error
        if not isinstance(request, dict) or not isinstance(cast("Message", request).get("command"), str):
            raise ProtocolError('malformed command: not an object with a "command"')
        arguments = dict(cast("Message", request))
        name = cast("str", arguments.pop("command"))
        entry = self._entries.get(name)
        if entry is None:
            raise OperationNotFound(
                f"there is no command {name!r}", hint=f"known here: {', '.join(self.names)}; is the runtime older?"
            )
        if "progress" in arguments:
            raise InvalidArgument(f"command {name!r}: progress is told, not given")
        if "progress" in entry.hints:
            arguments["progress"] = Progress(tell)
        entry.check(f"command {name!r}", arguments)
        return name, entry, arguments


def _failure(error: PerdureError) -> Message:
    return {"type": "failed", "error": error.to_wire()}
