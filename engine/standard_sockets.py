"""Ends that an object has accepted with accept(), or made: they keep it awake, and end with its memory (spec: objects).

What always holds: what such an end sends passes the output gate; what arrives is an event of the object; when the object leaves
memory its peers lose their connection (1006).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from .closing_codes import ABNORMAL, NOT_CLEAN
from .socket_calls import CLOSE, CLOSED, DROP, SEND, Data, Holder, SocketCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from .instance import Instance
    from .web_socket import Line, WebSocket


class GatedLine:
    """A line whose sends wait for what was written before them."""

    __slots__ = ("_instance", "_line")

    def __init__(self, instance: Instance, line: Line) -> None:
        self._instance = instance
        self._line = line

    @property
    def buffered(self) -> int:
        return self._line.buffered

    def send(self, data: Data) -> None:
        if self._instance.broken is None:
            self._instance.output.emit(cast("Callable[[Data], None]", self._line.send), data)

    def close(self, code: int | None, reason: str) -> None:
        if self._instance.broken is None and not self._instance.abandoned:
            self._instance.output.emit(self._line.close, code, reason)
        else:
            self._line.close(code, reason)


class OpenEnd:
    """Keeps the object awake while the end is open; ends it with the object."""

    __slots__ = ("_end",)

    def __init__(self, end: WebSocket) -> None:
        self._end = end

    def over(self) -> bool:
        return self._end.readyState == self._end.CLOSED

    def end(self) -> None:
        self._end.cut_off()


class StandardSocket:
    """An end whose other end was given away in a Response. The sink of that one: what the object sends goes to its holder."""

    __slots__ = ("_instance", "_waiting", "begun", "buffered", "end", "holder", "id", "line", "running")

    def __init__(self, instance: Instance, id: bytes, end: WebSocket | None) -> None:
        """`end`: the object's; None: an outgoing connection was given away, `line` leads there."""
        self._instance = instance
        self.id = id
        self.end = end
        self.line: Line | None = None
        self.holder: Holder | None = None
        self.begun = 0
        self.buffered = 0
        self.running: set[int] = set()
        self._waiting: list[tuple[list[bytes], int, object]] = []
        """Until the connection is there."""

    def message(self, data: Data) -> None:
        self._effect(SEND, data)

    def closed(self, code: int, reason: str, clean: bool) -> None:
        self._effect(CLOSE if clean else DROP, (code, reason) if clean else None)

    def failed(self, text: str) -> None:
        self._effect(DROP, None)

    def _effect(self, what: int, data: object) -> None:
        entry = ([self.id], what, data)
        if self.holder is None:
            self._waiting.append(entry)
        else:
            self.holder.effects(self._instance.object_id, 0, None, [entry])

    def met(self, holder: Holder) -> None:
        """The connection is there."""
        self.holder = holder
        waiting, self._waiting = self._waiting, []
        if waiting:
            holder.effects(self._instance.object_id, 0, None, waiting)

    def begins(self, call: SocketCall) -> bool:
        """Whether to run the event; False: it came before."""
        if call.number <= self.begun:
            return False
        self.begun = call.number
        return True

    def lost(self) -> None:
        """Its holder's process has ended."""
        if self.end is not None:
            self.end.occurs(CLOSED, (ABNORMAL, NOT_CLEAN, False))
        elif self.line is not None:
            self.line.close(ABNORMAL, "")
