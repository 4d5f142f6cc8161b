"""`Response`: what a Worker or an object answers over HTTP (spec: sdk, Response)."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from ..engine.errors import PerdureError
from ..engine.http import HttpResponse
from .body import BodyReader
from .headers import Headers, as_pairs
from .request import as_body, normalise

if TYPE_CHECKING:
    from ..engine.http import Body

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS = frozenset({101, 204, 205, 304})


class _Json:
    """`Response.json(data)` makes one, `response.json()` reads one."""

    def __get__(self, instance: Response | None, owner: type[Response]) -> Callable[..., object]:
        return owner.from_json if instance is None else instance.read_json


class Response(BodyReader):
    """`Response(body=None, status=200, status_text="", headers=None)`; body is text, bytes or an async iterator of bytes."""

    json = _Json()

    def __init__(
        self,
        body: object = None,
        status: int | HTTPStatus | None = None,
        status_text: str = "",
        headers: object = None,
        web_socket: object = None,
    ) -> None:
        self.status = 200 if status is None else int(status)
        if not 101 <= self.status <= 599 or (self.status < 200 and self.status != 101):
            raise ValueError(f"Response status must be 200 to 599, got {self.status}")
        if web_socket is not None:
            raise PerdureError("web_socket= is not supported by this version of perdure")
        self.status_text = status_text
        self._pairs = as_pairs(headers)
        self._headers: Headers | None = None
        self.url, self.redirected, self.type = "", False, "default"
        try:
            self._body, kind = as_body(body)
        except TypeError:
            raise TypeError(f"Unsupported type in Response: {type(body).__name__}") from None
        if self.status in _BODILESS and self._body is not None:
            raise TypeError(f"Response with null body status {self.status} cannot have body")
        if kind and not any(name.lower() == "content-type" for name, _ in self._pairs):
            self._pairs.append(("content-type", kind))

    @classmethod
    def from_wire(cls, response: HttpResponse) -> Response:
        """The response that arrived."""
        self = cls.__new__(cls)
        self.status, self.status_text = response.status, response.status_text
        self._pairs, self._headers, self._body = response.headers, None, response.body
        self.url, self.redirected, self.type = "", False, "default"
        return self

    def to_wire(self) -> HttpResponse:
        """As it travels; the body is used up."""
        pairs = self._pairs if self._headers is None else list(self._headers.items())
        return HttpResponse(self.status, pairs, self.take_body(), self.status_text)

    @property
    def ok(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers(self._pairs)
        return self._headers

    def clone(self) -> Response:
        """A second response of the same; only of one whose body is whole."""
        if self._body is not None and not isinstance(self._body, bytes):
            raise TypeError("a streamed body cannot be cloned")
        if self._used:
            raise OSError("Body already used")
        return self._with(self._body)

    def replace_body(self, body: object) -> Response:
        """The same status and headers with another body."""
        return self._with(as_body(body)[0])

    def _with(self, body: Body) -> Response:
        return Response.from_wire(HttpResponse(self.status, list(self.headers.items()), body, self.status_text))

    def raise_for_status(self) -> None:
        """Raises OSError for 4xx and 5xx."""
        if self.status >= 400:
            raise OSError(f"{self.status} {self.status_text}".strip())

    @staticmethod
    def redirect(url: str, status: int = 302) -> Response:
        """Send the client elsewhere. Raises ValueError for a bad URL or status."""
        if status not in _REDIRECTS:
            raise ValueError(f"Invalid redirect status code {status}")
        try:
            target = normalise(url)
        except TypeError as error:
            raise ValueError(str(error)) from None
        return Response(None, status=status, headers={"location": target})

    @staticmethod
    def from_json(
        data: object, status: int | HTTPStatus | None = 200, status_text: str = "", headers: object = None
    ) -> Response:
        """`data` as JSON, with the content type unless one is given."""
        pairs = as_pairs(headers)
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("content-type", "application/json"))
        return Response(json_module.dumps(data), status, status_text, pairs)

    def __repr__(self) -> str:
        kind = cast("str | None", self.headers.get("content-type"))
        return f"Response(status={self.status!r}, status_text={self.status_text!r}, content_type={kind!r})"
