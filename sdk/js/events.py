"""`EventTarget`, `Event`, `AbortController` and `AbortSignal`.

What always holds: a signal aborts once, and keeps its reason; who is told of it is told once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import cast

from ...engine.errors import PerdureError
from .consoles import complain
from .errors import as_error
from .proxies import JsProxy, call, missing, options, to_number


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
        if isinstance(signal, AbortSignal):
            if signal.aborted:
                return
            signal.addEventListener("abort", lambda: self.removeEventListener(type, listener), once=True)
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


class AbortSignal(EventTarget):
    """`aborted` and `reason`; `onabort`, listeners of `abort`. Made by a controller, `timeout`, `any` or `abort`."""

    onabort: object = None

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.reason: object = None

    @classmethod
    def abort(cls, reason: object = None) -> AbortSignal:
        """One that is aborted."""
        signal = cls()
        abort(signal, reason)
        return signal

    @classmethod
    def timeout(cls, ms: object) -> AbortSignal:
        """One that aborts in `ms` milliseconds, with a TimeoutError."""
        signal = cls()
        late = PerdureError("The operation was aborted due to timeout", name="TimeoutError")
        asyncio.get_running_loop().call_later(max(to_number(ms), 0) / 1000, abort, signal, late)
        return signal

    @classmethod
    def any(cls, signals: object) -> AbortSignal:
        """One that aborts with the first of them."""
        joined = cls()
        for signal in cast("Iterable[AbortSignal]", signals):
            if signal.aborted:
                abort(joined, signal.reason)
                break
            _follow(joined, signal)
        return joined

    def throwIfAborted(self) -> None:
        """Raises the reason."""
        if self.aborted:
            raise as_error(self.reason)


def _follow(joined: AbortSignal, signal: AbortSignal) -> None:
    signal.addEventListener("abort", lambda: abort(joined, signal.reason), once=True)


def abort(signal: AbortSignal, reason: object = None) -> None:
    """Abort it, unless it is. `reason`: an AbortError unless given."""
    if signal.aborted:
        return
    signal.aborted = True
    signal.reason = PerdureError("The operation was aborted", name="AbortError") if missing(reason) else reason
    signal.dispatchEvent(Event("abort"))


class AbortController(JsProxy):
    """Its `signal` goes to whoever is to stop; `abort(reason)` tells them."""

    def __init__(self) -> None:
        self.signal = AbortSignal()

    @classmethod
    def new(cls) -> AbortController:
        return cls()

    def abort(self, reason: object = None) -> None:
        abort(self.signal, reason)
