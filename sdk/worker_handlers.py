"""Handlers of a Worker: found by their names and given as many arguments as they take (spec: objects, handlers).

What always holds: surplus arguments are dropped; for classes the trailing `env` and `ctx` of everything but `fetch` are None,
as in the reference. Programs of before 2025-08-14 have `on_` in front of the names (`doors.py` takes it away).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from ..engine.errors import MethodNotFound
from ..engine.handlers import call_relaxed
from .entrypoints import HANDLERS

Method = Callable[..., Any]


def find_handler(worker: object, name: str) -> Method:
    """The Worker's handler. Raises MethodNotFound."""
    found = getattr(worker, name, None)
    if not callable(found):
        raise MethodNotFound(
            f"Handler does not export a {name}() function",
            hint=f"write `async def {name}(self, {HANDLERS.get(name, 'event')})` in the program's `Default` WorkerEntrypoint",
        )
    return cast("Method", found)


async def call_handler(worker: object, name: str, *args: object) -> object:
    """Call it, and wait for what it gives. Raises MethodNotFound, and what the handler raises."""
    handler = find_handler(worker, name)
    trailing = (getattr(worker, "env", None), getattr(worker, "ctx", None)) if name == "fetch" else (None, None)
    result = call_relaxed(handler, *args, *trailing)
    if hasattr(result, "__await__"):
        result = await cast("Awaitable[object]", result)
    return result
