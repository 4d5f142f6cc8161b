"""`Response`: what a Worker or an object answers over HTTP (spec: sdk, Response)."""

from __future__ import annotations

import asyncio
import json as json_module
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from ..engine.http import HttpResponse
from ..engine.values import UNDEFINED
from ..engine.web_socket import WebSocket
from .body import BodyReader, Content, extract
from .headers import Headers, as_pairs, value_of
from .readable_stream import ReadableStream
from .urls import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({101, 204, 205, 304})
_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}


class _Json:
    """`Response.json(data)` makes one, `response.json()` reads one."""

    def __get__(self, instance: Response | None, owner: type[Response]) -> Callable[..., object]:
        return owner.from_json if instance is None else instance.read_json


class Response(BodyReader):
    """`Response(body=None, status=200, status_text="", headers=None, web_socket=None)`; body: see `body.extract`."""

    json = _Json()
    web_socket: WebSocket | None = None
    """The client's end, of a response to an upgrade; whoever accepts it talks over it."""

    def __init__(
        self,
        body: object = None,
        status: int | HTTPStatus | None = None,
        status_text: str = "",
        headers: object = None,
        web_socket: object = None,
    ) -> None:
        """`web_socket`: an end of a pair, with status 101.

        Raises TypeError for bodies, headers and sockets of other types, ValueError for a status that is none.
        """
        if isinstance(body, Response):
            options = status is not None or bool(status_text) or headers is not None or web_socket is not None
            self._become(body, options)
            return
        self.status = 200 if status is None else int(status)
        if web_socket is not None and web_socket is not UNDEFINED:
            self.web_socket = _client_end(web_socket, self.status)
        elif not 200 <= self.status <= 599:
            raise ValueError(
                f"Responses may only be constructed with status codes in the range 200 to 599, inclusive; got {self.status}"
            )
        if status_text and not status_text.isprintable():
            raise TypeError("Invalid statusText")
        self._status_text = status_text
        self._pairs = as_pairs(headers)
        self._headers: Headers | None = None
        self.url, self.redirected, self.type = "", False, "default"
        try:
            self._body, kind = extract(None if body is UNDEFINED else body)
        except TypeError:
            if isinstance(body, ReadableStream):
                raise
            raise TypeError(f"Unsupported type in Response: {type(body).__name__}") from None
        if self.status in _BODILESS and self._body is not None:
            raise TypeError(f"Response with null body status {self.status} cannot have body")
        if kind and value_of(self._pairs, "content-type") is None:
            self._pairs.append(("content-type", kind))

    def _become(self, other: Response, options: bool) -> None:
        """The same response; its body goes over."""
        if options:
            raise ValueError("Expected no options when constructing Response from a js Response")
        self.status, self._status_text = other.status, other._status_text
        self._pairs, self._headers = other._pairs, other._headers
        self.url, self.redirected, self.type = other.url, other.redirected, other.type
        self.web_socket = other.web_socket
        self._body, self._used = other._body, other._used
        other._used = other._body is not None

    @classmethod
    def new(cls, body: object = None, options: object = None, **more: object) -> Response:
        """As JavaScript makes one: `status`, `statusText`, `headers`, `webSocket` in an object (another response is one), or as
        keyword arguments."""
        if isinstance(options, Response):
            options = options.as_options()
        given = {**(cast("dict[str, object]", options) if isinstance(options, dict) else {}), **more}
        return cls(
            body,
            cast("int | None", given.get("status")),
            str(given.get("statusText") or given.get("status_text") or ""),
            given.get("headers"),
            given.get("webSocket", given.get("web_socket")),
        )

    def as_options(self) -> dict[str, object]:
        """What makes a response of the same status, headers and socket."""
        pairs = list(self._pairs if self._headers is None else self._headers.items())
        return {
            "status": self.status,
            "statusText": self._status_text,
            "headers": pairs,
            "webSocket": self.web_socket,
        }

    @classmethod
    def from_wire(cls, response: HttpResponse) -> Response:
        """The response that arrived."""
        self = cls.__new__(cls)
        self.status, self._status_text = response.status, response.status_text
        self._pairs, self._headers, self._body = response.headers, None, response.body
        self.url, self.redirected, self.type = "", False, "default"
        if response.web_socket is not None:
            self.web_socket = response.web_socket
        return self

    def to_wire(self) -> HttpResponse:
        """As it travels; the body is used up. Raises OSError when it was before."""
        pairs = self._pairs if self._headers is None else list(self._headers.items())
        streamed = self._body if isinstance(self._body, ReadableStream) else None
        body = self.take_body()
        if streamed is not None and streamed.expected_length is not None and not isinstance(body, bytes):
            if value_of(pairs, "content-length") is None:
                pairs = [*pairs, ("content-length", str(streamed.expected_length))]
        return HttpResponse(self.status, pairs, body, self._status_text, self.web_socket)

    def _content_header(self, name: str) -> str | None:
        return value_of(self._pairs if self._headers is None else list(self._headers.items()), name)

    @property
    def ok(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def status_text(self) -> str:
        """As given, else what the status is called."""
        return self._status_text or _PHRASES.get(self.status, "")

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers.of(self._pairs)
        return self._headers

    @property
    def js_object(self) -> Response:
        """The same response in JavaScript's style: one body, the same headers."""
        from .js.web import Response as InJavaScript  # most programs never ask

        return InJavaScript.of(self)

    def clone(self) -> Response:
        """A second response of the same; a streamed body is read by both, and kept for the slower one.

        Raises OSError, and TypeError for the response to an upgrade.
        """
        if self.web_socket is not None:
            raise TypeError("Cannot clone a response to a WebSocket handshake.")
        return self._with(self.split_body())

    def replace_body(self, body: object) -> Response:
        """The same status and headers with another body. Raises TypeError."""
        return self._with(extract(body)[0])

    def _with(self, body: Content) -> Response:
        pairs = list(self._pairs) if self._headers is None else list(self._headers.items())
        other = Response.from_wire(HttpResponse(self.status, pairs, None, self._status_text))
        other._body = body
        other.url, other.redirected, other.type = self.url, self.redirected, self.type
        return other

    def raise_for_status(self) -> None:
        """Raises OSError for 4xx and 5xx."""
        if self.status >= 400:
            whose = "Client" if self.status < 500 else "Server"
            raise OSError(f"{self.status} {whose} Error: {self.status_text} for url: {self.url}")

    async def unpack_archive(self, *, extract_dir: str | None = None, format: str | None = None) -> None:
        """Unpack the body (zip, tar, gztar, …: the names of shutil) into a folder; a thread does it.

        `format`: told by the URL's ending when it is left out. Raises ValueError for a format that nobody knows.
        """
        from .archives import unpack

        data, name = await self.bytes(), os.path.basename(urlsplit(self.url).path) or "archive"
        await asyncio.to_thread(unpack, data, name, extract_dir, format)

    @staticmethod
    def redirect(url: object, status: int | HTTPStatus = 302) -> Response:
        """Send the client elsewhere. Raises ValueError for a bad URL or status."""
        if status not in _REDIRECTS:
            raise ValueError(f"{int(status)} is not a redirect status code")
        try:
            target = normalise(str(url))
        except TypeError as error:
            raise ValueError(str(error)) from None
        return Response(None, status=int(status), headers={"location": target})

    @staticmethod
    def from_json(
        data: object, status: int | HTTPStatus | None = 200, status_text: str = "", headers: object = None
    ) -> Response:
        """`data` as JSON, with the content type unless one is given."""
        pairs = as_pairs(headers)
        if value_of(pairs, "content-type") is None:
            pairs.append(("content-type", "application/json"))
        return Response(json_module.dumps(data), status, status_text, pairs)

    def __repr__(self) -> str:
        kind = self._content_header("content-type")
        text = f"Response(status={self.status!r}, status_text={self.status_text!r}, content_type={kind!r}"
        text += f", url={self.url!r}" if self.url else ""
        return text + (f", type={self.type!r})" if self.type != "default" else ")")

    def to_py(self) -> Response:
        return self

    @property
    def webSocket(self) -> WebSocket | None:
        return self.web_socket

    statusText = status_text
    js_response = js_object
    replaceBody = replace_body
    raiseForStatus = raise_for_status
    unpackArchive = unpack_archive
    fromJson = from_json


def _client_end(socket: object, status: int) -> WebSocket:
    """What `web_socket=` names. Raises TypeError, and ValueError for another status than 101."""
    if not isinstance(socket, WebSocket):
        raise TypeError(
            "Incorrect type for the 'webSocket' field on 'ResponseInit': the provided value is not of type 'WebSocket': "
            f"it is {type(socket).__name__}; give one end of a WebSocketPair"
        )
    if status != 101:
        raise ValueError(f"Responses with a WebSocket must have status code 101, got {status}")
    return socket
