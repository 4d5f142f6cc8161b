"""The lifespan of an ASGI application, around one request (spec: sdk, asgi).

What always holds: an application that has no lifespan, or fails before it said anything, is served without; one that says its
startup failed is not; shutdown is asked for once, after the last code of the request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from types import FunctionType
from typing import Any, cast

from ..engine.interruption import entry
from .event_code import adopted

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

VERSIONS = {"spec_version": "2.0", "version": "3.0"}
LOG = logging.getLogger("asgi")


class Lifespan:
    """`startup()`, the request, `shutdown()`, in one task."""

    def __init__(self, app: Application) -> None:
        loop = asyncio.get_running_loop()
        self.state: dict[str, object] = {}
        """What the application has put there at startup; each request gets a copy."""
        self._app = app
        self._started: asyncio.Future[bool] = loop.create_future()
        self._stop: asyncio.Future[None] = loop.create_future()
        self._stopped: asyncio.Future[None] = loop.create_future()
        self._asked = False
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Raises RuntimeError when the application says that it cannot start."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="lifespan")
        await self._started

    async def shutdown(self) -> None:
        """Raises RuntimeError when the application says that it failed."""
        if self._task is None or self._started.cancelled() or self._started.exception() or not self._started.result():
            return
        if not self._stop.done():
            self._stop.set_result(None)
        await self._stopped

    def abandon(self) -> None:
        """Its object or its Worker is ending: nothing more is asked of the application."""
        if self._task is not None:
            self._task.cancel()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await asyncio.shield(self._stop)
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind, _, outcome = str(message["type"]).partition(".")[2].partition(".")
        future: asyncio.Future[Any] = self._started if kind == "startup" else self._stopped
        if kind not in ("startup", "shutdown") or outcome not in ("complete", "failed"):
            raise RuntimeError(f"Unexpected lifespan event {message['type']}")
        if future.done():
            return
        ended = isinstance(sys.exc_info()[1], GeneratorExit | asyncio.CancelledError)
        if (
            outcome == "complete" or ended
        ):  # it failed because its object is gone, or its time is up: that is told elsewhere
            future.set_result(True)
        else:
            future.set_exception(RuntimeError(message.get("message") or f"ASGI lifespan {kind} failed"))

    async def _run(self) -> None:
        scope: Message = {"type": "lifespan", "asgi": dict(VERSIONS), "state": self.state}
        try:
            with adopted():
                await self._app(scope, self._receive, self._send)
        except Exception as error:
            if not self._started.done():
                LOG.debug("an ASGI application has raised instead of starting: served without lifespan", exc_info=error)
            elif self._started.exception() is None and not (self._stopped.done() and self._stopped.exception()):
                LOG.error("Exception in ASGI lifespan application", exc_info=error)
        finally:
            if not self._started.done():
                self._started.set_result(False)
            if not self._stopped.done():
                self._stopped.set_result(None)


entry(cast("FunctionType", Lifespan._run))  # pyright: ignore[reportPrivateUsage]
