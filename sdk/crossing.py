"""How the SDK's HTTP and stream classes cross a call: as their parts (spec: rpc, what crosses).

What always holds: a body streams, it is never gathered first; what has crossed is used up where it came from, as a body that was
read is; a stream whose other end is gone fails, it never just ends.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import Any, cast

from ..engine.errors import HostGone
from ..engine.http import Body, HttpRequest, HttpResponse
from ..engine.streaming import RemoteStream
from ..engine.turns import SCOPE
from ..engine.value_types import look_further, register
from ..engine.values import Buffer
from .blob import Blob, File
from .chunks import next_item
from .form_data import FormData
from .headers import Headers
from .readable_stream import ReadableStream
from .request import Request
from .response import Response
from .stream_members import as_bytes
from .urls import URLSearchParams
from .writable_stream import WritableStream, WritableStreamDefaultWriter

REQUEST, RESPONSE, HEADERS, BLOB, FILE, FORM_DATA, READABLE, WRITABLE, SEARCH_PARAMS = range(16, 25)
"""Codes on the wire: never change one, never give one anew."""
Pairs = list[list[str]]


def _pairs(pairs: list[tuple[str, str]]) -> Pairs:
    return [[name, value] for name, value in pairs]


def _tuples(pairs: Pairs) -> list[tuple[str, str]]:
    return [(name, value) for name, value in pairs]


def _body(body: object) -> Body:
    return bytes(body) if isinstance(body, Buffer) else cast("Body", body)


# ---------------------------------------------------------------------- messages
def _request_parts(request: Request) -> object:
    wire = request.to_wire()
    return [wire.method, wire.url, _pairs(wire.headers), wire.body, request.redirect, request.cf]


def _request(parts: list[Any]) -> Request:
    method, url, pairs, body, redirect, cf = parts
    request = Request.from_wire(HttpRequest(method, url, _tuples(pairs), _body(body)))
    request.redirect, request.cf = redirect, cf
    return request


def _response_parts(response: Response) -> object:
    wire = response.to_wire()
    return [wire.status, wire.status_text, _pairs(wire.headers), wire.body, response.url, response.redirected]


def _response(parts: list[Any]) -> Response:
    status, text, pairs, body, url, redirected = parts
    response = Response.from_wire(HttpResponse(status, _tuples(pairs), _body(body), text))
    response.url, response.redirected = url, redirected
    return response


# ---------------------------------------------------------------------- streams
class _Items(AsyncIterator[object]):
    """Chunks of a stream in a form that can be packed: views and arrays as bytes."""

    def __init__(self, chunks: AsyncIterator[object]) -> None:
        self._chunks = chunks

    async def __anext__(self) -> object:
        chunk = await next_item(self._chunks)
        if isinstance(chunk, bytearray | memoryview) or (
            hasattr(chunk, "to_bytes") and not isinstance(chunk, bytes | int)
        ):
            return as_bytes(chunk)
        return chunk

    async def aclose(self) -> None:
        """The reader does not want the rest."""
        closer = getattr(self._chunks, "aclose", None)
        if closer is not None:
            await closer()


def _readable_parts(stream: ReadableStream) -> object:
    chunks = stream.hand_over()
    return [chunks if isinstance(chunks, RemoteStream) else _Items(chunks), stream.expected_length]


def _readable(parts: list[Any]) -> ReadableStream:
    stream = ReadableStream.of_iterator(parts[0])
    stream.expected_length = parts[1]
    return stream


def _writable_parts(stream: WritableStream) -> object:
    sent = _SentWriter(stream.getWriter())
    return [sent.write, sent.close, sent.abort]


class _SentWriter:
    """The writer of a stream that was sent: who has it calls these. If they let go of it before its end, it breaks."""

    def __init__(self, writer: WritableStreamDefaultWriter) -> None:
        self._writer = writer
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()

    async def write(self, chunk: object) -> None:
        await self._writer.write(chunk)

    async def close(self) -> None:
        self._ended = True
        await self._writer.close()

    async def abort(self, reason: object) -> None:
        self._ended = True
        await self._writer.abort(reason)

    def __del__(self) -> None:
        scope = self._context.get(SCOPE)
        if self._ended or self._loop.is_closed() or (scope is not None and scope.instance.broken is not None):
            return
        error = HostGone(
            "WritableStream received over RPC was disconnected because the remote execution context has ended"
        )
        self._loop.call_soon_threadsafe(self._writer.abort, error, context=self._context)


class _RemoteSink:
    """Where what is written to a stream that has arrived goes."""

    def __init__(self, parts: list[Any]) -> None:
        self._functions = [function.dup() for function in parts]  # they outlive the call that brought them

    async def _call(self, which: int, *args: object) -> None:
        try:  # a sink takes as long as it wants: who writes is held up
            await self._functions[which]._call_patiently(*args)
        except HostGone:
            raise HostGone("The WritableStream's remote execution context has ended") from None

    async def write(self, chunk: object) -> None:
        await self._call(0, as_bytes(chunk) if isinstance(chunk, bytearray | memoryview) else chunk)

    async def close(self) -> None:
        try:
            await self._call(1)
        finally:
            self._let_go()

    async def abort(self, reason: object = None) -> None:
        try:
            await self._call(2, reason if isinstance(reason, Exception | str | None) else str(reason))
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for function in self._functions:
            function.dispose()


def _register() -> None:
    register(Request, REQUEST, _request_parts, _request)
    register(Response, RESPONSE, _response_parts, _response)
    register(Headers, HEADERS, lambda found: _pairs(list(found.items())), lambda parts: Headers.of(_tuples(parts)))
    register(Blob, BLOB, lambda blob: [blob.data, blob.content_type], lambda parts: Blob(bytes(parts[0]), parts[1]))
    register(
        File,
        FILE,
        lambda file: [file.data, file.content_type, file.name, file.last_modified],
        lambda parts: File(bytes(parts[0]), parts[2], parts[1], last_modified=parts[3]),
    )
    register(FormData, FORM_DATA, lambda form: [[name, value] for name, value in form.items()], FormData.of_fields)
    register(ReadableStream, READABLE, _readable_parts, _readable)
    register(WritableStream, WRITABLE, _writable_parts, lambda parts: WritableStream(_RemoteSink(parts)))
    register(URLSearchParams, SEARCH_PARAMS, str, URLSearchParams)


_register()
look_further(lambda: importlib.import_module("..js.signals", __name__))
