"""Bodies that travel in chunks, with credit: a reader that stops reading stops its writer, and nobody's memory grows.

What always holds: a writer has at most STREAM_CREDIT_BYTES on the way; a body that breaks off fails for its reader, it never
just ends; until its reader has taken anything, a request's body can be sent again elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ..engine.errors import PerdureError, ProtocolError
from ..engine.limits import STREAM_CHUNK_BYTES, STREAM_CREDIT_BYTES
from .wire import CHUNK, CREDIT, Frame


class Incoming(AsyncIterator[bytes]):
    """The reader's end."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call_id: int,
        send: Callable[[Frame], None],
        closed: Callable[[bool], None],
    ) -> None:
        """`closed(early)` is called once: at the end, or when the reader stops before it."""
        self._loop = loop
        self._call_id = call_id
        self._send = send
        self._closed = closed
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._consumed = 0
        self._ended = self._told = False
        self._error: PerdureError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def feed(self, data: bytes, end: bool, error: PerdureError | None) -> None:
        """A chunk has arrived. Raises ProtocolError when the writer ignores its credit."""
        if data:
            self._buffered += len(data)
            if self._buffered > STREAM_CREDIT_BYTES + STREAM_CHUNK_BYTES:
                self.fail(ProtocolError("a body was sent without credit"))
                return
            self._chunks.append(data)
        if error is not None:
            self._error = error
        if end or error is not None:
            self._ended = True
        self._wake()

    def fail(self, error: PerdureError) -> None:
        """The rest will not come."""
        if not self._ended:
            self._error = error
            self._ended = True
        self._wake()

    def forget(self) -> None:
        """Nobody has begun to read it: it goes elsewhere, from its beginning."""
        self._told = self._ended = True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._ended:
                self._tell(early=False)
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiting = self._loop.create_future()
            await self._waiting
        data = self._chunks.popleft()
        self._buffered -= len(data)
        self._consumed += len(data)
        if self._consumed >= STREAM_CHUNK_BYTES and not self._ended:
            self._send([CREDIT, self._call_id, self._consumed])
            self._consumed = 0
        return data

    def _tell(self, *, early: bool) -> None:
        if not self._told:
            self._told = True
            self._closed(early)

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        self.close()

    def close(self) -> None:
        self._chunks.clear()
        self._tell(early=not self._ended)
        self._ended = True


class Outgoing:
    """The writer's end: pumps a body into chunks as credit allows."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        call_id: int,
        body: AsyncIterator[bytes],
        send: Callable[[Frame], None],
        done: Callable[[], None],
        *,
        keep: bool = False,
    ) -> None:
        """`keep`: it may have to be sent again, as long as nothing was taken."""
        self._loop = loop
        self._call_id = call_id
        self._body = body
        self._send = send
        self._done = done
        self._credit = STREAM_CREDIT_BYTES
        self._kept: list[Frame] | None = [] if keep else None
        """What was sent, until the reader has taken something; at most STREAM_CREDIT_BYTES."""
        self._more: asyncio.Future[None] | None = None
        self._task = loop.create_task(self._pump(), name="body")

    def credit(self, count: int) -> None:
        """The reader has taken that many bytes."""
        self._kept = None
        self._credit += count
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    def cancel(self) -> None:
        """The reader does not want the rest."""
        self._task.cancel()

    def hold(self) -> bool:
        """Who was to read it has not begun and never will: keep everything until `send_again`. False: too late for that."""
        self._send = _nowhere
        return self._kept is not None

    def send_again(self, send: Callable[[Frame], None]) -> None:
        """From the beginning, to another reader."""
        self._send = send
        for frame in self._kept or ():
            send(frame)

    def _pass(self, frame: Frame) -> None:
        if self._kept is not None:
            self._kept.append(frame)
        self._send(frame)

    async def _pump(self) -> None:
        try:
            async for chunk in self._body:
                for start in range(0, len(chunk), STREAM_CHUNK_BYTES):
                    part = bytes(chunk[start : start + STREAM_CHUNK_BYTES])
                    while self._credit < len(part):
                        self._more = self._loop.create_future()
                        await self._more
                    self._credit -= len(part)
                    self._pass([CHUNK, self._call_id, part, False, None])
            self._pass([CHUNK, self._call_id, b"", True, None])
        except asyncio.CancelledError:
            error = PerdureError("the body was given up by its writer")
            self._pass([CHUNK, self._call_id, b"", True, error.to_wire()])
            raise
        except Exception as error:
            typed = (
                error
                if isinstance(error, PerdureError)
                else PerdureError(f"{type(error).__name__}: {error}", remote=True)
            )
            self._pass([CHUNK, self._call_id, b"", True, typed.to_wire()])
        finally:
            closer = getattr(self._body, "aclose", None)
            if closer is not None:
                await closer()
            self._done()


def _nowhere(_frame: Frame) -> None:
    """Between two readers."""
