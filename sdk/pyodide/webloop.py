"""`pyodide.webloop`: the loop that runs; `isinstance(loop, WebLoop)` holds for it."""

from __future__ import annotations

import asyncio

from ..js.promise import Promise


class _Loop(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, asyncio.AbstractEventLoop)


class WebLoop(metaclass=_Loop):
    """Cannot be made: the process has its loop. `WebLoop()` gives it."""

    def __new__(cls) -> asyncio.AbstractEventLoop:  # type: ignore[misc]
        return asyncio.get_event_loop()


class _Future(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, asyncio.Future | Promise)


class PyodideFuture(metaclass=_Future):
    """A promise, or a future of the loop."""


class PyodideTask(PyodideFuture):
    """The same: a task is a future."""
