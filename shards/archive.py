"""The shard's side of its archivist: jobs sent, answers awaited, the process started when it is first needed.

What always holds: one job is with the archivist at a time, those that somebody waits for before those of the marker; a job whose
archivist died fails with a typed error, and the next one starts another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, cast

from ..engine.errors import ShardLost, from_wire
from ..router.control import Message
from .children import Child, Phase

ARCHIVIST = "perdure.shards.archivist"


class Archive(Protocol):
    """Who does the jobs of `archivist.Archivist`."""

    async def ask(self, kind: str, *, urgent: bool = True, **fields: object) -> Message:
        """The answer. Raises PerdureError."""
        ...

    def close(self) -> None: ...
    async def ended(self) -> None:
        """After `close`: until nobody writes history any more."""
        ...


class ArchiveProcess:
    """The archivist as a process of its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, folder: str, lock_fd: int, report: Callable[..., None]
    ) -> None:
        """`lock_fd`: the descriptor that every writer of the data folder inherits."""
        self._loop = loop
        self._name = name
        self._folder = folder
        self._lock_fd = lock_fd
        self._report = report
        self._child: Child | None = None
        self._urgent: deque[tuple[Message, asyncio.Future[Message]]] = deque()
        self._patient: deque[tuple[Message, asyncio.Future[Message]]] = deque()
        self._running: tuple[Message, asyncio.Future[Message]] | None = None
        self._jobs = 0
        self._closed = False
        self._gone = asyncio.Event()
        """The process is dead."""
        self.beside: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered while a job is done: the disk is busy."""

    async def ask(self, kind: str, *, urgent: bool = True, **fields: object) -> Message:
        if self._closed:  # the next session has an archivist of its own
            raise ShardLost("the shard is shutting down")
        self._jobs += 1
        future: asyncio.Future[Message] = self._loop.create_future()
        job: Message = {"type": "job", "job": self._jobs, "kind": kind, **fields}
        (self._urgent if urgent else self._patient).append((job, future))
        self._next()
        with self.beside():
            return await future

    def _next(self) -> None:
        while self._running is None and (self._urgent or self._patient):
            job, future = (self._urgent or self._patient).popleft()
            if future.done():  # whoever asked is gone
                continue
            if self._child is None or self._child.phase is Phase.DEAD:
                try:
                    self._child = self._start()
                except OSError as error:  # no memory, no descriptor: it is tried again with the next job
                    self._report("error", "archivist_not_started", {"error": str(error)})
                    future.set_exception(
                        ShardLost(f"the process that works on history cannot be started: {error}", hint="try once more")
                    )
                    continue
                self._gone.clear()
            self._running = (job, future)
            self._child.send(job)

    def _start(self) -> Child:
        start: Message = {"type": "start", "role": "archivist", "name": self._name, "folder": self._folder}
        return Child(self._loop, ARCHIVIST, self._name, start, [self._lock_fd], self._on_message, self._on_death)

    def _on_message(self, _child: Child, message: Message) -> None:
        if message.get("type") != "done" or self._running is None:
            return
        job, future = self._running
        if message["job"] != job["job"]:
            return
        self._running = None
        if not future.done():
            if "error" in message:
                future.set_exception(from_wire(cast("dict[str, object]", message["error"])))
            else:
                future.set_result(cast("Message", message["result"]))
        self._next()

    def _on_death(self, child: Child) -> None:
        self._gone.set()
        if self._closed:
            return
        self._report("warning", "archivist_died", {"code": child.returncode})
        if self._running is not None:
            _, future = self._running
            self._running = None
            if not future.done():
                future.set_exception(
                    ShardLost("the process that works on history died", hint="it is started again: try once more")
                )
        self._loop.call_later(0.2, self._next)

    def close(self) -> None:
        """End the process; jobs that wait fail."""
        self._closed = True
        for _, future in [*self._urgent, *self._patient, *([self._running] if self._running else [])]:
            if not future.done():
                future.set_exception(ShardLost("the shard is shutting down"))
        if self._child is not None:
            self._child.kill()

    async def ended(self) -> None:
        if self._child is not None:
            await self._gone.wait()
