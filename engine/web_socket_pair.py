"""A pair of WebSocket ends, and the pair of texts of an automatic answer, as programs make them."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import OutOfRange
from .values import JsList
from .web_socket import WebSocket

ANSWER_BYTES_MAX = 2_048
"""Of an automatic answer, and of what it answers."""


class WebSocketPair:
    """Two ends: what one sends the other gets. `client, server = WebSocketPair.new()`, `.object_values()`, `pair[0]`."""

    def __init__(self) -> None:
        client, server = WebSocket(), WebSocket()
        client.peer, server.peer = server, client
        self._ends = (client, server)

    @classmethod
    def new(cls) -> WebSocketPair:
        return cls()

    def object_keys(self) -> JsList:
        return JsList(["0", "1"])

    def object_values(self) -> JsList:
        return JsList(self._ends)

    def object_entries(self) -> JsList:
        return JsList(JsList(entry) for entry in zip(("0", "1"), self._ends, strict=True))

    def to_py(self, **_options: object) -> dict[str, WebSocket]:
        return dict(zip(("0", "1"), self._ends, strict=True))

    def __getitem__(self, index: int | str) -> WebSocket:
        return self._ends[int(index)]

    def __getattr__(self, name: str) -> WebSocket:
        if name in ("0", "1"):
            return self._ends[int(name)]
        raise AttributeError(name)

    def __iter__(self) -> Iterator[WebSocket]:
        return iter(self._ends)

    def __len__(self) -> int:
        return len(self._ends)


class WebSocketRequestResponsePair:
    """A text, and what it is answered with while the object sleeps."""

    __slots__ = ("request", "response")

    def __init__(self, request: object, response: object) -> None:
        self.request = str(request)
        self.response = str(response)

    @classmethod
    def new(cls, request: object, response: object) -> WebSocketRequestResponsePair:
        return cls(request, response)

    def getRequest(self) -> str:
        return self.request

    def getResponse(self) -> str:
        return self.response

    def check(self) -> None:
        """Raises OutOfRange when one is too long."""
        for what, text in (("Request", self.request), ("Response", self.response)):
            size = len(text.encode("utf-8", "replace"))
            if size > ANSWER_BYTES_MAX:
                raise OutOfRange(
                    f"{what} cannot be larger than {ANSWER_BYTES_MAX} bytes. A {what.lower()} of size {size} was provided."
                )

    def __repr__(self) -> str:
        return f"<WebSocketRequestResponsePair {self.request!r} {self.response!r}>"
