"""Resuming clients of a world: their connections are `world.connect()`'s."""

from __future__ import annotations

import json

from perdure.engine.errors import PerdureError
from perdure.testing.clients import ConnectionEnded, ConnectionRefused


class Connection:
    def __init__(self, client) -> None:
        self.client = client

    async def send(self, text: str) -> None:
        try:
            self.client.send(text)
        except ConnectionEnded as error:
            raise OSError(str(error)) from error

    async def receive(self) -> str | int:
        try:
            return await self.client.receive()
        except ConnectionEnded as error:
            return error.code

    async def close(self, code: int) -> None:
        self.client.close(code)


def dialler(world, path: str, opened: list | None = None):
    """A `dial` of `Client`; `opened` gets the world's client of each connection."""

    async def dial():
        try:
            client = await world.connect(path)
        except ConnectionRefused as error:
            return 1008 if error.response.status < 500 else 1006
        except PerdureError as error:
            raise OSError(str(error)) from error
        if opened is not None:
            opened.append(client)
        return Connection(client)

    return dial


async def heard(client, *, kept: int) -> list:
    """The next events that have a cursor."""
    found = []
    async for event in client:
        if getattr(event, "cursor", None) is not None and hasattr(event, "data"):
            found.append(event)
        if len(found) == kept:
            return found
    return found


async def told(socket, what: str):
    """The next message for now that is about `what`."""
    while True:
        found = json.loads(await socket.receive())
        if isinstance(found.get("data"), dict) and what in found["data"]:
            return found["data"][what]
