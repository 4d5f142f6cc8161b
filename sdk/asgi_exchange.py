"""One request of an ASGI application and its response (spec: sdk, asgi).

What always holds: the response is there when its first body message is; what fails before that is raised to who asked, what fails
later breaks the body off; a client that goes is told to the application as `http.disconnect`, and so is the end of the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from .asgi_lifespan import Message
from .incoming import Incoming, chunks_of
from .response import Response
from .written_body import ChunkReader, Chunks

NULL_BODY_STATUSES = frozenset({101, 103, 204, 205, 304})


class Exchange:
    """`receive` and `send` of one request; its response is set once, in `waiting`."""

    def __init__(self, request: Incoming, waiting: asyncio.Future[Response]) -> None:
        loop = asyncio.get_running_loop()
        self.answered = False
        """The response, or an error in its place, was handed over."""
        self._waiting: asyncio.Future[Response] | None = waiting
        """Not held any longer than needed: a response that nobody reads has to be noticed."""
        self._then: Callable[[], None] | None = None
        self._finished: asyncio.Future[None] = loop.create_future()
        """The response is over, or nobody wants it."""
        self._incoming = chunks_of(request)
        self._reading = asyncio.Lock()
        self._read = False
        self._start: Message | None = None
        self._chunks: Chunks | None = None

    @property
    def streams(self) -> bool:
        """The response was handed over, its body is not whole yet."""
        return self._chunks is not None and not self._finished.done()

    # ------------------------------------------------------------------ towards the application
    async def receive(self) -> Message:
        """The next part of the request's body; after the last one, when the response is over, that it is."""
        async with self._reading:
            if not self._read:
                chunk = await anext(self._incoming, None)
                if chunk is not None:
                    return {"type": "http.request", "body": chunk, "more_body": True}
                self._read = True
                return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.shield(self._finished)
        return {"type": "http.disconnect"}

    # ------------------------------------------------------------------ from the application
    async def send(self, message: Message) -> None:
        """Raises RuntimeError for messages out of their order, ValueError and TypeError for a response that cannot be."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("ASGI: http.response.start was sent twice")
            self._start = message
        elif kind == "http.response.body":
            if self._start is None:
                raise RuntimeError("ASGI: http.response.body was sent before http.response.start")
            await self._send_body(bytes(message.get("body") or b""), bool(message.get("more_body", False)))
        elif not kind.startswith("http.response."):  # of extensions that were not offered: left out
            raise RuntimeError(f"ASGI: unexpected message {kind}")

    async def _send_body(self, body: bytes, more: bool) -> None:
        chunks = self._chunks
        if chunks is None:
            if self.answered:
                raise RuntimeError("ASGI: http.response.body was sent after the body's end")
            if not more:
                self._answer(body)
                self._finish()
                return
            chunks = self._chunks = Chunks()
            chunks.gone.add_done_callback(self._finish)
            self._answer(ChunkReader(chunks))
        await chunks.write(body)
        if not more:
            chunks.end()
            self._finish()

    def _answer(self, body: bytes | ChunkReader) -> None:
        assert self._start is not None, "send() has seen to that"
        status = int(self._start["status"])
        pairs = cast("Iterable[tuple[bytes, bytes]]", self._start.get("headers") or ())
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
        if status in NULL_BODY_STATUSES:
            if isinstance(body, ChunkReader) and self._chunks is not None:
                self._chunks.leave()
            response = Response(None, status=status, headers=headers)
        else:
            response = Response(body, status=status, headers=headers)
        waiting, self._waiting, self.answered = self._waiting, None, True
        if waiting is not None and not waiting.done():
            waiting.set_result(response)

    def _finish(self, _: object = None) -> None:
        if not self._finished.done():
            self._finished.set_result(None)
            if self._then is not None:
                self._then()

    # ------------------------------------------------------------------ its end
    def returned(self) -> None:
        """The application has returned. Raises RuntimeError when it did not answer, or not to the end."""
        if not self.answered:
            raise RuntimeError("The application did not generate a response")
        if self.streams:
            raise RuntimeError("The application did not send the response to its end")

    def on_finished(self, then: Callable[[], None]) -> None:
        """Call `then` when the response is over, unless `abandon` comes first."""
        self._then = then

    def abandon(self) -> None:
        """No code of the application runs any more."""
        self._then = None
        if self._waiting is not None:
            self._waiting.cancel()
        if self.streams and self._chunks is not None:
            self._chunks.fail(RuntimeError("The application was cancelled before its response ended"))
        self._finish()

    def failed(self, error: Exception) -> bool:
        """The application has raised. Whether somebody gets to know: who asked, or who reads the body."""
        told = not self.answered or self.streams
        waiting, self._waiting, self.answered = self._waiting, None, True
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        elif self._chunks is not None:
            self._chunks.fail(error)
        self._finish()
        return told
