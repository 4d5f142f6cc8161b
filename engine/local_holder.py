"""The other end of an object's own socket, when the object has accepted that too: a holder inside of it.

What always holds: it ends with the memory of the object, as its end does; what passes is numbered and acknowledged as anywhere.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from .closing_codes import ABNORMAL, NO_CODE, NOT_CLEAN
from .errors import Overloaded
from .socket_calls import (
    CLOSE,
    CLOSED,
    MESSAGE,
    OPENED,
    SEND,
    Cause,
    Closing,
    Data,
    Effects,
    Rules,
    SocketCall,
    event_inside,
)
from .turns import outside

if TYPE_CHECKING:
    from .calls import Call, Result
    from .instance import Instance
    from .web_socket import WebSocket

_AGAIN_S = 0.05


class LocalHolder:
    """Implements Holder for one socket, and Line for its other end."""

    buffered = 0

    def __init__(self, instance: Instance, id: bytes, end: WebSocket) -> None:
        self.identity = f"object {id.hex()}"
        self.gone = False
        self._instance = instance
        self._id = id
        self._end = end
        self._number = 0
        self._waiting: deque[SocketCall] = deque()
        self._deliver(OPENED, None, 0)

    # ------------------------------------------------------------------ Holder
    def effects(self, object_id: bytes, number: int, cause: Cause | None, effects: Effects) -> None:
        for ids, what, data in effects:
            for _ in ids:
                if what == SEND:
                    self._end.arrive(cast("Data", data))
                elif what == CLOSE:
                    code, reason = cast("tuple[int | None, str]", data)
                    self._end.ended(NO_CODE if code is None else code, reason, True)
                else:
                    self._end.ended(ABNORMAL, NOT_CLEAN, False)
        if number and self._instance.sockets is not None:
            self._instance.sockets.seen(self, number)

    def rules(self, object_id: bytes, rules: Rules) -> None:
        """Nothing is slow here, and nothing sleeps."""

    def ask(self, class_key: str, object_id: bytes) -> None:
        """It is gone whenever the object is loaded."""

    # ------------------------------------------------------------------ Line
    def send(self, data: Data) -> None:
        self._next(MESSAGE, data)

    def close(self, code: int | None, reason: str) -> None:
        self._next(CLOSED, (ABNORMAL, NOT_CLEAN, False) if code == ABNORMAL else (code, reason, True))

    def _next(self, what: int, data: Data | Closing) -> None:
        self._number += 1
        self._deliver(what, data, self._number)

    def _deliver(self, what: int, data: Data | Closing | None, number: int) -> None:
        instance = self._instance
        call = event_inside(instance, self._id, what, data, self._answered)
        call.number, call.after, call.holder = number, number - 1, self
        self._waiting.append(call)
        if len(self._waiting) == 1:
            outside().run(instance.deliver, call)

    def _answered(self, call: Call, result: Result) -> None:
        instance = self._instance
        if instance.broken is not None or instance.abandoned:
            return
        if isinstance(result, Overloaded):
            outside().run(instance.turns.loop.call_later, _AGAIN_S, instance.deliver, call)
            return
        self._waiting.popleft()
        if isinstance(result, Exception):
            self._end.ended(ABNORMAL, NOT_CLEAN, False)
        elif self._waiting:
            instance.turns.loop.call_soon(instance.deliver, self._waiting[0], context=outside())
