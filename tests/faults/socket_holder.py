"""Users whose connections this very process holds: a client of the router opens objects' sockets, as a keeper does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import perdure
from perdure.engine.errors import Overloaded
from perdure.engine.http import HttpRequest

from ..system.runtime import Runtime
from .socket_crowd import Connect, User


class Held:
    """A user's end without a connection between. Implements the holder's Connection and the crowd's Line."""

    def __init__(self, user: User) -> None:
        self._user = user
        self.line = None

    def message(self, data: str | bytes) -> None:
        self._user.hear(data if isinstance(data, str) else data.decode())

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self._user.ended(f"closed with {code} {reason!r}, clean {clean}")

    def failed(self, text: str) -> None:
        self._user.ended(f"failed: {text}")

    def send(self, text: str) -> None:
        self.line.send(text)

    def close(self) -> None:
        self.line.close(1000, "")

    def cut(self) -> None:
        self.line.close(1006, "")


@contextlib.asynccontextmanager
async def held_here(runtime: Runtime) -> AsyncGenerator[Connect]:
    """How users connect who are held by this process."""
    async with perdure.connect(runtime.address, deadline_s=20) as client:

        async def connect(user: User) -> None:
            object_id = client.namespace("Room").idFromName(user.room).raw
            request = HttpRequest("GET", f"http://x/{user.room}/{user.told.who}", [("upgrade", "websocket")])
            response = await client.fetch("rooms-Room", object_id, user.room, request)
            if response.web_socket is None:
                raise Overloaded(f"no 101 but {response.status}")
            end = Held(user)
            end.line = response.web_socket.take(end)
            user.line = end

        yield connect
