"""A request as ASGI and WSGI applications are told of it: of `workers.Request`, and of whatever has its attributes.

What always holds: the URL is absolute; header names are in lower case, and a name that repeats is not joined.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Protocol, cast
from urllib.parse import SplitResult, urlsplit


class Incoming(Protocol):
    """What is used of a request."""

    @property
    def url(self) -> str: ...
    @property
    def method(self) -> object: ...
    @property
    def headers(self) -> object: ...
    @property
    def body(self) -> object: ...


def split(request: Incoming) -> SplitResult:
    """Its URL. Raises ValueError for one without scheme or host."""
    parts = urlsplit(str(request.url))
    if not parts.scheme or not parts.netloc:
        raise ValueError(f"Request URL is not absolute: {request.url}")
    return parts


def method_of(request: Incoming) -> str:
    """Plain text, whatever kind of text it is."""
    return str(getattr(request.method, "value", request.method)).upper()


def headers_of(request: Incoming) -> list[tuple[str, str]]:
    """Pairs of a name in lower case and a value."""
    items = cast("Callable[[], Iterable[tuple[object, object]]] | None", getattr(request.headers, "items", None))
    pairs = cast("Iterable[tuple[object, object]]", request.headers) if items is None else items()
    return [(str(name).lower(), str(value)) for name, value in pairs]


async def chunks_of(request: Incoming) -> AsyncIterator[bytes]:
    """Its body as it arrives; nothing when it has none. Raises OSError when it was read already."""
    body = request.body
    if body is None:
        return
    async for chunk in cast("AsyncIterable[object]", body):
        yield as_bytes(chunk)


def as_bytes(chunk: object) -> bytes:
    """A chunk of a body. Raises TypeError for what is none."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, bytearray | memoryview):
        return bytes(chunk)
    convert = cast("Callable[[], bytes] | None", getattr(chunk, "to_bytes", None))
    if convert is None or isinstance(chunk, int):
        raise TypeError(f"a chunk of a body must be bytes, not {type(chunk).__name__}")
    return convert()
