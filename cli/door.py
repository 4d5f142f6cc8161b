"""The client's side of the supervisor's command door.

What always holds: `ask` ends with the answer `done`, or raises; an answer that never came is an error, not silence.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import cast

from ..engine.errors import Forbidden, NotConnected, from_wire
from ..router.addresses import find_address
from ..router.control import Lines, Message, encode
from ..shards.commands import NAME

ANSWER_S_MAX = 3_600.0
"""Between two answers."""


def address_of(data: str) -> str:
    """Where the runtime of a data folder is reached. Raises NotConnected when none runs on it."""
    try:
        with open(os.path.join(data, "address")) as file:
            return file.read().strip()
    except OSError as error:
        raise NotConnected(
            f"no perdure is running on {data}: {error.strerror}",
            hint="start it, or name another folder with --data",
        ) from error


def door_of(data: str | None, address: str | None = None) -> str:
    """Path of the door: of a data folder, of an address, or of the one runtime of this user. Raises NotConnected, Forbidden."""
    if address is None and data is not None:
        address = address_of(data)
    address = address or find_address()
    if not address.startswith("ipc://"):
        raise Forbidden(
            f"{address} is on the network: its supervisor takes commands on its own machine only",
            hint="run the command there, with --data",
        )
    return os.path.join(os.path.dirname(address.removeprefix("ipc://")), NAME)


def ask(data: str | None, command: str, *, address: str | None = None, **arguments: object) -> Iterator[Message]:
    """Ask the supervisor; every answer as it comes, the last is of type `done`.

    Raises NotConnected when nothing runs there, or when it ended before it had answered, and what the command raises.
    """
    path = door_of(data, address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S_MAX)
        try:
            connection.connect(path)
            connection.sendall(encode({"command": command, **arguments}))
        except OSError as error:
            raise NotConnected(
                f"no supervisor answers at {path}: {error.strerror}",
                hint="is it running? `perdure run`, or name its data folder with --data",
            ) from error
        for message in _answers(connection):
            if message.get("type") == "failed":
                raise from_wire(cast("Message", message["error"]))
            yield message
            if message.get("type") == "done":
                return
    raise NotConnected(
        f"the supervisor ended before it had answered {command!r}",
        hint="see its log; what the command had begun may be done in part",
        retryable=False,
    )


def _answers(connection: socket.socket) -> Iterator[Message]:
    """Until the other side closes."""
    lines = Lines()
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionError:
            return
        if not data:
            return
        yield from lines.feed(data)
