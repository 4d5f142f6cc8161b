"""What a WebSocket tells its listeners, and the listeners themselves.

What always holds: listeners are told in the order that they came, then the `on…` attribute; what one raises keeps nothing from
the others.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable
from typing import cast

from .errors import PerdureError
from .interruption import entry
from .values import UNDEFINED

Complain = Callable[[BaseException], None]


class SocketEvent:
    """What all of them have: `type`, and the socket as `target`."""

    bubbles = cancelable = defaultPrevented = False

    def __init__(self, type: str, target: object = None) -> None:
        self.type = type
        self.target = self.currentTarget = target

    def preventDefault(self) -> None:
        """There is nothing to prevent."""

    stopPropagation = stopImmediatePropagation = preventDefault


class MessageEvent(SocketEvent):
    """`data`: a text, or a buffer."""

    def __init__(self, target: object, data: object) -> None:
        super().__init__("message", target)
        self.data = data


class CloseEvent(SocketEvent):
    """`code`, `reason`, and `wasClean`: whether a Close frame came."""

    def __init__(self, target: object, code: int, reason: str, clean: bool) -> None:
        super().__init__("close", target)
        self.code = code
        self.reason = reason
        self.wasClean = self.was_clean = clean


class ErrorEvent(SocketEvent):
    """`message`, and `error`: the exception."""

    def __init__(self, target: object, error: PerdureError) -> None:
        super().__init__("error", target)
        self.message = error.message
        self.error = error


class Listeners:
    """Of one socket, by the type of event."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[object, bool]]] = {}

    def add(self, type: str, listener: object, once: bool) -> None:
        """The same listener is kept once."""
        known = self._known.setdefault(type, [])
        if listener is not None and listener is not UNDEFINED and all(found != listener for found, _ in known):
            known.append((listener, once))

    def remove(self, type: str, listener: object) -> None:
        known = self._known.get(type, [])
        known[:] = [(found, once) for found, once in known if found != listener]

    def tell(self, event: SocketEvent, named: object, complain: Complain) -> None:
        """Call all of the event's type, and `named`, the `on…` attribute. Async ones run as tasks of the running code."""
        known = self._known.get(event.type, [])
        told = [listener for listener, _ in known]
        known[:] = [(found, once) for found, once in known if not once]
        if named is not None and named is not UNDEFINED:
            told.append(named)
        for listener in told:
            _tell(getattr(listener, "handleEvent", listener), event, complain)


def _tell(listener: object, event: SocketEvent, complain: Complain) -> None:
    try:
        result = cast("Callable[[SocketEvent], object]", listener)(event)
    except Exception as error:
        complain(error)
        return
    if hasattr(result, "__await__"):
        task = asyncio.ensure_future(_ended(cast("Awaitable[object]", result), complain))
        _running.add(task)
        task.add_done_callback(_running.discard)


entry(cast("types.FunctionType", _tell))


async def _ended(result: Awaitable[object], complain: Complain) -> None:
    try:
        await result
    except Exception as error:
        complain(error)


_running: set[asyncio.Future[None]] = set()
"""The loop alone does not keep them."""
