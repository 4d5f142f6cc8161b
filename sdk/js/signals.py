"""`AbortController` and `AbortSignal`, and how a signal crosses a call (spec: rpc).

What always holds: a signal aborts once, and keeps its reason; who is told of it is told once; an abort at the sender's side
aborts what has arrived, with the same reason, also long after the call; a signal that has lost its trigger is aborted, so that
nobody goes on for somebody who is gone; one that nobody has any more waits no longer.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from typing import Any, cast

from ...engine.errors import PerdureError
from ...engine.references import RpcStub
from ...engine.value_types import register
from .errors import as_error
from .events import Event, EventTarget
from .proxies import JsProxy, missing, to_number

SIGNAL = 25
"""The code on the wire, beside those of sdk/crossing.py."""
LOST = "An AbortSignal received over RPC was implicitly aborted because the connection back to its trigger was lost."


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


# ---------------------------------------------------------------------- calls
def _plain(reason: object) -> object:
    """The reason as something that can cross."""
    return reason if isinstance(reason, BaseException | str | bytes | int | float | None) else str(reason)


def _parts(signal: AbortSignal) -> object:
    if signal.aborted:
        return [True, _plain(signal.reason), None]

    async def aborted() -> object:
        """What it was aborted with, as soon as it is."""
        if not signal.aborted:
            fired: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def fire(*_event: object) -> None:
                if not fired.done():
                    fired.set_result(None)

            signal.addEventListener("abort", fire)
            try:
                await fired
            finally:
                signal.removeEventListener("abort", fire)
        return [_plain(signal.reason)]

    return [False, None, aborted]


def _arrived(parts: list[Any]) -> AbortSignal:
    is_aborted, reason, trigger = parts
    signal = AbortSignal()
    if is_aborted:
        abort(signal, reason)
        return signal
    own = cast("RpcStub", trigger).dup()  # the signal outlives the call that brought it
    waiting = asyncio.ensure_future(_wait(weakref.ref(signal), own))
    weakref.finalize(signal, _let_go, asyncio.get_running_loop(), waiting).atexit = False
    return signal


async def _wait(signal: weakref.ref[AbortSignal], trigger: RpcStub) -> None:
    try:
        (reason,) = cast("list[object]", await trigger._call_patiently())  # pyright: ignore[reportPrivateUsage]
    except PerdureError as error:  # waiting itself does not fail: whoever would abort it is gone
        reason = PerdureError(LOST, name="AbortError")
        reason.__cause__ = error
    finally:
        trigger.dispose()
    arrived = signal()
    if arrived is not None:
        abort(arrived, reason)


def _let_go(loop: asyncio.AbstractEventLoop, waiting: asyncio.Task[None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(waiting.cancel)


register(AbortSignal, SIGNAL, _parts, _arrived)
