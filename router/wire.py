"""The wire format: one ZeroMQ message is a version byte and a msgpack array of frames, all that was queued in a loop turn.

A frame is an array whose first element is its kind:

    HELLO    versions, role, {}                 the first of a connection; versions: those that the sender speaks
    WELCOME  version, {session, map, classes,   the answer; version 0: none in common, {versions}
                       kinds, extras}           kinds of calls that are understood; missing: RPC and FETCH
                                                extras: whether calls may have them; missing: they may not
    CALL     call, epoch, class key, id, name, kind, method, payload, deadline ms, request id, stream, extras
                                                extras: [[[id, event, call, label], …], key], outermost first; left out: none
                                                kind OPERATE: class key "", id of an object or `slots.address_of` a shard
    CANCEL   call                               the caller is gone, or does not want the rest of the body
    REPLY    call, payload, stream              stream: the body follows in chunks
    ERROR    call, fields                       call 0: about the connection
    CHUNK    call, bytes, end, error            part of a body: a request's to the shard, a response's to the caller
    CREDIT   call, bytes                        that many more may be sent
    MOVED    call, map                          sent to the wrong shard; nothing has run
    PING, PONG  number
    MAP      map, classes                       pushed by the router endpoint

Both ends that name themselves in the fields of HELLO and WELCOME (`references`: 8 bytes) also understand, see `ports.py`:

    REPLY_CARRYING  call, payload, [number, …]  a reply that holds what travels by reference; its numbers
    REF_CALL   number, call, path, payload,     call: a number of the caller; payload nil: what the path leads to is read
               extras, request id, flags        flags: 1: the arguments hold what travels by reference; 2: no deadline
    REF_REPLY  call, payload, numbers or nil
    REF_ERROR  call, fields
    REF_CANCEL number, call
    REF_KEEP   number, process                  a parameter that is kept after its call has returned
    REF_DROP   number                           nobody has it any more
    REF_GONE   process                          one behind a relay is gone

Who holds sockets of objects says who it is (HELLO: `sockets`), the shard that it understands that (WELCOME: `sockets`). What
and data of an event, effects: see `engine/socket_calls.py`.

    SOCKET_EVENT   epoch, class key, id, name,  to the shard
                   socket, what, number, acknowledged, after, data, auto ms
    SOCKET_ACK     id, socket, number, fields   of an error; nil: handled and durable
    SOCKET_EFFECTS id, number, cause, effects,  cause: nil or [socket, number, ordinal]; effects: [[[socket, …], what, data], …]
                   acknowledges                 left out, or true: the cause is handled and durable, as by SOCKET_ACK
    SOCKETS_RULES  id, rules                    [request, response, replies to close, overflow]
    SOCKETS_ASKED  class key, id                which sockets of the object are there?
    SOCKETS_HELD   class key, id, name,         the answer; unasked: told to a session that knows nothing yet
                   [[socket, auto ms], …], asked
    SOCKETS_SEEN   id, number                   recorded effects have arrived
    SOCKET_BUFFERED id, socket, bytes           that many are not read by the client
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgpack

from ..engine.calls import FETCH, OPERATE, RPC
from ..engine.errors import ProtocolError
from ..engine.http import HttpRequest, HttpResponse
from ..engine.socket_calls import SocketRef

if TYPE_CHECKING:
    from ..engine.web_socket import Opener, WebSocket

VERSION = 1
_VERSION_BYTE = bytes([VERSION])
HELLO, WELCOME, CALL, CANCEL, REPLY, ERROR, CHUNK, CREDIT, MOVED, PING, PONG, MAP = range(1, 13)
REPLY_CARRYING, REF_CALL, REF_REPLY, REF_ERROR, REF_CANCEL, REF_KEEP, REF_DROP, REF_GONE = range(13, 21)
(
    SOCKET_EVENT,
    SOCKET_ACK,
    SOCKET_EFFECTS,
    SOCKETS_RULES,
    SOCKETS_ASKED,
    SOCKETS_HELD,
    SOCKETS_SEEN,
    SOCKET_BUFFERED,
) = range(21, 29)
SOCKET_FRAMES = frozenset({SOCKET_ACK, SOCKET_EFFECTS, SOCKETS_RULES, SOCKETS_ASKED})
"""From a shard to who holds sockets."""
STILL_THERE = [REF_DROP, bytes(16)]
"""Asks for nothing: a peer that is gone is noticed when something is sent to it."""
LOOK_S = 1.0
"""How often that is done with a peer that holds, or is held, by reference."""
REF_FRAMES = frozenset({REF_CALL, REF_REPLY, REF_ERROR, REF_CANCEL, REF_KEEP, REF_DROP, REF_GONE})
MESSAGE_BYTES_MAX = 160 << 20  # four values of the greatest size and what goes with them
KINDS = [RPC, FETCH, OPERATE]
"""Kinds of calls that this version understands."""
CALL_LENGTH = 12
"""Elements of a CALL without extras."""
FLUSH_BYTES = 8 << 20  # more than this queued in one turn leaves in several messages

Frame = list[Any]  # its shape is checked where it is used; casts would cost in the hot path
_packer = msgpack.Packer(autoreset=True)


def encode(frames: list[Frame]) -> bytes:
    """One message."""
    return _VERSION_BYTE + cast("bytes", _packer.pack(frames))


def decode(data: bytes) -> list[Frame]:
    """The frames of a message, each to be checked by who reads it. Raises ProtocolError for what is no message."""
    if data[:1] != _VERSION_BYTE:
        raise ProtocolError(f"a message of version {data[0] if data else 'none'} arrived, this side speaks {VERSION}")
    try:
        frames: object = msgpack.unpackb(memoryview(data)[1:])
    except Exception as error:  # msgpack raises many kinds, all mean the same
        raise ProtocolError(f"malformed message: {error!r}") from error
    if not isinstance(frames, list):
        raise ProtocolError("malformed message: not an array of frames")
    return cast("list[Frame]", frames)


def encode_request(request: HttpRequest) -> bytes:
    """A request without a streamed body."""
    body = request.body if isinstance(request.body, bytes) else None
    return cast("bytes", msgpack.packb([request.method, request.url, request.headers, body]))


def decode_request(payload: bytes) -> HttpRequest:
    """Raises ProtocolError."""
    try:
        method, url, headers, body = cast("list[object]", msgpack.unpackb(payload))
        pairs = [(str(name), str(value)) for name, value in cast("list[list[object]]", headers)]
        return HttpRequest(str(method), str(url), pairs, cast("bytes | None", body))
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"malformed request: {error!r}") from error


def encode_response(response: HttpResponse) -> bytes:
    """A response without a streamed body."""
    body = response.body if isinstance(response.body, bytes) else None
    fields: list[object] = [response.status, response.headers, response.status_text, body]
    socket = response.web_socket
    if socket is not None and socket.ref is not None:
        ref = socket.ref
        fields.append([ref.class_key, ref.object_id, ref.name, ref.socket, ref.hibernates, socket.protocol])
    return cast("bytes", msgpack.packb(fields))


def decode_response(payload: bytes, opener: Opener | None = None) -> HttpResponse:
    """`opener`: opens the socket that it may bring along. Raises ProtocolError."""
    try:
        status, headers, text, body, *more = cast("list[object]", msgpack.unpackb(payload))
        pairs = [(name, value) for name, value in cast("list[tuple[str, str]]", headers)]
        response = HttpResponse(cast("int", status), pairs, cast("bytes | None", body), cast("str", text))
        if more and opener is not None:
            *ref, protocol = cast("tuple[str, bytes, str | None, bytes, bool, str]", more[0])
            response.web_socket = _socket_of(SocketRef(*ref), opener, protocol)  # pyright: ignore[reportArgumentType]
        return response
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"malformed response: {error!r}") from error


def _socket_of(ref: SocketRef, opener: Opener, protocol: str) -> WebSocket:
    from ..engine.web_socket import WebSocket  # which a client that gets no socket does not need

    return WebSocket.of_ref(ref, opener, protocol)
