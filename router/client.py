"""The router client: what gateways, shards and embedding programs reach objects with.

    async with perdure.connect() as client:
        counter = client.namespace("Counter").getByName("a")
        await counter.increment()

What always holds: calls through one stub reach the object in the order made; every call ends with an answer or a typed error,
by its deadline at the latest. Its modules import pyzmq and msgpack only.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar, cast

import zmq

from ..engine.calls import FETCH, OPERATE, REQUEST_ID, RPC, Extras
from ..engine.deadlines import CALL_S, too_late
from ..engine.errors import (
    ClassNotFound,
    ConfigError,
    InvalidArgument,
    NotConnected,
    PerdureError,
    ProgramBug,
    ValueTooLarge,
)
from ..engine.exports import Exports
from ..engine.http import HttpRequest, HttpResponse
from ..engine.ids import ClassKey
from ..engine.limits import BODY_INLINE_BYTES_MAX, VALUE_BYTES_MAX
from ..engine.retrying import RetryPolicy
from ..engine.stubs import Namespace, OnReset
from ..engine.value_types import look_further
from ..engine.values import pack, unpack
from .addresses import find_address
from .calls import CallFuture
from .class_names import ClassNames
from .held_sockets import HeldSockets
from .lanes import Lane
from .links import Link
from .ports import Port, loopback
from .retries import with_retry
from .slots import EMPTY, ShardPlace, SlotMap
from .streams import Incoming
from .wire import CALL, CALL_LENGTH, CANCEL, Frame, decode_response, encode_request

DEADLINE_S = CALL_S
CONNECT_S = 5.0
_SCAN_S = 0.1
T = TypeVar("T")

_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork() -> None:
    for client in _clients:
        client._forked = True


os.register_at_fork(after_in_child=_after_fork)


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    """A body that is whole, as a stream."""
    yield data


class Client:
    """Implements the engine's Transport over one lane a shard. Belongs to the event loop that it was made on."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        deadline_s: float = DEADLINE_S,
        role: str = "client",
        retry: RetryPolicy | None = None,
    ) -> None:
        self._retry = retry
        self.pending: dict[int, CallFuture] = {}
        self._class_names = ClassNames()
        self.classes = self._class_names.names
        """Class name → its key."""
        self._loop = loop
        self.exports = Exports(loop, secrets.token_bytes)
        """What this process has sent by reference."""
        self.exports.transport, self.exports.fetch_adapter = self, _fetch_through
        self.host = self.exports.host
        self._deadline_s = deadline_s
        self._deadline_ms = int(deadline_s * 1000)
        self._role = role
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._map = EMPTY
        self._lanes: dict[int, Lane] = {}
        self._relay: Lane | None = None
        self._hub: Lane | None = None
        self._next_id = 0
        self._closed = False
        self._forked = False
        self._now_s = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._mapped: asyncio.Future[None] | None = None
        self.sockets = HeldSockets(loop, self, f"{role} {secrets.token_hex(6)}")
        """Sockets of objects that this process holds."""
        _clients.add(self)

    @classmethod
    def in_process(
        cls,
        loop: asyncio.AbstractEventLoop,
        slot_map: SlotMap,
        classes: Mapping[str, str],
        *,
        role: str,
        deadline_s: float = DEADLINE_S,
    ) -> Client:
        """For the runtime's own processes: the supervisor tells the map (`adopt`)."""
        client = cls(loop, deadline_s=deadline_s, role=role)
        client.adopt(slot_map, classes)
        return client

    # ------------------------------------------------------------------ opening, closing
    async def open(self, address: str, *, relay: bool, keys: str | None = None) -> None:
        """Connect to a router endpoint. Raises NotConnected, VersionMismatch, ConfigError."""
        curve = None
        if address.startswith("tcp://"):
            from .keys import read_client

            curve = read_client(keys)
        self._mapped = self._loop.create_future()
        hub = Lane("the router endpoint", self._context, self._loop, self, self._role, self._refused, curve)
        self._hub = hub
        if relay:
            self._relay = hub
        try:
            hub.lead_to(ShardPlace("", address))
        except zmq.ZMQError as error:
            raise ConfigError(
                f"{address!r} is no address: {error.strerror}", hint="an address begins with ipc:// or tcp://"
            ) from error
        try:
            await asyncio.wait_for(self._mapped, CONNECT_S)
        except TimeoutError:
            raise NotConnected(
                f"no perdure answers at {address} within {CONNECT_S:.0f} s",
                hint="is it running? `perdure run`; over tcp:// the keys must be accepted too",
            ) from None

    def _refused(self, error: PerdureError) -> None:
        if self._mapped is not None and not self._mapped.done():
            self._mapped.set_exception(error)

    async def close(self) -> None:
        """Fail what is pending, and cancel what of it runs; close the sockets."""
        if self._closed:
            return
        for future in list(self.pending.values()):
            if future.call_sent:
                future.send_also([CANCEL, future.call_id])
            self.failed(future, NotConnected("the client was closed"))
        self._closed = True
        self.sockets.close()
        if self._timer is not None:
            self._timer.cancel()
        for lane in (*self._lanes.values(), *([self._hub] if self._hub else [])):
            lane.close()
        self._context.destroy(0)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    # ------------------------------------------------------------------ the map
    def adopt(self, slot_map: SlotMap, classes: Mapping[str, str]) -> None:
        """Follow a newer map; an older one is ignored."""
        self._class_names.follow(slot_map.epoch, classes)
        if slot_map.epoch <= self._map.epoch:
            return
        self._map = slot_map
        for index, place in slot_map.shards.items():
            if self._relay is not None:
                break
            lane = self._lanes.get(index)
            if lane is None:
                lane = self._lanes[index] = Lane(f"shard {index}", self._context, self._loop, self, self._role)
                lane.sockets = self.sockets
            lane.lead_to(place)
        if self._mapped is not None and not self._mapped.done():
            self._mapped.set_result(None)

    def mapped(self, fields: object, classes: object) -> None:
        """The endpoint told a map."""
        self.adopt(SlotMap.from_wire(fields), cast("dict[str, str]", classes or {}))

    @property
    def epoch(self) -> int:
        """Of the map that calls go by."""
        return self._map.epoch

    def way(self, object_id: bytes) -> Lane:
        """To the shard of an object."""
        return self._lane(object_id)

    def _lane(self, object_id: bytes) -> Lane:
        if self._relay is not None:
            return self._relay
        return self._lanes[self._map.groups[object_id[0] >> 2]]

    # ------------------------------------------------------------------ what users call
    def namespace(self, name: str) -> Namespace:
        """All objects of a class. Raises ClassNotFound."""
        unique = self.classes.get(name)
        if unique is None:
            known = ", ".join(sorted(self.classes)) or "none"
            raise ClassNotFound(f"no class {name!r} is served", hint=f"known: {known}")
        return with_retry(Namespace(ClassKey(unique), self, _fetch_through), self._retry)

    def get(self, cls: type[T], name: str) -> T:
        """The stub of an object, typed as its class: `await client.get(Counter, "a").increment()`."""
        return cast("T", self.namespace(cls.__name__).getByName(name))

    # ------------------------------------------------------------------ Transport
    def call(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        method: str,
        args: bytes,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[object]:
        """Queue a remote call. The awaitable gives the unpacked result or raises PerdureError."""
        future = self._start(RPC, class_key, object_id, name, method, args, deadline_s, None, extras)
        future.on_reset = on_reset
        return future

    def fetch(
        self,
        class_key: str,
        object_id: bytes,
        name: str | None,
        request: HttpRequest,
        deadline_s: float | None = None,
        on_reset: OnReset | None = None,
        extras: Extras | None = None,
    ) -> Awaitable[HttpResponse]:
        """Queue a fetch. The awaitable gives the response, its body whole or streaming, or raises PerdureError."""
        body = request.body
        if isinstance(body, bytes) and len(body) > BODY_INLINE_BYTES_MAX:
            body = one_chunk(body)
            request = HttpRequest(request.method, request.url, request.headers, body)
        stream = body if body is not None and not isinstance(body, bytes) else None
        packed = encode_request(request)
        future = self._start(FETCH, class_key, object_id, name, "fetch", packed, deadline_s, stream, extras)
        future.on_reset = on_reset
        return cast("Awaitable[HttpResponse]", future)

    # ------------------------------------------------------------------ operations
    @property
    def shards(self) -> list[int]:
        """Indices of the shards, for `operate`."""
        return sorted(self._map.shards)

    def operate(
        self, target: bytes | int, operation: str, *, deadline_s: float | None = None, **arguments: object
    ) -> Awaitable[object]:
        """Ask the shard of an object (`target`: its 32 bytes), or a shard by index, for an operation outside any turn.

        The awaitable gives plain values. It raises OperationNotFound, InvalidArgument for wrong arguments, Forbidden over
        tcp://, VersionMismatch when the other side knows no operations, DeadlineExceeded, and what the operation raises.
        """
        object_id = self._map.address_of(target) if isinstance(target, int) else target
        if len(object_id) != 32:
            raise InvalidArgument(f"an object's id is 32 bytes, got {len(object_id)}")
        lane = self._lane(object_id)
        if lane.ready and OPERATE not in lane.kinds:
            raise lane.not_understood()
        return self._start(OPERATE, "", object_id, None, operation, pack(arguments), deadline_s, None)

    def _start(
        self,
        kind: int,
        class_key: str,
        object_id: bytes,
        name: str | None,
        method: str,
        payload: bytes,
        deadline_s: float | None,
        body: object,
        extras: Extras | None = None,
    ) -> CallFuture:
        if self._closed or self._forked or asyncio._get_running_loop() is not self._loop:
            self._misused()
        self._next_id = call_id = self._next_id + 1
        future = CallFuture(loop=self._loop)
        if self._timer is None:
            self._now_s = self._loop.time()
            self._timer = self._loop.call_later(_SCAN_S, self._scan)
        if deadline_s is None:
            future.deadline_s = self._now_s + self._deadline_s
            deadline_ms = self._deadline_ms
        else:
            future.deadline_s = self._now_s + deadline_s
            deadline_ms = int(deadline_s * 1000)
        future.call_id = call_id
        future.call_frame = [
            CALL,
            call_id,
            self._map.epoch,
            class_key,
            object_id,
            name,
            kind,
            method,
            payload,
            deadline_ms,
            REQUEST_ID.get(),
            body is not None,
        ]
        if extras is not None:
            future.call_frame.append(extras.to_wire())
            if extras.parcel is not None:
                future.call_parcel = extras.parcel
                future.add_done_callback(_returned)
        if body is not None:
            future.call_body = body
        self.pending[call_id] = future
        if len(payload) > VALUE_BYTES_MAX:
            self.failed(
                future, ValueTooLarge(f"the arguments are {len(payload)} bytes, the limit is {VALUE_BYTES_MAX}")
            )
        else:
            lane = self._relay or self._lanes[self._map.groups[object_id[0] >> 2]]
            lane.send(future)
        return future

    def _misused(self) -> None:
        if self._forked:
            raise ProgramBug("this client was made before the process forked", hint="connect again in the child")
        if self._closed:
            raise NotConnected("the client was closed")
        raise ProgramBug(
            "this client belongs to another event loop or thread",
            hint="make one client a loop, or use perdure.blocking for threads",
        )

    # ------------------------------------------------------------------ Answers
    def replied(self, future: CallFuture, payload: bytes, stream: bool) -> None:
        frame = future.call_frame
        fetched = frame[6] == FETCH
        if fetched and future.call_outgoing is not None and not stream:
            future.call_outgoing.cancel()
        if stream:
            self._stream_response(future, payload)
            return
        del self.pending[frame[1]]
        if future.done():
            return
        try:
            result = decode_response(payload, self.sockets) if fetched else unpack(payload)
        except PerdureError as error:
            future.set_exception(error)
            return
        future.set_result(result)

    def port(self, link: Link, host: bytes) -> Port:
        """For what travels by reference over a link."""
        return Port(self.exports, link.send, self._deadline_s)

    def loopback(self) -> tuple[Port, Port]:
        """Both ends of a link from this process to itself."""
        return loopback(self.exports, self._deadline_s)

    def replied_carrying(self, future: CallFuture | None, link: Link, frame: Frame) -> None:
        """A result that holds what travels by reference."""
        port, (_, _, payload, ids) = link.port, frame
        assert isinstance(port, Port), "the other side answers so only who understands it"
        if future is None or future.done():
            port.refuse(ids)
            return
        del self.pending[future.call_id]
        try:
            future.set_result(port.unpack_result(payload, ids))
        except PerdureError as error:
            future.set_exception(error)

    def _stream_response(self, future: CallFuture, payload: bytes) -> None:
        """The head is the answer; the call stays pending until its body has ended."""
        response = decode_response(payload, self.sockets)

        def closed(early: bool) -> None:
            self.pending.pop(future.call_id, None)
            if future.call_outgoing is not None:
                future.call_outgoing.cancel()
            if early:
                future.send_also([CANCEL, future.call_id])

        future.deadline_s = float("inf")
        response.body = future.call_incoming = Incoming(self._loop, future.call_id, future.send_also, closed)
        if not future.done():
            future.set_result(response)

    def failed(self, future: CallFuture, error: PerdureError) -> None:
        self.pending.pop(future.call_id, None)
        if future.call_lane is not None:
            future.call_lane.parked.pop(future, None)
        if future.call_outgoing is not None:
            future.call_outgoing.cancel()
        if future.call_incoming is not None:
            future.call_incoming.fail(error)
        elif not future.done():
            future.set_exception(error)
        if error.durableObjectReset and future.on_reset is not None and _is_of(error, future):
            future.on_reset(error)

    def moved(self, future: CallFuture, fields: object) -> None:
        """The shard does not have the object's slot: nothing has run, so send it where the newer map says."""
        self.mapped(fields, None)
        frame = future.call_frame
        frame[2] = self._map.epoch
        future.call_sent = False
        if future.call_outgoing is not None and not future.call_outgoing.hold():
            self.failed(future, NotConnected("the object moved while its request's body was being read"))
            return
        self._lane(frame[4]).send(future)

    # ------------------------------------------------------------------ deadlines
    def _scan(self) -> None:
        """One coarse timer for all deadlines; it rests while nothing is pending."""
        self._timer = None
        self._now_s = now = self._loop.time()
        late = [future for future in self.pending.values() if future.deadline_s < now]
        for future in late:
            if future.call_sent:
                future.send_also([CANCEL, future.call_id])
            self.failed(future, too_late(cast("int", future.call_frame[9]) / 1000, _path(future.call_frame)))
        if self.pending:
            self._timer = self._loop.call_later(_SCAN_S, self._scan)

    def statistics(self) -> dict[str, int]:
        parked = sum(len(lane.parked) for lane in self._lanes.values())
        return {"pending": len(self.pending), "parked": parked, "epoch": self._map.epoch}


def _fetch_through(
    send: Callable[[HttpRequest], Awaitable[HttpResponse]], request: object, init: dict[str, object]
) -> Awaitable[object]:
    from ..sdk.adapter import fetch_through  # which a client that never fetches does not need

    return fetch_through(send, request, init)


def _values_of_the_sdk() -> None:
    from ..sdk import crossing as crossing  # a client that gets no response or stream from a method does not need it


look_further(_values_of_the_sdk)


def _path(frame: Frame) -> list[str]:
    """The objects that led to a call, and the one that is called."""
    links = cast("list[list[str]]", frame[CALL_LENGTH][0]) if len(frame) > CALL_LENGTH else []
    name = frame[5] or cast("bytes", frame[4]).hex()[:12]
    return [*(link[3] for link in links), f"{frame[3]}/{name}" if frame[3] else "the shard"]


def _returned(future: asyncio.Future[object]) -> None:
    """What was exported for the arguments of a call is let go when it ends, but for what its receiver has kept."""
    parcel = cast("CallFuture", future).call_parcel
    if parcel is not None:
        parcel.returned()


def _is_of(error: PerdureError, future: CallFuture) -> bool:
    """Whether the object that was called was reset, not one that it called in its turn."""
    return error.durableObjectId is None or error.durableObjectId == cast("bytes", future.call_frame[4]).hex()


class Connecting:
    """What `connect` gives: `async with` it, or `await` it and close the client yourself."""

    def __init__(
        self,
        address: str | None,
        deadline_s: float,
        relay: bool | None,
        keys: str | None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._address, self._deadline_s, self._relay, self._keys = address, deadline_s, relay, keys
        self._retry = retry
        self._client: Client | None = None

    async def _open(self) -> Client:
        address = self._address or find_address()
        client = Client(asyncio.get_running_loop(), deadline_s=self._deadline_s, retry=self._retry)
        relay = address.startswith("tcp://") if self._relay is None else self._relay
        try:
            await client.open(address, relay=relay, keys=self._keys)
        except BaseException:
            await client.close()
            raise
        return client

    def __await__(self):
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(self, *_exc: object) -> None:
        if self._client is not None:
            await self._client.close()


def connect(
    address: str | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    relay: bool | None = None,
    keys: str | None = None,
    retry: RetryPolicy | None = None,
) -> Connecting:
    """Connect to a running perdure. `address`: of its router endpoint (ipc:// or tcp://).

    None: PERDURE_ADDRESS, else the one runtime of this user that is running. `deadline_s`: for calls that say nothing else.
    `relay`: send everything through the endpoint; by default over tcp:// only. `keys`: folder of `perdure keys new`, needed
    over tcp://. `retry`: for calls of all stubs (`Retry`); by default none is made twice. Raises NotConnected, VersionMismatch,
    ConfigError when it is awaited or entered.
    """
    return Connecting(address, deadline_s, relay, keys, retry)
