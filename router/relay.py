"""Relaying by hash: frames of many clients over one address, forwarded to the shards and back with their numbers changed.

What always holds: a relayed call is answered exactly once, with the shard's answer or a typed error; payloads are not looked at;
who came over the network operates on nothing, whatever keys it has.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import cast

import zmq

from ..engine.calls import FETCH, OPERATE, RPC
from ..engine.errors import Forbidden, NotConnected, PerdureError, ProtocolError
from ..engine.exports import HOST_BYTES
from .calls import CallFuture
from .class_names import ClassNames
from .lanes import Lane
from .links import NOBLOCK, Link, descriptor, has_messages, prepare
from .logs import Report
from .ports import too_old
from .relayed_references import RelayedReferences, ShardPort
from .slots import EMPTY, SlotMap
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
    PING,
    PONG,
    REF_DROP,
    REF_FRAMES,
    REPLY,
    REPLY_CARRYING,
    STILL_THERE,
    VERSION,
    WELCOME,
    Frame,
    decode,
    encode,
)

_DRAIN = 64


class Guest:
    """A connected client: which socket it came by, its numbers."""

    __slots__ = ("calls", "host", "identity", "local", "queue", "queued_bytes", "socket", "version")

    def __init__(self, socket: zmq.Socket[bytes], identity: bytes, *, local: bool) -> None:
        self.socket = socket
        self.local = local
        """It came by a socket in the private folder of this machine."""
        self.identity = identity
        self.host = b""
        """How its numbers of what travels by reference begin; empty: it does not understand that."""
        self.version = 0
        self.queue: list[Frame] = []
        self.queued_bytes = 0
        self.calls: dict[int, Relayed] = {}


class Relayed(CallFuture):
    """A call passed on."""

    guest: Guest
    guest_call: int = 0
    streams = 0
    """Bodies still under way: the request's (1), the response's (2)."""
    kept: list[Frame] | None = None
    """Chunks of the request's body, until the shard has taken something: a call that moves is sent again with them."""


class RelayLane(Lane):
    """A lane whose chunks are passed on instead of read."""

    def _on_other(self, link: Link, frame: Frame) -> None:
        if frame[0] in (CHUNK, CREDIT, CANCEL):
            relayed = self._answers.pending.get(cast("int", frame[1]))
            if relayed is not None:
                cast("Relay", self._answers).passed(cast("Relayed", relayed), frame)
            return
        super()._on_other(link, frame)

    def _send_body(self, future: CallFuture, link: Link) -> None:
        for frame in cast("Relayed", future).kept or ():
            link.send(frame, len(cast("bytes", frame[2])))


class Relay:
    """The endpoint's sockets and lanes. Implements Answers."""

    def __init__(
        self,
        endpoint: str,
        loop: asyncio.AbstractEventLoop,
        slot_map: SlotMap,
        classes: Mapping[str, str],
        report: Report,
    ) -> None:
        self.pending: dict[int, CallFuture] = {}
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.host = secrets.token_bytes(HOST_BYTES)
        self._references = RelayedReferences(self._send)
        self._loop = loop
        self._report = report
        self._map = EMPTY
        self._class_names = ClassNames()
        self._classes = self._class_names.names
        self._guests: dict[tuple[int, bytes], Guest] = {}
        self._lanes: dict[int, Lane] = {}
        self._sockets: list[zmq.Socket[bytes]] = []
        self._private: set[int] = set()
        """`id` of the sockets whose address is in the private folder of this machine."""
        self._dirty: dict[Guest, None] = {}
        self._next_id = 0
        self._looking: asyncio.TimerHandle | None = None
        self._draining = False
        self.adopt(slot_map, classes)
        self.listen(endpoint, None)

    def listen(self, endpoint: str, curve: tuple[bytes, bytes] | None) -> None:
        """Bind one more address. `curve`: public and secret key."""
        socket = self.context.socket(zmq.ROUTER)
        prepare(socket)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if curve is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = curve
        socket.bind(endpoint)
        self._sockets.append(socket)
        if endpoint.startswith("ipc://"):
            self._private.add(id(socket))
        self._loop.add_reader(descriptor(socket), self._readable, socket)

    # ------------------------------------------------------------------ the map
    def adopt(self, slot_map: SlotMap, classes: Mapping[str, str]) -> None:
        """Follow a newer map and push it to every client."""
        self._class_names.follow(slot_map.epoch, classes)
        if slot_map.epoch <= self._map.epoch:
            return
        self._map = slot_map
        for index, place in slot_map.shards.items():
            lane = self._lanes.get(index)
            if lane is None:
                lane = self._lanes[index] = RelayLane(f"shard {index}", self.context, self._loop, self, "router")
            lane.lead_to(place)
        for guest in self._guests.values():
            if guest.version:
                self._send(guest, [MAP, self._map.to_wire(), self._classes])

    def mapped(self, fields: object, classes: object) -> None:
        """A shard told its map; the supervisor tells ours."""

    # ------------------------------------------------------------------ from clients
    def _readable(self, socket: zmq.Socket[bytes]) -> None:
        for _ in range(_DRAIN):
            try:
                parts = socket.recv_multipart(NOBLOCK)
            except zmq.ZMQError:
                return
            if len(parts) == 2:
                self._on_message(socket, parts[0], parts[1])
        self._loop.call_soon(self._readable, socket)

    def _on_message(self, socket: zmq.Socket[bytes], identity: bytes, data: bytes) -> None:
        key = (id(socket), identity)
        guest = self._guests.get(key)
        if guest is None:
            guest = self._guests[key] = Guest(socket, identity, local=id(socket) in self._private)
        try:
            for frame in decode(data):
                self._on_frame(guest, frame)
        except (ProtocolError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            typed = error if isinstance(error, ProtocolError) else ProtocolError(f"malformed frame: {error!r}")
            self._report("warning", "malformed_message", {"peer": identity.hex(), "error": typed.message})
            self._send(guest, [ERROR, 0, typed.to_wire()])

    def _on_frame(self, guest: Guest, frame: Frame) -> None:
        kind = frame[0]
        if kind == HELLO:
            self._on_hello(guest, cast("list[int]", frame[1]), frame[3] if len(frame) > 3 else None)
        elif not guest.version:
            raise ProtocolError("the first frame of a connection must be HELLO")
        elif kind == CALL:
            self._on_call(guest, frame)
        elif kind in (CANCEL, CHUNK, CREDIT):
            relayed = guest.calls.get(cast("int", frame[1]))
            if relayed is not None:
                self._pass_on(relayed, [kind, relayed.call_id, *frame[2:]])
        elif kind == PING:
            self._send(guest, [PONG, frame[1]])
        elif kind in REF_FRAMES:
            self._references.from_guest(guest, frame)
            self._look_after()
        else:
            raise ProtocolError(f"a frame of kind {kind!r} is not for the router endpoint")

    def _pass_on(self, relayed: Relayed, frame: Frame) -> None:
        """A frame that belongs to a call, which may still be parked here."""
        if frame[0] == CHUNK and relayed.kept is not None:
            relayed.kept.append(frame)
        if relayed.call_sent:
            relayed.send_also(frame)
        if frame[0] == CANCEL:
            self._forget(relayed)

    def _on_hello(self, guest: Guest, versions: list[int], told: object) -> None:
        if VERSION not in versions:
            self._send(guest, [WELCOME, 0, {"versions": [VERSION]}])
            return
        guest.version = VERSION
        host = cast("dict[str, object]", told).get("references") if isinstance(told, dict) else None
        if host is not None:
            self._references.guest_came(guest, host)
        fields: dict[str, object] = {"session": "", "map": self._map.to_wire(), "classes": self._classes}
        fields |= {"kinds": KINDS, "extras": True, "references": self.host}
        self._send(guest, [WELCOME, VERSION, fields])

    def _on_call(self, guest: Guest, frame: Frame) -> None:
        object_id = frame[4]
        if not CALL_LENGTH <= len(frame) <= CALL_LENGTH + 1:
            raise ProtocolError("malformed call")
        if type(object_id) is not bytes or len(object_id) != 32 or type(frame[1]) is not int:
            raise ProtocolError("malformed call")
        kind = frame[6]
        if kind != RPC and kind != FETCH and not self._may(guest, frame):
            return
        self._next_id += 1
        relayed = Relayed(loop=self._loop)
        relayed.guest, relayed.guest_call, relayed.call_id = guest, frame[1], self._next_id
        if frame[11]:
            relayed.streams, relayed.kept = 1, []
        frame[1], frame[2] = self._next_id, self._map.epoch
        relayed.call_frame = frame
        self.pending[relayed.call_id] = relayed
        guest.calls[relayed.guest_call] = relayed
        self._lanes[self._map.shard_of(object_id)].send(relayed)

    def _may(self, guest: Guest, frame: Frame) -> bool:
        """Whether the guest may operate; if not it is told. Raises ProtocolError for an unknown kind."""
        if frame[6] != OPERATE:
            raise ProtocolError("malformed call")
        if not guest.local:
            error = Forbidden(
                f"operation {frame[7]!r}: clients of other machines cannot operate on objects",
                hint="run the command on the machine of the data folder",
            )
            self._send(guest, [ERROR, frame[1], error.to_wire()])
        return guest.local

    # ------------------------------------------------------------------ from shards
    def replied(self, future: CallFuture, payload: bytes, stream: bool) -> None:
        relayed = cast("Relayed", future)
        self._send(relayed.guest, [REPLY, relayed.guest_call, payload, stream], len(payload))
        if stream:
            relayed.streams |= 2
        else:
            self._forget(relayed)

    def port(self, link: Link, host: bytes) -> ShardPort:
        """For what travels by reference over a link."""
        return self._references.session_came(link, host)

    def replied_carrying(self, future: CallFuture | None, link: Link, frame: Frame) -> None:
        """A result that holds what travels by reference."""
        relayed, (_, _, payload, ids) = cast("Relayed | None", future), frame
        if relayed is None or not relayed.guest.host:
            for export_id in cast("list[bytes]", ids):
                link.send([REF_DROP, export_id])
            if relayed is not None:
                self.failed(relayed, too_old())
            return
        self._references.given(relayed.guest, cast("list[bytes]", ids))
        self._look_after()
        self._send(relayed.guest, [REPLY_CARRYING, relayed.guest_call, payload, ids], len(payload))
        self._forget(relayed)

    def passed(self, relayed: Relayed, frame: Frame) -> None:
        """A chunk or credit on its way back."""
        if frame[0] == CREDIT:
            relayed.kept = None
        size = len(cast("bytes", frame[2])) if frame[0] == CHUNK else 0
        self._send(relayed.guest, [frame[0], relayed.guest_call, *frame[2:]], size)
        if frame[0] == CHUNK and frame[3]:
            self._forget(relayed)

    def failed(self, future: CallFuture, error: PerdureError) -> None:
        relayed = cast("Relayed", future)
        if relayed.streams & 2:
            self._send(relayed.guest, [CHUNK, relayed.guest_call, b"", True, error.to_wire()])
        else:
            self._send(relayed.guest, [ERROR, relayed.guest_call, error.to_wire()])
        self._forget(relayed)

    def moved(self, future: CallFuture, fields: object) -> None:
        """The shard does not have the slot any more: send it where our map says."""
        self.adopt(SlotMap.from_wire(fields), {})
        frame = future.call_frame
        frame[2] = self._map.epoch
        future.call_sent = False
        if frame[11] and cast("Relayed", future).kept is None:
            self.failed(future, NotConnected("the object moved while its request's body was being read"))
            return
        self._lanes[self._map.shard_of(cast("bytes", frame[4]))].send(future)

    def _forget(self, relayed: Relayed) -> None:
        self.pending.pop(relayed.call_id, None)
        relayed.guest.calls.pop(relayed.guest_call, None)
        if relayed.call_lane is not None:
            relayed.call_lane.parked.pop(relayed, None)

    # ------------------------------------------------------------------ out
    def _look_after(self) -> None:
        """A client holds something, or something of it is held: notice when it is gone."""
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._looking = None
        for guest in self._references.concerned():
            self._send(guest, STILL_THERE)
            self._look_after()

    def _send(self, guest: Guest, frame: Frame, size: int = 0) -> None:
        """`size`: bytes of its payload."""
        guest.queue.append(frame)
        guest.queued_bytes += size
        if not self._dirty:  # also after a message that left at once: it has eaten the edge of the descriptor
            self._loop.call_soon(self._flush)
        self._dirty[guest] = None
        if guest.queued_bytes > FLUSH_BYTES:  # one message may hold a bound of them
            self._flush_guest(guest)

    def _flush_guest(self, guest: Guest) -> None:
        queue, guest.queue, guest.queued_bytes = guest.queue, [], 0
        if not queue:
            return
        try:
            guest.socket.send_multipart((guest.identity, encode(queue)), NOBLOCK)
        except zmq.ZMQError:  # the client is gone: nobody waits for what it asked
            self._guests.pop((id(guest.socket), guest.identity), None)
            self._references.guest_gone(guest)
            for relayed in list(guest.calls.values()):
                relayed.send_also([CANCEL, relayed.call_id])
                self._forget(relayed)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for guest in dirty:
            self._flush_guest(guest)
        for socket in self._sockets:
            if not socket.closed and has_messages(socket):
                self._loop.call_soon(self._readable, socket)

    async def drain(self, seconds: float) -> None:
        """Let what is under way be answered."""
        end = self._loop.time() + seconds
        while self.pending and self._loop.time() < end:
            await asyncio.sleep(0.01)
        self._flush()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for lane in self._lanes.values():
            lane.close()
        for socket in self._sockets:
            self._loop.remove_reader(descriptor(socket))
            socket.close(1_000)
        self.context.term()
