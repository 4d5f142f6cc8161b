"""`Request`: what a Worker or an object is asked over HTTP, and what `fetch` asks (spec: sdk, Request)."""

from __future__ import annotations

from http import HTTPMethod
from typing import cast

from ..engine.http import HttpRequest
from ..engine.values import UNDEFINED, JsDict
from .body import BodyReader, extract
from .headers import Headers, as_pairs, joined, value_of
from .readable_stream import ReadableStream
from .urls import URL, normalise

_NO_BODY = frozenset({"GET", "HEAD"})
_METHODS = {method.value: method for method in HTTPMethod}
_REDIRECTS = frozenset({"follow", "manual", "error"})
_FORBIDDEN = frozenset({"CONNECT", "TRACE", "TRACK"})


class Request(BodyReader):
    """`Request(url_or_request, method=, headers=, body=, redirect=, cf=, signal=)`; other options are accepted and ignored."""

    integrity = ""
    destination = ""
    credentials = "same-origin"
    mode = "cors"
    referrer = "about:client"
    referrer_policy = referrerPolicy = ""
    keepalive = False
    is_history_navigation = isHistoryNavigation = False
    cache: object = None
    is_of_javascript = False

    def __init__(self, input: object, **options: object) -> None:
        """Raises TypeError for a URL that is not absolute, a method that cannot be sent, and a body where none may be."""
        given = {name: value for name, value in options.items() if value is not None and value is not UNDEFINED}
        self.redirect: str = "follow"
        self.cf: object = None
        self.signal: object = None
        if isinstance(input, Request):
            if given and input.is_of_javascript and not self.is_of_javascript:
                raise ValueError("Expected no options when constructing Request from a js Request")
            self._url, self._pairs, self._method = input._url, input.pairs(), input._method
            self.redirect, self.cf, self.signal = input.redirect, input.cf, input.signal
            self.cache = input.cache
            if "body" not in given:
                self._body, self._used = input.hand_on(), False
        elif isinstance(input, str | URL):
            self._url, self._pairs, self._method = normalise(str(input)), [], "GET"
        else:
            raise TypeError(f"Request needs a URL or a Request, got {type(input).__name__}")
        self._headers: Headers | None = None
        self._take(given)

    def _take(self, given: dict[str, object]) -> None:
        if "method" in given:
            self._method = _method(given["method"])
        if "headers" in given:
            self._pairs = as_pairs(given["headers"])
        if "redirect" in given:
            self.redirect = str(given["redirect"])
            if self.redirect not in _REDIRECTS:
                raise TypeError(f"Invalid redirect value {self.redirect!r}: it is follow, manual or error")
        if "cf" in given:
            cf = given["cf"]
            self.cf = JsDict(cast("dict[str, object]", cf)) if type(cf) is dict else cf
        if "signal" in given:
            self.signal = given["signal"]
        if "cache" in given:
            self.cache = given["cache"]
        if "body" in given:
            if self._method in _NO_BODY:
                raise TypeError(f"Request with a {self._method} method cannot have a body")
            self._body, kind = extract(given["body"])
            if kind and value_of(self._pairs, "content-type") is None:
                self._pairs.append(("content-type", kind))
        elif self._body is not None and self._method in _NO_BODY:
            raise TypeError(f"Request with a {self._method} method cannot have a body")

    @classmethod
    def new(cls, input: object, options: object = None, **more: object) -> Request:
        """As JavaScript makes one: options in an object, or as keyword arguments."""
        return cls(input, **{**(cast("dict[str, object]", options) if isinstance(options, dict) else {}), **more})

    @classmethod
    def from_wire(cls, request: HttpRequest) -> Request:
        """The request that arrived."""
        self = cls.__new__(cls)
        self._url, self._pairs, self._method, self._body = request.url, request.headers, request.method, request.body
        self._headers = None
        self.redirect, self.cf, self.signal = "manual", None, None
        return self

    def pairs(self) -> list[tuple[str, str]]:
        """The headers as they are now; a copy."""
        return list(self._pairs) if self._headers is None else list(self._headers.items())

    def to_wire(self) -> HttpRequest:
        """As it travels; the body is used up. Raises OSError when it was before."""
        pairs = self._pairs if self._headers is None else list(self._headers.items())
        streamed = self._body if isinstance(self._body, ReadableStream) else None
        body = self.take_body()
        if streamed is not None and not isinstance(body, bytes):
            pairs = [pair for pair in pairs if pair[0].lower() != "content-length"]
            if streamed.expected_length is not None:
                pairs.append(("content-length", str(streamed.expected_length)))
        return HttpRequest(self._method, self._url, pairs, body)

    def hand_on(self) -> bytes | ReadableStream | None:
        """The body, for a request made of this one, which is used up then."""
        if self._body is None:
            return None
        body = self.take_body()
        return body if body is None or isinstance(body, bytes) else self._handed(body)

    def _handed(self, body: object) -> ReadableStream:
        stream = ReadableStream.of_body(body)  # pyright: ignore[reportArgumentType]
        length = self._content_header("content-length")
        stream.expected_length = int(length) if length is not None and length.isdigit() else None
        return stream

    def _content_header(self, name: str) -> str | None:
        return value_of(self.pairs() if self._headers is not None else self._pairs, name)

    @property
    def url(self) -> str:
        return self._url

    @property
    def method(self) -> str:
        """An `http.HTTPMethod`, which equals its name as text."""
        return _METHODS.get(self._method, self._method)

    @property
    def headers(self) -> Headers:
        """Equal names are joined with `, `, but each Set-Cookie stays on its own."""
        if self._headers is None:
            self._headers = Headers.of(joined(self._pairs))
        return self._headers

    @property
    def js_object(self) -> Request:
        """The same request in JavaScript's style: one body, the same headers."""
        from .js.web import Request as InJavaScript  # most programs never ask

        return InJavaScript.of(self)

    async def json(self, **options: object) -> object:
        """The body as JSON. Raises json.JSONDecodeError."""
        return await self.read_json(**options)

    def clone(self) -> Request:
        """A second request of the same; a streamed body is read by both, and kept for the slower one. Raises OSError."""
        second = self.split_body()
        other = Request.from_wire(HttpRequest(self._method, self._url, self.pairs()))
        other._body = second
        other.redirect, other.cf, other.signal, other.cache = self.redirect, self.cf, self.signal, self.cache
        return other

    def __repr__(self) -> str:
        return f"Request(method={self._method!r}, url={self._url!r})"


def _method(method: object) -> str:
    text = str(getattr(method, "value", method))
    upper = text.upper()
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise TypeError(f"Invalid HTTP method string: {text}")
    if upper in _FORBIDDEN:
        raise TypeError(f"the HTTP method {text} cannot be used")
    return upper
