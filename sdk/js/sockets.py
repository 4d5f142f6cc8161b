"""`WebSocket`, `WebSocketPair`, `WebSocketRequestResponsePair`, and what sockets tell their listeners.

What always holds: every end of a socket is an instance of `WebSocket`, however it was made; only a connection to a URL is made by
calling it.
"""

from __future__ import annotations

from typing import Any

from ...engine.web_socket import WebSocket as Socket
from ...engine.web_socket_events import CloseEvent, ErrorEvent, MessageEvent, SocketEvent
from ...engine.web_socket_pair import WebSocketPair, WebSocketRequestResponsePair
from ..outgoing_sockets import connect
from .events import Event
from .proxies import JsProxy, missing, to_text

for _kind in (Socket, SocketEvent, WebSocketPair, WebSocketRequestResponsePair):
    JsProxy.register(_kind)


class _Connects(type):
    """Calling the class connects; ends of pairs are its instances too."""

    def __call__(cls, url: object, protocols: object = None) -> Any:
        return connect(to_text(url), None if missing(protocols) else protocols)

    def new(cls, url: object, protocols: object = None) -> Any:
        """As calling it."""
        return cls(url, protocols)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Socket)


class WebSocket(metaclass=_Connects):
    """`WebSocket.new(url, protocols)`: a connection to a server elsewhere. It tells `open`, then needs no accept()."""

    CONNECTING, OPEN, CLOSING, CLOSED = range(4)
    READY_STATE_CONNECTING, READY_STATE_OPEN, READY_STATE_CLOSING, READY_STATE_CLOSED = range(4)


__all__ = [
    "CloseEvent",
    "ErrorEvent",
    "Event",
    "MessageEvent",
    "WebSocket",
    "WebSocketPair",
    "WebSocketRequestResponsePair",
]
