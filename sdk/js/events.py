"""`EventTarget` and `Event`.

What always holds: listeners are told in the order that they came; what one raises keeps nothing from the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, cast

from .consoles import complain
from .proxies import JsProxy, call, missing, options

if TYPE_CHECKING:
    from .signals import AbortSignal


class Event(JsProxy):
    """What a target tells its listeners."""

    def __init__(self, type: str, settings: object = None, /, **named: object) -> None:
        given = options(settings, named)
        self.type = type
        self.bubbles, self.cancelable = bool(given.get("bubbles")), bool(given.get("cancelable"))
        self.defaultPrevented = False
        self.target: object = None
        self.timeStamp = time.time() * 1000

    @classmethod
    def new(cls, type: str, settings: object = None, /, **named: object) -> Event:
        return cls(type, settings, **named)

    def preventDefault(self) -> None:
        self.defaultPrevented = self.cancelable

    def stopPropagation(self) -> None:
        """There is only one target."""

    stopImmediatePropagation = stopPropagation


class CustomEvent(Event):
    """With a `detail` of the program's."""

    def __init__(self, type: str, settings: object = None, /, **named: object) -> None:
        super().__init__(type, settings, **named)
        self.detail = options(settings, named).get("detail")


class EventTarget(JsProxy):
    """Tells listeners in the order that they came."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[tuple[object, bool]]] = {}

    @classmethod
    def new(cls) -> EventTarget:
        return cls()

    def addEventListener(self, type: str, listener: object, settings: object = None, /, **named: object) -> None:
        """The options `once` and `signal` are known."""
        given = options(None if isinstance(settings, bool) else settings, named)
        known = self._listeners.setdefault(type, [])
        if missing(listener) or any(found == listener for found, _ in known):
            return
        signal = given.get("signal")
        if hasattr(signal, "aborted"):
            ends = cast("AbortSignal", signal)
            if ends.aborted:
                return
            ends.addEventListener("abort", lambda: self.removeEventListener(type, listener), once=True)
        known.append((listener, bool(given.get("once"))))

    def removeEventListener(self, type: str, listener: object, _settings: object = None, /) -> None:
        known = self._listeners.get(type, [])
        known[:] = [(found, once) for found, once in known if found != listener]

    def dispatchEvent(self, event: Event) -> bool:
        """Whether nobody has prevented its default."""
        if missing(event.target):
            event.target = self
        known = self._listeners.get(event.type, [])
        for listener, once in list(known):
            if once:
                known.remove((listener, once))
            self._tell(getattr(listener, "handleEvent", listener), event)
        named = getattr(self, f"on{event.type}", None)
        if not missing(named):
            self._tell(named, event)
        return not event.defaultPrevented

    def _tell(self, listener: object, event: Event) -> None:
        try:
            result = call(listener, event)
            if hasattr(result, "__await__"):
                asyncio.ensure_future(_finished(cast("Awaitable[object]", result)))  # noqa: RUF006 - it is the program's task
        except Exception as error:
            complain(error)


async def _finished(result: Awaitable[object]) -> None:
    try:
        await result
    except Exception as error:
        complain(error)
