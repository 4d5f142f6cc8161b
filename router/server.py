"""The shard's door: a ROUTER socket that turns frames into calls and answers into frames, many in a message.

What always holds: nothing that a peer sends can raise out of here; a call for a slot that is not ours runs nothing; answers to
a peer leave in the order given; a peer that is gone has its calls cancelled.

Handed off (`hold`), it begins nothing more: calls wait until the map says where they belong, then all are given back as MOVED,
in the order that they came in, and a PING is answered after those that came before it.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import cast

import zmq

from ..engine.calls import FETCH, OPERATE, RPC, Call, Extras, Result
from ..engine.errors import NotConnected, Overloaded, PerdureError, ProtocolError
from ..engine.exports import Exports, Parcel
from ..engine.http import HttpResponse
from ..engine.limits import BODY_INLINE_BYTES_MAX
from .links import NOBLOCK, has_messages, prepare
from .ports import Port, too_old
from .slots import SlotMap
from .socket_peers import FROM_HOLDERS, SocketHost, SocketPeer, moved
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
    LOOK_S,
    MAP,
    MOVED,
    PING,
    PONG,
    REF_FRAMES,
    REPLY,
    REPLY_CARRYING,
    SOCKET_EVENT,
    STILL_THERE,
    VERSION,
    WELCOME,
    Frame,
    decode,
    decode_request,
    encode,
    encode_response,
)

_DRAIN = 64
CALL_DEADLINE_S = 30.0
"""For calls of what callers have sent by reference."""
PARKED_MAX = 65_536
"""Frames that wait for a newer map."""
PEERS_UNSWEPT = 256
FLUSH_FRAMES = 32  # so that the caller works on the first answers of a turn while we work on the rest
Report = Callable[[str, str, dict[str, object]], None]
Links = Sequence[Sequence[object]]


class Peer:
    """One connected client."""

    __slots__ = (
        "calls",
        "holder",
        "identity",
        "incoming",
        "outgoing",
        "port",
        "queue",
        "queued_bytes",
        "role",
        "version",
    )

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.version = 0
        self.role = ""
        self.queue: list[Frame] = []
        self.queued_bytes = 0
        self.calls: dict[int, Call] = {}
        self.incoming: dict[int, Incoming] = {}
        self.outgoing: dict[int, Outgoing] = {}
        self.port: Port | None = None
        """For what travels by reference, if it has said that it understands that."""
        self.holder: SocketPeer | None = None
        """It holds sockets of objects."""

    def waits(self, frame: Frame) -> bool:
        """Whether it is the last that was queued, and has not left."""
        queue = self.queue
        return bool(queue) and queue[-1] is frame


class Acceptor:
    """Accepts calls at `endpoint`. `deliver(call)` and `cancel(call)` are the residents'; `operate` and `stop_operation`
    are the same for calls of the kind OPERATE. `exports`: what the process has sent by reference."""

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
        exports: Exports | None = None,
        sockets: SocketHost | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._sockets = sockets
        """What is told of the objects' sockets; None: holders of sockets are not understood."""
        self._exports = exports if exports is not None else Exports(loop, secrets.token_bytes)
        self._loop = loop
        self._index = index
        self._session = session
        self._map = slot_map
        self._mine = self._mine_of(slot_map)
        self._admits: Callable[[Links], bool] | None = None
        """Handed off: whether a call may begin all the same."""
        self._later: list[tuple[Peer, Frame]] = []
        """Answers that leave when the map says who has the slots now."""
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
        self._looking: asyncio.TimerHandle | None = None
        self._sweep_at = PEERS_UNSWEPT
        """With so many peers it is looked who is still there: who goes with nothing under way is noticed by nothing else."""
        self.calls = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        prepare(self._socket)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(endpoint)
        self._fd = cast("int", self._socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._readable)

    # ------------------------------------------------------------------ the map
    def adopt(self, slot_map: SlotMap, classes: Mapping[str, str]) -> None:
        """Follow a newer map; calls that waited for it go on. `classes`: what is served now; empty: not known."""
        self._classes = dict(classes) or self._classes
        if slot_map.epoch <= self._map.epoch:
            return
        self._map = slot_map
        self._mine = self._mine_of(slot_map)
        if not self._mine:
            self._give_back()
        parked, self._parked = self._parked, []
        for peer, frame in parked:
            self._on_frames(peer, [frame])

    def _mine_of(self, slot_map: SlotMap) -> frozenset[int]:
        """The groups of this session: none when another one has the shard's place."""
        place = slot_map.shards.get(self._index)
        if place is None or place.session != self._session:
            return frozenset()
        return frozenset(slot_map.groups_of(self._index))

    # ------------------------------------------------------------------ the hand-off
    def hold(self, admits: Callable[[Links], bool]) -> None:
        """Begin no calls any more but those that `admits(links)` lets in: [object id, event, …] of the events that led to it."""
        self._admits = admits

    def take_back(self, call: Call) -> None:
        """A call that was delivered and has not begun: it is given back with those that came after it."""
        peer, call_id = call.origin
        if peer.calls.pop(call_id, None) is not None:
            body = peer.incoming.pop(call_id, None)
            if body is not None:
                body.forget()
            self._hold_back(peer, call_id)

    def _hold_back(self, peer: Peer, call_id: int) -> None:
        if len(self._later) < PARKED_MAX:
            self._later.append((peer, [MOVED, call_id, None]))
        else:
            self._send(peer, [ERROR, call_id, _too_many().to_wire()])

    def _give_back(self) -> None:
        later, self._later = self._later, []
        place = self._map.to_wire()
        for peer, frame in later:
            self._send(peer, [MOVED, frame[1], place] if frame[0] == MOVED else frame)
        for peer in self._peers.values():
            if peer.version:
                self._send(peer, [MAP, place, self._classes])

    @property
    def waiting(self) -> int:
        """Frames that wait for a newer map."""
        return len(self._parked)

    @property
    def held(self) -> int:
        """Frames that wait until the map names the next session, to be given back."""
        return len(self._later)

    @property
    def owes(self) -> int:
        """Calls that are not answered, and bodies that are not sent to their end."""
        return sum(len(peer.calls) + len(peer.outgoing) for peer in self._peers.values())

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
            if len(self._peers) >= self._sweep_at:
                self._sweep()
        try:
            frames = decode(data)
        except ProtocolError as error:
            self._refuse(peer, error)
        else:
            self._on_frames(peer, frames)

    def _on_frames(self, peer: Peer, frames: list[Frame]) -> None:
        try:
            for frame in frames:
                if frame[0] == CALL and peer.version:
                    self._on_call(peer, frame)
                elif frame[0] in FROM_HOLDERS and peer.holder is not None:
                    self._on_socket(peer, peer.holder, frame)
                else:
                    self._on_other(peer, frame)
        except ProtocolError as error:
            self._refuse(peer, error)
        except (
            TypeError,
            ValueError,
            IndexError,
            KeyError,
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
        (_, call_id, epoch, class_key, object_id, name, kind, method, payload, deadline_ms, request_id, stream) = frame
        if epoch > self._map.epoch:
            if extras is not None:
                frame.append(extras)
            self._park(peer, frame)  # the caller knows a newer map than we: it will come
            return
        if (
            type(object_id) is not bytes
            or len(object_id) != 32
            or type(payload) is not bytes
            or type(call_id) is not int
        ):
            raise ProtocolError("malformed call")
        if self._admits is not None and self._mine and not (extras and self._admits(extras[0])):
            self._hold_back(peer, call_id)
            return
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
        call.within_s = deadline_ms / 1000
        if extras is not None:
            given = Extras.from_wire(extras)
            call.chain, call.trail, call.key = given.chain, given.trail, given.key
            if given.carries:
                if peer.port is None:
                    raise ProtocolError("a call carries what its sender does not understand")
                call.received = self._exports.received(peer.port)
                call.answer = self._answer_carrying
        call.origin = (peer, call_id)
        peer.calls[call_id] = call
        self.calls += 1
        if self._looking is None:
            self._look_after()
        self._deliver(call)

    def _on_socket(self, peer: Peer, holder: SocketPeer, frame: Frame) -> None:
        """Of an object's sockets. While a hand-off holds everything back an event is dropped: who sent it sends it again to the
        next session, as all that was not acknowledged."""
        if frame[0] != SOCKET_EVENT:
            if cast("bytes", frame[2 if type(frame[1]) is str else 1])[0] >> 2 in self._mine:
                holder.receive(frame)
            return
        if frame[1] > self._map.epoch:
            self._park(peer, frame)
        elif self._admits is not None and self._mine:
            return
        elif frame[3][0] >> 2 not in self._mine:
            self._send(peer, [MAP, self._map.to_wire(), self._classes])
            holder.refuse(frame, moved())
        else:
            self.calls += 1
            holder.receive(frame)

    @property
    def holders(self) -> list[SocketPeer]:
        """Peers that hold sockets of objects."""
        return [peer.holder for peer in self._peers.values() if peer.holder is not None]

    def _park(self, peer: Peer, frame: Frame) -> None:
        if len(self._parked) < PARKED_MAX:
            self._parked.append((peer, frame))
        elif frame[0] == SOCKET_EVENT and peer.holder is not None:
            peer.holder.refuse(frame, _too_many())
        else:
            self._send(peer, [ERROR, frame[1], _too_many().to_wire()])

    def _is_parked(self, peer: Peer, call_id: object) -> bool:
        return any(parked is peer and frame[1] == call_id for parked, frame in self._parked)

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
            elif self._is_parked(peer, frame[1]):
                self._park(peer, frame)
        elif kind == CREDIT:
            writer = peer.outgoing.get(cast("int", frame[1]))
            if writer is not None:
                writer.credit(cast("int", frame[2]))
        elif kind == PING:
            if self._admits is not None and self._mine:
                self._later.append((peer, [PONG, frame[1]]))
            else:
                self._send(peer, [PONG, frame[1]])
        elif kind in REF_FRAMES and peer.port is not None:
            peer.port.receive(frame)
            self._look_after()
        else:
            raise ProtocolError(f"a frame of kind {kind!r} is not for a shard")

    def _on_hello(self, peer: Peer, frame: Frame) -> None:
        versions = cast("list[int]", frame[1])
        peer.role = str(frame[2])
        fields: dict[str, object] = {"session": self._session, "map": self._map.to_wire(), "classes": self._classes}
        fields["kinds"] = KINDS
        fields["extras"] = True
        fields["references"] = self._exports.host
        if VERSION in versions:
            peer.version = VERSION
            if peer.port is None and len(frame) > 3 and cast("dict[str, object]", frame[3]).get("references"):
                peer.port = Port(self._exports, functools.partial(self._send, peer), CALL_DEADLINE_S)
            if self._sockets is not None:
                fields["sockets"] = True
                self._may_hold(peer, self._sockets, frame)
            self._send(peer, [WELCOME, VERSION, fields])
        else:
            self._send(peer, [WELCOME, 0, {"versions": [VERSION], "session": self._session}])

    def _may_hold(self, peer: Peer, sockets: SocketHost, frame: Frame) -> None:
        """Whether the peer holds sockets: then it is looked whether it is still there."""
        identity = cast("dict[str, object]", frame[3]).get("sockets") if len(frame) > 3 else None
        if peer.holder is None and type(identity) is str:
            peer.holder = SocketPeer(identity, functools.partial(self._send, peer), sockets, peer.waits)
            self._look_after()

    def _on_cancel(self, peer: Peer, call_id: int) -> None:
        if self._parked:
            self._parked = [(p, f) for p, f in self._parked if p is not peer or f[1] != call_id]
        call = peer.calls.get(call_id)
        if call is not None:
            self._cancel(call)
        writer = peer.outgoing.pop(call_id, None)
        if writer is not None:
            writer.cancel()

    # ------------------------------------------------------------------ out
    def _answer_carrying(self, call: Call, result: Result) -> None:
        """To a call whose arguments held what travels by reference: first what of it is kept is said."""
        if call.received is not None:
            call.received.returned()
        self._answer(call, result)

    def _answer_parcel(self, peer: Peer, call_id: int, parcel: Parcel) -> None:
        if peer.port is None:
            parcel.withdraw()
            self._send(peer, [ERROR, call_id, too_old().to_wire()])
            return
        peer.port.hand_over(parcel)
        self._look_after()
        self._send(peer, [REPLY_CARRYING, call_id, parcel.payload, parcel.ids], len(parcel.payload))

    def _look_after(self) -> None:
        """A caller waits or holds something, or something of it is held: notice when it is gone."""
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _sweep(self) -> None:
        """Let go of the peers that are gone: sending to them fails."""
        for peer in list(self._peers.values()):
            if peer.port is not None:
                self._send(peer, STILL_THERE)
        self.flush()
        self._sweep_at = max(PEERS_UNSWEPT, 2 * len(self._peers))

    def _look(self) -> None:
        self._looking = None
        for peer in self._peers.values():
            if peer.holder is not None or (peer.port is not None and (peer.calls or peer.port.needed)):
                self._send(peer, STILL_THERE)
                self._look_after()

    def _answer(self, call: Call, result: Result) -> None:
        peer, call_id = call.origin
        if peer.calls.pop(call_id, None) is None:
            if isinstance(result, Parcel):
                result.withdraw()
            return
        if type(result) is bytes:
            self._send(peer, [REPLY, call_id, result, False], len(result))
        elif isinstance(result, PerdureError):
            self._send(peer, [ERROR, call_id, result.to_wire()])
        elif isinstance(result, Parcel):
            self._answer_parcel(peer, call_id, result)
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
        else:
            self._dirty[peer] = None
        if not self._scheduled:  # also after a message that left at once: it has eaten the edge of the descriptor
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
        if peer.port is not None:
            peer.port.lost()
        if peer.holder is not None:
            peer.holder.lost()
        calls, peer.calls = peer.calls, {}
        for call in calls.values():
            self._cancel(call)
        for body in list(peer.incoming.values()):
            body.fail(PerdureError("the caller is gone"))
        for writer in list(peer.outgoing.values()):
            writer.cancel()

    def close(self) -> None:
        """Send what is queued, then close the socket within a second. What is held has not run, and its callers hear that."""
        later, self._later = self._later, []
        for peer, frame in later:
            if frame[0] == MOVED:
                self._send(peer, [ERROR, frame[1], _nobody_took_over().to_wire()])
        self.flush()
        if self._looking is not None:
            self._looking.cancel()
        self._loop.remove_reader(self._fd)
        self._socket.close(1_000)
        self._context.term()

    def statistics(self) -> dict[str, int]:
        return {
            "peers": len(self._peers),
            "calls": self.calls,
            "running": sum(len(p.calls) for p in self._peers.values()),
        }


def _nobody_took_over() -> NotConnected:
    return NotConnected(
        "the shard was let go, and nobody has taken it over yet: the call has not run", hint="try again"
    )


def _too_many() -> Overloaded:
    return Overloaded("too many calls wait for this shard", hint="back off, and try again")
