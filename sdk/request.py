"""`Request`: what a Worker or an object is asked over HTTP."""

from __future__ import annotations

import json as json_module
from collections.abc import AsyncIterator
from http import HTTPMethod
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from ..engine.http import Body, HttpRequest
from .body import BodyReader
from .headers import Headers, as_pairs

_NO_BODY = frozenset({"GET", "HEAD"})
_METHODS = {method.value: method for method in HTTPMethod}


def normalise(url: str) -> str:
    """An absolute URL as the fetch standard writes it. Raises TypeError for a relative one."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        raise TypeError(f"Invalid URL: {url}: it must be absolute")
    if parts.path:
        return url
    return urlunsplit(parts._replace(path="/"))


def as_body(body: object) -> tuple[Body, str | None]:
    """What programs pass as a body, and the content type that it implies. Raises TypeError."""
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain;charset=UTF-8"
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), None
    if isinstance(body, AsyncIterator) or hasattr(body, "__aiter__"):
        return cast("AsyncIterator[bytes]", body).__aiter__(), None
    raise TypeError(f"Unsupported type in body: {type(body).__name__}")


class Request(BodyReader):
    """`Request(url_or_request, method=, headers=, body=, redirect=, cf=, signal=)`."""

    def __init__(self, input: object, **options: object) -> None:
        unknown = set(options) - {"method", "headers", "body", "redirect", "cf", "signal"}
        if unknown:
            raise TypeError(f"Request() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        if isinstance(input, Request):
            self._url, self._pairs = input._url, list(input._pairs)
            self._method = input._method
            self._body = input.take_body() if "body" not in options else None
        elif isinstance(input, str):
            self._url, self._pairs, self._method, self._body = normalise(input), [], "GET", None
        else:
            raise TypeError(f"Request needs a URL or a Request, got {type(input).__name__}")
        self.redirect = options.get("redirect", "follow")
        self.cf = options.get("cf")
        self._headers: Headers | None = None
        if options.get("method") is not None:
            self._method = str(getattr(options["method"], "value", options["method"])).upper()
        if options.get("headers") is not None:
            self._pairs = as_pairs(options["headers"])
        if options.get("body") is not None:
            self._body, kind = as_body(options["body"])
            if kind and not any(name.lower() == "content-type" for name, _ in self._pairs):
                self._pairs.append(("content-type", kind))
        if self._body is not None and self._method in _NO_BODY:
            raise TypeError(f"Request with a {self._method} method cannot have a body")

    @classmethod
    def from_wire(cls, request: HttpRequest) -> Request:
        """The request that arrived."""
        self = cls.__new__(cls)
        self._url, self._pairs, self._method, self._body = request.url, request.headers, request.method, request.body
        self._headers = None
        self.redirect, self.cf = "manual", None
        return self

    def to_wire(self) -> HttpRequest:
        """As it travels; the body is used up."""
        pairs = self._pairs if self._headers is None else list(self._headers.items())
        return HttpRequest(self._method, self._url, pairs, self.take_body())

    @property
    def url(self) -> str:
        return self._url

    @property
    def method(self) -> str:
        """An `http.HTTPMethod`, which equals its name as text."""
        return _METHODS.get(self._method, self._method)

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(self._pairs)
        return self._headers

    async def json(self, **options: object) -> object:
        """The body as JSON. Raises json.JSONDecodeError."""
        return json_module.loads(await self.bytes(), **options)  # pyright: ignore[reportArgumentType]

    def clone(self) -> Request:
        """A second request of the same; only of one whose body is whole."""
        if self._used:
            raise OSError("Body already used")
        if self._body is not None and not isinstance(self._body, bytes):
            raise TypeError("a streamed body cannot be cloned")
        other = Request.from_wire(HttpRequest(self._method, self._url, list(self.headers.items()), self._body))
        other.redirect, other.cf = self.redirect, self.cf
        return other

    def __repr__(self) -> str:
        return f"Request(method={self._method!r}, url={self._url!r})"
