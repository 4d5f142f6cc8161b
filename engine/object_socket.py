"""One socket of an object, in memory: who holds its connection, what of its messages has begun, how its end sends.

What always holds: messages begin in the order of their numbers, each once in this memory; a number that the object's database has
recorded does not begin again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .closing_codes import ABNORMAL
from .errors import Overloaded
from .socket_calls import CLOSE, DROP, SEND, Data, Holder, SocketCall
from .stored_sockets import SocketRow

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .socket_sending import Piece
    from .sockets import Sockets
    from .web_socket import WebSocket

FULL_BYTES = 64 << 10
"""Unsent bytes of a reader from which on an awaited send waits."""


class ObjectSocket:
    """Implements Line and Row for the WebSocket that the program has of it."""

    __slots__ = (
        "_calm",
        "auto_ms",
        "begun",
        "buffered",
        "dropped",
        "holder",
        "id",
        "lost",
        "opening",
        "record",
        "room",
        "row",
        "running",
        "since_s",
        "sockets",
        "waiting",
        "web",
    )

    def __init__(self, sockets: Sockets, row: SocketRow) -> None:
        self.sockets = sockets
        self.row = row
        self.id = row.id
        self.web: WebSocket | None = None
        self.holder: Holder | None = None
        self.opening = False
        """Accepted in this memory; its connection is not known to be there yet."""
        self.since_s = 0.0
        """Since when its holder is waited for: it was loaded, or its other end was given away; 0: it is not waited for."""
        self.begun = 0
        """The last message that has begun here."""
        self.running: set[int] = set()
        self.record: bytes | None = None
        """For the beacon, of its messages."""
        self.waiting: list[Piece] = []
        """Effects past the gate, while it opens."""
        self.auto_ms: int | None = None
        self.buffered = 0
        self.room: asyncio.Future[None] | None = None
        self._calm: asyncio.Future[None] | None = None
        self.dropped = row.has_closed
        """Its close is being, or was, handled: it is not listed any more."""
        self.lost = False
        """Nothing reaches it any more."""

    @property
    def has_parted(self) -> bool:
        """Its row went with its close; all of it was handled, and what it was sent last may not have arrived."""
        return self.row.number == 0

    # ------------------------------------------------------------------ messages
    def begins(self, call: SocketCall) -> bool:
        """Whether to run the event; False: it was handled before. Raises Overloaded when it must come again, later."""
        number, row = call.number, self.row
        if self.has_parted:
            return False
        if number <= self.begun:
            if number in self.running:
                raise _later("the message is being handled")
            return False
        if call.after > self.begun and call.after not in row.above:
            raise _later("a message before it is missing")
        self.begun = number
        if call.acknowledged > row.handled:
            row.handled = call.acknowledged
            if row.above:
                row.above = {known for known in row.above if known > call.acknowledged}
        return number not in row.above

    def has_run(self, number: int) -> None:
        """The handler of a message has ended."""
        self.running.discard(number)
        calm, self._calm = self._calm, None
        if calm is not None and not calm.done():
            calm.set_result(None)

    def until_one_has_run(self) -> asyncio.Future[None]:
        """Done when the next handler ends."""
        if self._calm is None:
            self._calm = asyncio.get_running_loop().create_future()
        return asyncio.shield(self._calm)

    # ------------------------------------------------------------------ Line
    def send(self, data: Data) -> Awaitable[None] | None:
        self.sockets.sending.collect(self, SEND, data)
        if self.buffered < FULL_BYTES:
            return None
        if self.room is None:
            self.room = asyncio.get_running_loop().create_future()
        return asyncio.shield(self.room)

    def close(self, code: int | None, reason: str) -> None:
        if code == ABNORMAL:
            self.sockets.sending.collect(self, DROP, None)
        else:
            self.sockets.sending.collect(self, CLOSE, (code, reason))

    def holds(self, size: int) -> None:
        """So many bytes are not taken by the reader yet."""
        self.buffered = size
        if size < FULL_BYTES:
            self.has_room()

    def has_room(self) -> None:
        room, self.room = self.room, None
        if room is not None and not room.done():
            room.set_result(None)

    # ------------------------------------------------------------------ Row
    @property
    def attachment(self) -> bytes | None:
        return self.row.attachment

    @property
    def attachment_bytes_max(self) -> int:
        return self.sockets.attachment_bytes_max

    def attach(self, packed: bytes) -> None:
        self.row.attachment = packed
        if not self.lost:
            self.sockets.changed(self.row)


def _later(why: str) -> Overloaded:
    return Overloaded(f"{why}: deliver it again later")
