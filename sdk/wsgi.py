"""`wsgi`: applications of Flask, Django and their kind, in a Worker or inside an object (spec: sdk, wsgi; PEP 3333).

    async def fetch(self, request):
        return await wsgi.fetch(app, request, self.env)

What always holds: the application is called, and its body's chunks are made, by code of the event, never in a thread; the next
chunk is made when the one before it was taken; `close()` of what it returned is called once, also when the client goes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote_to_bytes

from ..engine.interruption import entry
from .entrypoints import WorkerEntrypoint
from .incoming import Incoming, chunks_of, headers_of, method_of, split
from .response import Response

if TYPE_CHECKING:
    from .request import Request

__all__ = ["build_environ", "entrypoint", "fetch"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Application = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]

_PORTS = {"http": "80", "https": "443"}
_PLAIN = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_NULL_BODY_STATUSES = frozenset({101, 103, 204, 205, 304})


def build_environ(request: Request | Incoming, env: object, body: bytes) -> dict[str, Any]:
    """The environ of a request with that body; the program's `env` is `workers.env`. Raises ValueError."""
    parts = split(request)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method_of(request),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname or "",
        "SERVER_PORT": str(parts.port) if parts.port else _PORTS.get(parts.scheme, ""),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "workers.env": env,
    }
    for name, value in headers_of(request):
        key = _PLAIN.get(name) or f"HTTP_{name.upper().replace('-', '_')}"
        if key in environ:
            environ[key] += ("; " if name == "cookie" else ", ") + value
        else:
            environ[key] = value
    environ.setdefault("HTTP_HOST", parts.netloc.rpartition("@")[2])
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))  # a body that came in chunks did not say
    return environ


class _Started:
    """What the application has said with `start_response`, and written."""

    def __init__(self) -> None:
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []
        self.sent = False
        """The status has left."""

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """`start_response`. Raises RuntimeError for a second call without `exc_info`, and what that says if it is too late."""
        if exc_info is not None and self.sent:
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        if exc_info is None and self.status is not None:
            raise RuntimeError("The application called start_response() twice, without exc_info")
        self.status, self.headers = status, list(headers)
        return self.write

    def write(self, data: bytes) -> None:
        """What goes before the next chunk of the body."""
        self.written.append(bytes(data))

    def take(self) -> bytes:
        written = b"".join(self.written)
        self.written.clear()
        return written

    def code(self) -> int:
        """Raises RuntimeError when the application has not said it, ValueError when it is no number."""
        if self.status is None:
            raise RuntimeError("The application did not call start_response()")
        return int(self.status.split(" ", 1)[0])


async def fetch(app: Application, request: Request | Incoming, env: object, ctx: object = None) -> Response:
    """The application's response to one request. A body that is not a list is streamed, chunk by chunk.

    Raises what the application raises before its first chunk, RuntimeError when it does not call `start_response`, ValueError for
    a request whose URL is not absolute. `ctx` is accepted as in the reference; not needed.
    """
    split(request)
    body = b"".join([chunk async for chunk in chunks_of(request)])
    return _respond(app, build_environ(request, env, body))


def _respond(app: Application, environ: dict[str, Any]) -> Response:
    started = _Started()
    returned = _call(app, environ, started.start)
    kept = False
    try:
        chunks = iter(returned)
        first = _first(chunks, started)
        code = started.code()
        started.sent = True
        reason = cast("str", started.status).partition(" ")[2]
        if code in _NULL_BODY_STATUSES:
            return Response(None, status=code, status_text=reason, headers=started.headers)
        if first is None or isinstance(returned, list | tuple):
            body = b"".join(_all(first, chunks, started))
            return Response(body, status=code, status_text=reason, headers=started.headers)
        response = Response(
            _streamed(first, chunks, started, returned), status=code, status_text=reason, headers=started.headers
        )
        kept = True
        return response
    finally:
        if not kept:
            _close(returned)


def _first(chunks: Iterator[bytes], started: _Started) -> bytes | None:
    """The first chunk that is not empty: the application may say its status as late as that. None: there is none."""
    while True:
        chunk = _next(chunks)
        before = started.take()
        if chunk is None:
            return before or None
        if before or chunk:
            return before + chunk


def _all(first: bytes | None, chunks: Iterator[bytes], started: _Started) -> Iterator[bytes]:
    yield first or b""
    while (chunk := _next(chunks)) is not None:
        yield started.take() + chunk
    yield started.take()


class _Streamed(AsyncIterator[bytes]):
    """A body that the application makes while it is read."""

    def __init__(self, chunks: Iterator[bytes], returned: object) -> None:
        self._chunks = chunks
        self._returned = returned
        self._closed = False

    async def __anext__(self) -> bytes:
        for chunk in self._chunks:
            if chunk:
                return chunk
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            _close(self._returned)


def _streamed(first: bytes, chunks: Iterator[bytes], started: _Started, returned: object) -> _Streamed:
    return _Streamed(_all(first, chunks, started), returned)


def _call(
    app: Application, environ: dict[str, Any], start: Callable[..., Callable[[bytes], object]]
) -> Iterable[bytes]:
    return app(environ, start)


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


def _close(returned: object) -> None:
    if hasattr(returned, "close"):
        with closing(cast("Any", returned)):
            pass


def entrypoint(app: Application) -> type[WorkerEntrypoint]:
    """A Worker that is the application: `Default = wsgi.entrypoint(app)`."""

    class Default(WorkerEntrypoint):
        async def fetch(self, request: Request) -> Response:
            return await fetch(app, request, self.env, self.ctx)

    return Default


for _function in (_call, _next, _close):
    entry(cast("FunctionType", _function))
