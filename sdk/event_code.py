"""Synchronous code of a framework runs as code of the event, not in a thread: there it could use neither storage nor stubs.

What always holds: only what runs under an application that `asgi.fetch` has called is affected; everything else in the process
gets the threads that it asks for.

Frameworks send `def` endpoints, dependencies and file access to threads through anyio, Django through asgiref. Both are changed
when they are first seen, at the one place through which all of it passes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, cast

from ..engine.interruption import entry

_ADOPTED: ContextVar[bool] = ContextVar("perdure_adopted", default=False)
_MARK = "perdure_event_code"


@contextmanager
def adopted() -> Generator[None, None, None]:
    """Code that is called meanwhile, and tasks that it begins: what they give to threads runs here instead."""
    _change_anyio()
    _change_asgiref()
    token = _ADOPTED.set(True)
    try:
        yield
    finally:
        _ADOPTED.reset(token)


def run(function: Callable[..., object], *args: object, **kwargs: object) -> object:
    """Call synchronous code of a program."""
    return function(*args, **kwargs)


def _change_anyio() -> None:
    if "anyio" not in sys.modules:  # the application does without, so far: it is looked for at its next request
        return
    backend = cast("Any", importlib.import_module("anyio._backends._asyncio")).AsyncIOBackend
    original = cast("Callable[..., Awaitable[object]]", backend.run_sync_in_worker_thread)
    if hasattr(original, _MARK):
        return

    async def run_sync_in_worker_thread(
        _: object, func: Callable[..., object], args: tuple[object, ...], *more: object, **options: object
    ) -> object:
        if _ADOPTED.get():
            return run(func, *args)
        return await original(func, args, *more, **options)

    setattr(run_sync_in_worker_thread, _MARK, True)
    backend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)


def _change_asgiref() -> None:
    module = sys.modules.get("asgiref.sync")
    if module is None:
        return
    cls = cast("Any", module).SyncToAsync
    original = cast("Callable[..., Awaitable[object]]", cls.__call__)
    if hasattr(original, _MARK):
        return

    async def call(self: Any, *args: object, **kwargs: object) -> object:
        if _ADOPTED.get():
            return run(self.func, *args, **kwargs)
        return await original(self, *args, **kwargs)

    setattr(call, _MARK, True)
    cls.__call__ = call


entry(cast("FunctionType", run))
