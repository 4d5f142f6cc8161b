"""The members of `ctx` that are about WebSockets (spec: websockets)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from .errors import InvalidArgument
from .sockets import Sockets
from .values import UNDEFINED, JsList
from .web_socket import Use, WebSocket
from .web_socket_pair import WebSocketRequestResponsePair

if TYPE_CHECKING:
    from .instance import Instance

TAGS_MAX = 10
TAG_BYTES_MAX = 256
EVENT_TIMEOUT_MS_MAX = 604_800_000


class SocketMembers:
    """Mixed into the context of an object."""

    _instance: Instance

    def acceptWebSocket(self, ws: WebSocket, tags: object = None) -> None:
        """Take one end of a pair as a socket that outlives the object's memory. `tags`: texts to find it by.

        Raises InvalidArgument: the end or its other one is used, tags are too many or too long, there are too many sockets.
        """
        if not isinstance(ws, WebSocket):  # pyright: ignore[reportUnnecessaryIsInstance] - programs pass anything
            raise InvalidArgument(
                "Failed to execute 'acceptWebSocket' on 'DurableObjectState': parameter 1 is not of type 'WebSocket'."
            )
        if ws.use in (Use.ACCEPTED, Use.HIBERNATES, Use.CONNECTS):
            raise _refused("Cannot call `acceptWebSocket()` if the WebSocket was already accepted via `accept()`")
        if ws.peer is None or ws.use is not Use.NONE or ws.peer.use is not Use.NONE:
            raise _refused(
                "Cannot call `acceptWebSocket()` on this WebSocket because its pair has already been accepted or used in "
                "a Response."
            )
        distinct = _distinct(tags)
        instance = self._instance
        instance.may_write()
        sockets = instance.all_sockets()
        if sockets.count() >= instance.limits.sockets_max:
            raise _refused(
                f"only {instance.limits.sockets_max} websockets can be accepted on a single Durable Object instance",
                hint="shard the object",
            )
        sockets.accept(ws, distinct)

    def getWebSockets(self, tag: str | None = None) -> JsList:
        """The accepted sockets, newest first; with a tag those that have it, in the order of acceptance."""
        sockets = self._sockets()
        return JsList() if sockets is None else JsList(sockets.listed(None if tag is UNDEFINED else tag))

    def getTags(self, ws: WebSocket) -> JsList:
        """The socket's tags, in the order given. Raises InvalidArgument for one that is not the object's, or has none."""
        if ws.use is Use.NONE or ws.use is Use.GIVEN:
            raise _refused("you must call 'acceptWebSocket()' before attempting to access the tags of a WebSocket.")
        sockets = self._sockets()
        socket = None if sockets is None else sockets.of(ws)
        if socket is None:
            raise _refused("only hibernatable websockets can have tags.")
        return JsList(socket.row.tags)

    def setWebSocketAutoResponse(self, pair: object = None) -> None:
        """Answer a text with another one while the object sleeps; without a pair: no more. Raises OutOfRange."""
        sockets = self._instance.all_sockets()
        if pair is None or pair is UNDEFINED:
            rules = replace(sockets.rules, request=None, response=None)
        elif isinstance(pair, WebSocketRequestResponsePair):
            pair.check()
            rules = replace(sockets.rules, request=pair.request, response=pair.response)
        else:
            raise InvalidArgument(
                "Failed to execute 'setWebSocketAutoResponse' on 'DurableObjectState': parameter 1 is not of type "
                "'WebSocketRequestResponsePair'."
            )
        sockets.decide(rules, sockets.timeout_ms)

    def getWebSocketAutoResponse(self) -> WebSocketRequestResponsePair | None:
        """What was set, None if nothing is."""
        sockets = self._sockets()
        if sockets is None or sockets.rules.request is None:
            return None
        return WebSocketRequestResponsePair(sockets.rules.request, sockets.rules.response)

    def getWebSocketAutoResponseTimestamp(self, ws: WebSocket) -> datetime.datetime | None:
        """When the socket last got an automatic answer, as far as the object has heard; None: never."""
        sockets = self._sockets()
        socket = None if sockets is None else sockets.of(ws)
        if socket is None or socket.auto_ms is None:
            return None
        return datetime.datetime.fromtimestamp(socket.auto_ms / 1000, datetime.UTC)

    def setHibernatableWebSocketEventTimeout(self, timeout_ms: float | None = None) -> None:
        """What a socket's event may take, in ms; 0 or None: no bound. Raises InvalidArgument (Error) above a week."""
        ms = 0 if timeout_ms is None or timeout_ms is UNDEFINED else int(timeout_ms)
        if ms > EVENT_TIMEOUT_MS_MAX:
            raise _refused(f"Event timeout should not exceed {EVENT_TIMEOUT_MS_MAX} ms.")
        if ms < 0:
            raise InvalidArgument(f"Event timeout must not be negative, got {ms}")
        sockets = self._instance.all_sockets()
        sockets.decide(sockets.rules, ms)

    def getHibernatableWebSocketEventTimeout(self) -> int | None:
        """What was set, in ms; None: no bound."""
        sockets = self._sockets()
        return None if sockets is None else sockets.timeout_ms or None

    def setWebSocketOverflow(self, rule: str) -> None:
        """What happens to a reader that is too slow: "close" (1013), or "drop": its oldest messages. Ours alone."""
        if rule not in ("close", "drop"):
            raise InvalidArgument(f"setWebSocketOverflow() takes 'close' or 'drop', not {rule!r}")
        sockets = self._instance.all_sockets()
        sockets.decide(replace(sockets.rules, overflow=rule), sockets.timeout_ms)

    def getWebSocketOverflow(self) -> str:
        """What was set; "close" if nothing was."""
        sockets = self._sockets()
        return "close" if sockets is None else sockets.rules.overflow

    def _sockets(self) -> Sockets | None:
        return self._instance.sockets

    accept_web_socket = acceptWebSocket
    get_web_sockets = getWebSockets
    get_tags = getTags
    set_web_socket_auto_response = setWebSocketAutoResponse
    get_web_socket_auto_response = getWebSocketAutoResponse
    get_web_socket_auto_response_timestamp = getWebSocketAutoResponseTimestamp
    set_hibernatable_web_socket_event_timeout = setHibernatableWebSocketEventTimeout
    get_hibernatable_web_socket_event_timeout = getHibernatableWebSocketEventTimeout
    set_web_socket_overflow = setWebSocketOverflow
    get_web_socket_overflow = getWebSocketOverflow


def _distinct(tags: object) -> tuple[str, ...]:
    """Checked before each element, as the reference does: ten distinct ones and a repeated one are too many."""
    if tags is None or tags is UNDEFINED:
        return ()
    if isinstance(tags, str | bytes) or not isinstance(tags, Iterable):
        raise InvalidArgument("acceptWebSocket() takes a list of texts as tags")
    found: dict[str, None] = {}
    for given in cast("Iterable[object]", tags):
        if len(found) >= TAGS_MAX:
            raise _refused(f"a Hibernatable WebSocket cannot have more than {TAGS_MAX} tags")
        tag = str(given)
        if len(tag.encode("utf-8", "replace")) > TAG_BYTES_MAX:
            raise _refused(f'"{tag}" is longer than the max tag length ({TAG_BYTES_MAX} characters).')
        found[tag] = None
    return tuple(found)


def _refused(message: str, hint: str = "") -> InvalidArgument:
    return InvalidArgument(message, name="Error", hint=hint)
