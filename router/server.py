"""The shard's door: a ROUTER socket that turns frames into calls and answers into frames, many in a message.

What always holds: nothing that a peer sends can raise out of here; a call for a slot that is not ours runs nothing; answers to
a peer leave in the order given; a peer that is gone has its calls cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import cast

import zmq

from ..engine.calls import FETCH, OPERATE, RPC, Call, Extras
from ..engine.errors import PerdureError, ProtocolError
from ..engine.http import HttpResponse
from ..engine.limits import BODY_INLINE_BYTES_MAX
from .links import NOBLOCK, has_messages, prepare
from .slots import SlotMap
from .streams import Incoming, Outgoing
from .wire import (
    CALL,
    CALL_LENGTH,
    CANCEL,
    CHUNK,
    CREDIT,
    ERROR,
    FLUSH_BYTES,
    HELLO,
    KINDS,
    MOVED,
    PING,
    PONG,
    REPLY,
    VERSION,
    WELCOME,
    Frame,
    decode,
    decode_request,
    encode,
    encode_response,
)

_DRAIN = 64
FLUSH_FRAMES = 32  # so that the caller works on the first answers of a turn while we work on the rest
Report = Callable[[str, str, dict[str, object]], None]


class Peer:
    """One connected client."""

    __slots__ = ("calls", "identity", "incoming", "outgoing", "queue", "queued_bytes", "role", "version")

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.version = 0
        self.role = ""
        self.queue: list[Frame] = []
        self.queued_bytes = 0
        self.calls: dict[int, Call] = {}
        self.incoming: dict[int, Incoming] = {}
        self.outgoing: dict[int, Outgoing] = {}


class Acceptor:
    """Accepts calls at `endpoint`. `deliver(call)` and `cancel(call)` are the residents'; `operate` and `stop_operation`
    are the same for calls of the kind OPERATE."""

    def __init__(
        self,
        endpoint: str,
        loop: asyncio.AbstractEventLoop,
        *,
        index: int,
        session: str,
        slot_map: SlotMap,
        classes: Mapping[str, str],
        deliver: Callable[[Call], None],
        cancel: Callable[[Call], None],
        operate: Callable[[Call], None],
        stop_operation: Callable[[Call], None],
        report: Report,
    ) -> None:
        self.endpoint = endpoint
        self._loop = loop
        self._index = index
        self._session = session
        self._map = slot_map
        self._mine = frozenset(slot_map.groups_of(index))
        self._classes = dict(classes)
        self._deliver = deliver
        self._cancel_event = cancel
        self._operate = operate
        self._stop_operation = stop_operation
        self._report = report
        self._peers: dict[bytes, Peer] = {}
        self._dirty: dict[Peer, None] = {}
        self._scheduled = False
        self._parked: list[tuple[Peer, Frame]] = []
        self.calls = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        prepare(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(endpoint)
        self._fd = cast("int", self._socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._readable)

    # ------------------------------------------------------------------ the map
    def adopt(self, slot_map: SlotMap) -> None:
        """Follow a newer map; calls that waited for it go on."""
        if slot_map.epoch <= self._map.epoch:
            return
        self._map = slot_map
        self._mine = frozenset(slot_map.groups_of(self._index))
        parked, self._parked = self._parked, []
        for peer, frame in parked:
            self._on_call(peer, frame)

    # ------------------------------------------------------------------ in
    def _readable(self) -> None:
        receive = self._socket.recv_multipart
        for _ in range(_DRAIN):
            try:
                parts = receive(NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError:  # closed
                return
            if len(parts) == 2:
                self._on_message(parts[0], parts[1])
        self._loop.call_soon(self._readable)

    def _on_message(self, identity: bytes, data: bytes) -> None:
        peer = self._peers.get(identity)
        if peer is None:
            peer = self._peers[identity] = Peer(identity)
        try:
            for frame in decode(data):
                if frame[0] == CALL and peer.version:
                    self._on_call(peer, frame)
                else:
                    self._on_other(peer, frame)
        except ProtocolError as error:
            self._refuse(peer, error)
        except (
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
        ) as error:  # a frame of another shape than it must have
            self._refuse(peer, ProtocolError(f"malformed frame: {error!r}"))

    def _refuse(self, peer: Peer, error: ProtocolError) -> None:
        self._report("warning", "malformed_message", {"peer": peer.identity.hex(), "error": error.message})
        self._send(peer, [ERROR, 0, error.to_wire()])

    def _on_call(self, peer: Peer, frame: Frame) -> None:
        extras = None
        if len(frame) == CALL_LENGTH + 1:
            frame, extras = frame[:CALL_LENGTH], frame[CALL_LENGTH]
        (_, call_id, epoch, class_key, object_id, name, kind, method, payload, _deadline_ms, request_id, stream) = frame
        if epoch > self._map.epoch:
            if extras is not None:
                frame.append(extras)
            self._parked.append((peer, frame))  # the caller knows a newer map than we: it will come
            return
        if (
            type(object_id) is not bytes
            or len(object_id) != 32
            or type(payload) is not bytes
            or type(call_id) is not int
        ):
            raise ProtocolError("malformed call")
        if object_id[0] >> 2 not in self._mine:
            self._send(peer, [MOVED, call_id, self._map.to_wire()])
            return
        request = None
        if kind == FETCH:
            request = decode_request(payload)
            payload = b""
            if stream:
                request.body = self._incoming(peer, call_id)
        elif kind != RPC or type(method) is not str:
            self._on_operate(peer, frame)
            return
        call = Call(
            class_key,
            object_id,
            name,
            kind,
            method,
            payload,
            self._answer,
            request,
            request_id,
        )
        if extras is not None:
            given = Extras.from_wire(extras)
            call.chain, call.trail, call.key = given.chain, given.trail, given.key
        call.origin = (peer, call_id)
        peer.calls[call_id] = call
        self.calls += 1
        self._deliver(call)

    def _on_operate(self, peer: Peer, frame: Frame) -> None:
        """A call that is for no object's turn."""
        (_, call_id, _, class_key, object_id, name, kind, method, payload, deadline_ms, request_id, stream) = frame
        if kind != OPERATE or type(method) is not str or type(deadline_ms) is not int or stream:
            raise ProtocolError("malformed call")
        call = Call(class_key, object_id, name, kind, method, payload, self._answer, None, request_id)
        call.deadline_s = self._loop.time() + deadline_ms / 1000
        call.origin = (peer, call_id)
        peer.calls[call_id] = call
        self._operate(call)

    def _cancel(self, call: Call) -> None:
        (self._stop_operation if call.kind == OPERATE else self._cancel_event)(call)

    def _incoming(self, peer: Peer, call_id: int) -> Incoming:
        def closed(early: bool) -> None:
            peer.incoming.pop(call_id, None)
            if early:
                self._send(peer, [CANCEL, call_id])

        found = peer.incoming[call_id] = Incoming(self._loop, call_id, lambda frame: self._send(peer, frame), closed)
        return found

    def _on_other(self, peer: Peer, frame: Frame) -> None:
        kind = frame[0]
        if kind == HELLO:
            self._on_hello(peer, frame)
        elif not peer.version:
            raise ProtocolError("the first frame of a connection must be HELLO")
        elif kind == CANCEL:
            self._on_cancel(peer, cast("int", frame[1]))
        elif kind == CHUNK:
            body = peer.incoming.get(cast("int", frame[1]))
            if body is not None:
                error = PerdureError("the request's body broke off") if frame[4] is not None else None
                body.feed(cast("bytes", frame[2]), bool(frame[3]), error)
        elif kind == CREDIT:
            writer = peer.outgoing.get(cast("int", frame[1]))
            if writer is not None:
                writer.credit(cast("int", frame[2]))
        elif kind == PING:
            self._send(peer, [PONG, frame[1]])
        else:
            raise ProtocolError(f"a frame of kind {kind!r} is not for a shard")

    def _on_hello(self, peer: Peer, frame: Frame) -> None:
        versions = cast("list[int]", frame[1])
        peer.role = str(frame[2])
        fields: dict[str, object] = {"session": self._session, "map": self._map.to_wire(), "classes": self._classes}
        fields["kinds"] = KINDS
        fields["extras"] = True
        if VERSION in versions:
            peer.version = VERSION
            self._send(peer, [WELCOME, VERSION, fields])
        else:
            self._send(peer, [WELCOME, 0, {"versions": [VERSION], "session": self._session}])

    def _on_cancel(self, peer: Peer, call_id: int) -> None:
        call = peer.calls.get(call_id)
        if call is not None:
            self._cancel(call)
        writer = peer.outgoing.pop(call_id, None)
        if writer is not None:
            writer.cancel()

    # ------------------------------------------------------------------ out
    def _answer(self, call: Call, result: bytes | HttpResponse | PerdureError) -> None:
        peer, call_id = call.origin
        if peer.calls.pop(call_id, None) is None:
            return
        if type(result) is bytes:
            self._send(peer, [REPLY, call_id, result, False], len(result))
        elif isinstance(result, PerdureError):
            self._send(peer, [ERROR, call_id, result.to_wire()])
        else:
            self._answer_fetch(peer, call_id, cast("HttpResponse", result))
        if peer.incoming:
            body = peer.incoming.get(call_id)
            if body is not None and call_id not in peer.outgoing:
                body.close()

    def _answer_fetch(self, peer: Peer, call_id: int, response: HttpResponse) -> None:
        body = response.body
        if isinstance(body, bytes) and len(body) > BODY_INLINE_BYTES_MAX:
            from .client import one_chunk

            body = one_chunk(body)
            response = HttpResponse(response.status, response.headers, body, response.status_text)
        if body is None or isinstance(body, bytes):
            self._send(peer, [REPLY, call_id, encode_response(response), False], len(body or b""))
            return
        self._send(peer, [REPLY, call_id, encode_response(response), True])
        self._stream(peer, call_id, body)

    def _stream(self, peer: Peer, call_id: int, body: AsyncIterator[bytes]) -> None:
        def send(frame: Frame) -> None:
            self._send(peer, frame, len(cast("bytes", frame[2])))

        def done() -> None:
            peer.outgoing.pop(call_id, None)
            unread = peer.incoming.get(call_id)
            if unread is not None:
                unread.close()

        peer.outgoing[call_id] = Outgoing(self._loop, call_id, body, send, done)

    def _send(self, peer: Peer, frame: Frame, size: int = 0) -> None:
        peer.queue.append(frame)
        peer.queued_bytes += size
        if peer.queued_bytes > FLUSH_BYTES or len(peer.queue) >= FLUSH_FRAMES:
            self._flush_peer(peer)
            return
        self._dirty[peer] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def send_now(self) -> None:
        """Send what is queued, in the middle of a loop turn."""
        for peer in list(self._dirty):
            self._flush_peer(peer)

    def flush(self) -> None:
        """Send what is queued for every peer."""
        self._scheduled = False
        dirty, self._dirty = self._dirty, {}
        for peer in dirty:
            self._flush_peer(peer)
        if not self._socket.closed and has_messages(self._socket):
            self._loop.call_soon(self._readable)

    def _flush_peer(self, peer: Peer) -> None:
        queue, peer.queue, peer.queued_bytes = peer.queue, [], 0
        if not queue:
            return
        try:
            self._socket.send_multipart((peer.identity, encode(queue)), NOBLOCK)
        except zmq.ZMQError as error:
            self._forget(peer, error)

    def _forget(self, peer: Peer, error: zmq.ZMQError) -> None:
        """The peer is gone: nobody waits for what it asked."""
        if error.errno not in (zmq.EHOSTUNREACH, zmq.ENOTSOCK):
            self._report("warning", "send_failed", {"peer": peer.identity.hex(), "error": str(error)})
        if self._peers.pop(peer.identity, None) is None:
            return
        calls, peer.calls = peer.calls, {}
        for call in calls.values():
            self._cancel(call)
        for body in list(peer.incoming.values()):
            body.fail(PerdureError("the caller is gone"))
        for writer in list(peer.outgoing.values()):
            writer.cancel()

    def close(self) -> None:
        """Send what is queued, then close the socket within a second."""
        self.flush()
        self._loop.remove_reader(self._fd)
        self._socket.close(1_000)
        self._context.term()

    def statistics(self) -> dict[str, int]:
        return {
            "peers": len(self._peers),
            "calls": self.calls,
            "running": sum(len(p.calls) for p in self._peers.values()),
        }
