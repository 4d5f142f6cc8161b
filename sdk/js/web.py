"""`Headers`, `Request`, `Response`, `fetch` and the rest of the web's classes as JavaScript has them, over those of the SDK.

What always holds: each is a subclass of the SDK's class, so whatever takes that one takes this one: handlers, calls, bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from http import HTTPStatus
from http.client import HTTPMessage
from typing import Any, ParamSpec, TypeVar, cast

from ...engine.errors import PerdureError
from ...engine.values import UNDEFINED
from .. import blob as sdk_blob
from .. import fetching, streams, urls
from .. import form_data as sdk_form_data
from .. import headers as sdk_headers
from .. import request as sdk_request
from .. import response as sdk_response
from .arrays import Array
from .json import JSON
from .promise import Promise
from .proxies import JsProxy, missing, to_text
from .proxies import options as as_options

P = ParamSpec("P")
T = TypeVar("T")

for _kind in (
    sdk_blob.Blob,
    sdk_form_data.FormData,
    streams.ReadableStream,
    streams.WritableStream,
    streams.TransformStream,
    streams.ReadableStreamDefaultReader,
    streams.WritableStreamDefaultWriter,
):
    JsProxy.register(_kind)

Blob, File, FormData = sdk_blob.Blob, sdk_blob.File, sdk_form_data.FormData
ReadableStream, WritableStream = streams.ReadableStream, streams.WritableStream
TransformStream, IdentityTransformStream = streams.TransformStream, streams.IdentityTransformStream
FixedLengthStream = streams.FixedLengthStream
TextEncoderStream, TextDecoderStream = streams.TextEncoderStream, streams.TextDecoderStream
CompressionStream, DecompressionStream = streams.CompressionStream, streams.DecompressionStream
ReadableStreamDefaultReader = streams.ReadableStreamDefaultReader
ReadableStreamBYOBReader = streams.ReadableStreamBYOBReader
WritableStreamDefaultWriter = streams.WritableStreamDefaultWriter
CountQueuingStrategy, ByteLengthQueuingStrategy = streams.CountQueuingStrategy, streams.ByteLengthQueuingStrategy


def throws(make: Callable[P, T]) -> Callable[P, T]:
    """What the SDK's class refuses with an exception of Python, its counterpart throws as JavaScript would: a JsException."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return make(*args, **kwargs)
        except PerdureError:
            raise
        except TypeError as error:
            raise PerdureError(str(error), name="TypeError") from error
        except ValueError as error:
            raise PerdureError(str(error), name="RangeError") from error

    return made


class URLSearchParams(urls.URLSearchParams, JsProxy):
    """With `new`."""

    @classmethod
    @throws
    def new(cls, init: object = None) -> URLSearchParams:
        return cls(None if missing(init) else init)


class URL(urls.URL, JsProxy):
    """With `new`."""

    @classmethod
    @throws
    def new(cls, url: object, base: object = None) -> URL:
        return cls(to_text(url), None if missing(base) else to_text(base))

    def to_string(self) -> str:
        return self.href


class Headers(sdk_headers.Headers, JsProxy):
    """Iterating gives pairs, in lower case and in the order of names."""

    def __init__(self, headers: object = None) -> None:
        if missing(headers):
            headers = None
        elif isinstance(headers, Iterable) and not isinstance(headers, Mapping | list | HTTPMessage | str):
            headers = list(cast("Iterable[object]", headers))
        super().__init__(headers)

    @classmethod
    @throws
    def new(cls, headers: object = None) -> Headers:
        return cls(headers)

    @classmethod
    def over(cls, found: sdk_headers.Headers) -> Headers:
        """Headers of the SDK in JavaScript's style: what is changed in one is changed in both."""
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", vars(found))
        return made

    def get(self, name: str, failobj: object = None) -> object:
        return super().get(to_text(name), failobj)

    def _sorted(self) -> list[tuple[str, str]]:
        found = [(name.lower(), value) for name, value in sdk_headers.joined(list(self.items()))]
        return sorted(found, key=lambda pair: pair[0])

    def entries(self) -> Array:  # type: ignore[override]
        return Array(Array(pair) for pair in self._sorted())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries())

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> dict[str, str]:
        return dict(self._sorted())


class _Json:
    """`Response.json(data, init)` makes one, `response.json()` reads one."""

    def __get__(self, instance: Response | None, owner: type[Response]) -> Callable[..., object]:
        return owner.of_json if instance is None else instance.parsed


class _Message(JsProxy):
    """What both messages have in JavaScript's style."""

    is_of_javascript = True

    @property
    def headers(self) -> Headers:
        found: object = cast("Any", super()).headers
        return found if isinstance(found, Headers) else Headers.over(cast("sdk_headers.Headers", found))

    def _read(self, method: str) -> Promise:
        return Promise(getattr(super(), method)())

    def text(self) -> Promise:
        return self._read("text")

    def bytes(self) -> Promise:
        return self._read("bytes")

    def arrayBuffer(self) -> Promise:
        return self._read("buffer")

    def blob(self) -> Promise:
        return self._read("blob")

    def formData(self) -> Promise:
        return self._read("form_data")

    def parsed(self) -> Promise:
        """The body as JSON, in JavaScript's style. Rejected with PerdureError (SyntaxError)."""

        async def parse() -> object:
            return JSON.parse(await self.text())

        return Promise(parse())

    string = text
    buffer = array_buffer = arrayBuffer
    form_data = formData


class Response(_Message, sdk_response.Response):  # pyright: ignore[reportIncompatibleMethodOverride,reportIncompatibleVariableOverride]
    """`Response.new(body, status=…, headers=…)`."""

    json = _Json()

    @classmethod
    @throws
    def new(cls, body: object = None, options: object = None, **more: object) -> Response:
        if isinstance(options, sdk_response.Response):
            options = options.as_options()
        given = as_options(options, more)
        status = given.get("status")
        socket = given.get("webSocket", given.get("web_socket"))
        return cls(
            None if missing(body) else body,
            None if missing(status) else cast("int", status),
            to_text(given.get("statusText", given.get("status_text", "")) or ""),
            None if missing(given.get("headers")) else given["headers"],
            None if missing(socket) else socket,
        )

    @classmethod
    def of(cls, found: sdk_response.Response) -> Response:
        """A response of the SDK in JavaScript's style: both have the same state, so the body is read once."""
        if isinstance(found, cls):
            return found
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", vars(found))
        return made

    @classmethod
    def of_json(cls, data: object, init: object = None, /, **named: object) -> Response:
        """`data` as JSON without spaces."""
        made = cls.new(JSON.stringify(data), init, **named)
        given = as_options(init, named).get("headers")
        if missing(given) or not Headers(given).has("content-type"):
            made.headers.set("content-type", "application/json")
        return made

    @staticmethod
    @throws
    def redirect(url: object, status: int | HTTPStatus = 302) -> Response:
        return Response.of(sdk_response.Response.redirect(to_text(url), status))

    @staticmethod
    def error() -> Response:
        """As of a network that failed."""
        made = Response(None)
        made.status, made.type = 0, "error"
        return made

    def clone(self) -> Response:
        return Response.of(super().clone())

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> Response:  # type: ignore[override]
        return self


class Request(_Message, sdk_request.Request):  # pyright: ignore[reportIncompatibleMethodOverride,reportIncompatibleVariableOverride]
    """`Request.new(url_or_request, method=…, headers=…, body=…)`."""

    @classmethod
    @throws
    def new(cls, input: object, options: object = None, **more: object) -> Request:
        given = {name: value for name, value in as_options(options, more).items() if not missing(value)}
        return cls(input, **given)

    @classmethod
    def of(cls, found: sdk_request.Request) -> Request:
        """A request of the SDK in JavaScript's style: both have the same state, so the body is read once."""
        if isinstance(found, cls):
            return found
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", vars(found))
        return made

    @property
    def method(self) -> str:
        """A text."""
        return self._method

    def json(self, **_options: object) -> Promise:  # type: ignore[override]
        return self.parsed()

    def clone(self) -> Request:
        return Request.of(super().clone())

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> Request:
        return self


def fetch(resource: object, init: object = None, /, **named: object) -> Promise:
    """As in JavaScript: options in an object, or as keyword arguments. It has left when this returns."""
    given = {
        name: value for name, value in as_options(init, named).items() if not missing(value) and value is not UNDEFINED
    }
    asked = resource if isinstance(resource, sdk_request.Request) else to_text(resource)

    async def ask() -> Response:
        return Response.of(await fetching.fetch(asked, **given))

    return Promise(ask())
