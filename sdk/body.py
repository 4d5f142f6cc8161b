"""The body that a Request or Response carries: whole or streamed, read once.

What always holds: a body that nobody looks into travels as it came; one that is read a second time is an OSError; of a stream
nothing is read before somebody asks.
"""

from __future__ import annotations

import builtins
import json as json_module
from collections.abc import AsyncIterator
from typing import cast

from ..engine.http import Body
from ..engine.values import Buffer, JsDict
from .blob import Blob
from .form_data import FormData, parse, write_multipart
from .headers import value_of
from .readable_stream import ReadableStream
from .stream_members import as_bytes
from .stream_pipes import tee_body
from .urls import URLSearchParams

Content = bytes | AsyncIterator[bytes] | ReadableStream | None
"""None: no body. An iterator: one that has travelled, and that the program has not looked at."""
USED = "Body already used"


def extract(body: object) -> tuple[Content, str | None]:
    """What programs pass as a body, and the content type that it implies. Raises TypeError for other types."""
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode("utf-8", "replace"), "text/plain;charset=UTF-8"
    if isinstance(body, bytes):
        return (body if type(body) is bytes else bytes(body)), None
    if isinstance(body, ReadableStream):
        if body.locked or body.disturbed:
            raise TypeError(
                "This ReadableStream is disturbed (has already been read from), and cannot be used as a body."
            )
        return body, None
    if isinstance(body, Blob):
        return body.data, body.content_type or None
    if isinstance(body, FormData):
        return write_multipart(body)
    if isinstance(body, URLSearchParams):
        return str(body).encode(), "application/x-www-form-urlencoded;charset=UTF-8"
    if hasattr(body, "__aiter__"):
        return ReadableStream.of_iterator(cast("AsyncIterator[object]", body).__aiter__()), None
    try:
        return as_bytes(body), None
    except TypeError:
        raise TypeError(f"Unsupported type in body: {type(body).__name__}") from None


class BodyReader:
    """What both have in common."""

    _body: Content = None
    _used = False
    _pairs: list[tuple[str, str]]

    @property
    def body(self) -> ReadableStream | None:
        """The chunks, None when there is no body. Reading it uses it up."""
        body = self._body
        if body is None or isinstance(body, ReadableStream):
            return body
        if isinstance(body, bytes):
            stream = ReadableStream.of_bytes(body)
        else:
            stream = ReadableStream.of_body(body)
            length = self._content_header("content-length")
            stream.expected_length = int(length) if length is not None and length.isdigit() else None
        if self._used:
            stream.take()
        self._body = stream
        return stream

    @property
    def body_used(self) -> bool:
        return self._used or (isinstance(self._body, ReadableStream) and self._body.disturbed)

    def _content_header(self, name: str) -> str | None:
        """A header, given in lower case."""
        return value_of(self._pairs, name)

    def take_body(self) -> Body:
        """The body as it travels. Raises OSError when it was read already, or somebody reads it."""
        body = self._body
        if body is None:
            return None
        if self._used:
            raise OSError(USED)
        if isinstance(body, ReadableStream):
            taken = body.take()
            self._used = True
            return taken
        self._used = True
        return body

    def split_body(self) -> Content:
        """A second body of the same, for `clone`. Raises OSError as `take_body` does."""
        if self.body_used:
            raise OSError(USED)
        body = self._body
        if body is None or isinstance(body, bytes):
            return body
        stream = cast("ReadableStream", self.body)
        if stream.locked:
            raise OSError(USED)
        self._body, second = tee_body(stream)
        return second

    async def bytes(self) -> builtins.bytes:
        """The whole body."""
        body = self.take_body()
        if body is None:
            return b""
        if isinstance(body, bytes):
            return body
        return await _whole(body)

    async def buffer(self) -> Buffer:
        """The same in JavaScript's style."""
        return Buffer(await self.bytes())

    async def memoryview(self) -> builtins.memoryview:
        return builtins.memoryview(await self.bytes())

    async def text(self) -> str:
        """The whole body, decoded as UTF-8."""
        return (await self.bytes()).decode("utf-8", "replace").removeprefix("\ufeff")

    async def read_json(self, **options: object) -> object:
        """The whole body as JSON; options are those of `json.loads`. Raises json.JSONDecodeError.

        The keys of an object can be read as attributes too: pages of the reference show `(await request.json()).name`.
        """
        found: object = json_module.loads(await self.text(), **options)  # pyright: ignore[reportArgumentType]
        return JsDict(cast("dict[str, object]", found)) if type(found) is dict else found

    async def blob(self) -> Blob:
        """The whole body with its content type."""
        kind = self._content_header("content-type")
        return Blob(await self.bytes(), content_type=kind or "")

    async def form_data(self) -> FormData:
        """The fields of a form. Raises TypeError when the body is none."""
        kind = self._content_header("content-type")
        return parse(await self.bytes(), kind)

    bodyUsed = body_used
    arrayBuffer = buffer
    array_buffer = buffer
    string = text
    formData = form_data


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    chunks: list[bytes] = []
    try:
        async for chunk in body:
            chunks.append(chunk)  # noqa: PERF401 - what was read before a failure is dropped with its source
    except BaseException:
        closer = getattr(body, "aclose", None)
        if closer is not None:
            await closer()
        raise
    return b"".join(chunks)


__all__ = ["USED", "BodyReader", "Content", "extract"]
