"""How calls travel between tests, Workers and shards in one process: in order for one stub, by a schedule's delays otherwise.

What always holds: arguments and results are copies, as over a wire; each call ends with an answer or a typed error, by its
deadline at the latest; calls through one stub arrive in the order made, and so do their answers; what a dead process says
is not heard, and nobody answers it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Protocol, cast

from ..engine.calls import FETCH, REQUEST_ID, RPC, Call, Extras, MadeCall, Result
from ..engine.deadlines import CALL_S, too_late
from ..engine.errors import PerdureError, ShardLost, ValueTooLarge, from_wire
from ..engine.exports import Exports, Parcel
from ..engine.http import HttpRequest, HttpResponse
from ..engine.limits import VALUE_BYTES_MAX
from ..engine.stubs import OnReset
from ..engine.values import unpack
from ..engine.web_socket import WebSocket
from ..router.ports import Port, loopback
from ..router.slots import group_of
from ..router.socket_peers import SocketPeer
from ..router.wire import decode, encode
from ..sdk.adapter import fetch_through
from .holding import NOBODY, Holding
from .story import Story
from .virtual import VirtualLoop

DEADLINE_S = CALL_S


class Receiver(Protocol):
    """A shard's process, as the network sees it."""

    alive: bool
    name: str
    pending: dict[Pending, Call]
    """Calls that it has and has not answered."""

    def deliver(self, call: Call) -> None: ...
    def cancel(self, call: Call) -> None: ...


class Schedule(Protocol):
    """What is left open by the rules: how long things take, and who dies when."""

    def delay(self, kind: str, way: object) -> float:
        """Seconds that a "call", a "reply", a "request" or an "alarm" takes. `way`: the same for what stays in order."""
        ...

    def point(self, kind: str, process: Receiver) -> None:
        """A process is between two steps: it may be killed here. `kind`: one of `schedule.KINDS`."""
        ...

    def may_sleep(self, process: Receiver, object_id: bytes) -> None:
        """An event is about to reach an object: it may have left memory before."""
        ...


class Pending(MadeCall):
    """A call on its way, as its caller awaits it. Cancelling it tells the shard."""

    def __init__(self, network: Network, sender: Receiver | None, call: Call, on_reset: OnReset | None) -> None:
        super().__init__(loop=network.loop)
        self.call_network = network
        self.call_sender = sender
        self.call_request = call
        self.on_reset = on_reset
        self.call_receiver: Receiver | None = None
        self.call_deadline: asyncio.TimerHandle | None = None
        self.call_parcel: Parcel | None = None
        """What was exported for its arguments."""
        self.call_settled = False
        """Its answer, whatever it is, is on its way: no other will be."""

    def cancel(self, msg: object | None = None) -> bool:
        done = super().cancel(msg)
        if done:
            self.call_network.give_up(self)
        return done


class _Lane:
    """What travels one way through one stub: in order."""

    __slots__ = ("due_s", "queue")

    def __init__(self) -> None:
        self.queue: deque[tuple[float, Callable[..., None], tuple[object, ...]]] = deque()
        self.due_s = 0.0


class Network:
    """All ways of a world."""

    def __init__(self, loop: VirtualLoop, schedule: Schedule, story: Story) -> None:
        self.loop = loop
        self.schedule = schedule
        self.story = story
        self.groups: list[int] = []
        """Group of slots → index of its shard."""
        self.shards: list[Receiver | None] = []
        """Index → the process; None: it is down, and calls wait."""
        self.classes: dict[str, str] = {}
        """Class key → the class's name."""
        self._exports: dict[Receiver | None, Exports] = {}
        self._ports: dict[tuple[Receiver | None, Receiver], tuple[Port, Port]] = {}
        """For what travels by reference: who makes calls, who answers them; the end of each."""
        self.now_ms: Callable[[], int] = lambda: 0
        """The wall clock; a world sets it."""
        self.report: Callable[[str, str, dict[str, object]], None] = lambda _level, _event, _fields: None
        """The world's log."""
        self._holdings: dict[Receiver | None, Holding] = {}
        self._keepers = 0
        self._numbers = 0
        self._parked: list[Pending] = []
        self._lanes: dict[object, _Lane] = {}
        self._clean = Context()

    # ------------------------------------------------------------------ ways
    def travel(self, way: object, kind: str, arrive: Callable[..., None], *args: object) -> None:
        """Call `arrive(*args)` after the delay of `kind`, and after all that goes the same `way`."""
        delay = self.schedule.delay(kind, way)
        lane = self._lanes.get(way)
        if lane is None:
            if delay <= 0:
                self.loop.call_soon(arrive, *args, context=self._clean)
                return
            lane = self._lanes[way] = _Lane()
        lane.due_s = max(lane.due_s, self.loop.now_s + delay)
        lane.queue.append((lane.due_s, arrive, args))
        if len(lane.queue) == 1:
            self._next(way, lane)

    def _next(self, way: object, lane: _Lane) -> None:
        due_s = lane.queue[0][0]
        self.loop.call_exactly(due_s, self._arrived, way, lane, context=self._clean)

    def _arrived(self, way: object, lane: _Lane) -> None:
        _, arrive, args = lane.queue.popleft()
        try:
            arrive(*args)
        finally:
            if lane.queue:
                self._next(way, lane)
            else:
                del self._lanes[way]

    def soon(self, work: Callable[..., None], *args: object) -> None:
        """As code of nobody."""
        self.loop.call_soon(work, *args, context=self._clean)

    def after(self, seconds: float, work: Callable[..., None], *args: object) -> None:
        """The same, when so much time has passed."""
        self.loop.call_exactly(self.loop.now_s + seconds, work, *args, context=self._clean)

    # ------------------------------------------------------------------ sockets
    def holding_of(self, process: Receiver | None) -> Holding:
        """The sockets of objects that a process holds; None: the keeper, the Worker and tests."""
        found = self._holdings.get(process)
        if found is None:
            if process is None:
                self._keepers += 1
            name = f"keeper 0 {self._keepers}" if process is None else f"{process.name} {len(self._holdings)}"
            found = self._holdings[process] = Holding(self, process, name)
        return found

    def holders(self, process: Receiver) -> list[SocketPeer]:
        """All that hold sockets, as a process reaches them."""
        found = [holding.peers(process) for holding in self._holdings.values()]
        return [peer for peer in found if peer is not None]

    def lose_keeper(self) -> None:
        """As kill -9 of who holds connections: they are cut, and the next keeper tells their objects."""
        old = self._holdings.pop(None, None)
        if old is None:
            return
        for ref in old.end():
            self.holding_of(None).sockets.lost(ref, NOBODY)

    def process_of(self, object_id: bytes) -> Receiver | None:
        """Who has the object; None: nobody now."""
        return self.shards[self.groups[group_of(object_id)]]

    # ------------------------------------------------------------------ what travels by reference
    def exports_of(self, process: Receiver | None) -> Exports:
        """What a process has sent by reference; None: tests and Workers."""
        found = self._exports.get(process)
        if found is None:
            found = self._exports[process] = Exports(self.loop, self._number)
            found.through = self.loop.through
        return found

    def _number(self, count: int) -> bytes:
        self._numbers += 1
        return self._numbers.to_bytes(count, "big")

    def ports(self, sender: Receiver | None, receiver: Receiver) -> tuple[Port, Port]:
        """Both ends of the link by which `sender` makes calls of `receiver`."""
        found = self._ports.get((sender, receiver))
        if found is None:
            there = self._port(sender, receiver, 1)
            back = self._port(receiver, sender, 0)
            found = self._ports[sender, receiver] = (there, back)
        return found

    def _port(self, mine: Receiver | None, other: Receiver | None, end: int) -> Port:
        """The end that is at `mine`; `end`: which of the two is the other one."""

        def arrive(frame: list[object]) -> None:
            if other is not None and not other.alive:
                return
            self._port_of(mine, other, end).receive(frame)

        def send(frame: list[object], _size: int) -> None:
            if mine is None or mine.alive:
                self.travel(("link", mine, other, end), "call", arrive, decode(encode([frame]))[0])

        return Port(self.exports_of(mine), send, DEADLINE_S)

    def _port_of(self, mine: Receiver | None, other: Receiver | None, end: int) -> Port:
        key = (mine, other) if end == 1 else (other, mine)
        return self._ports[cast("tuple[Receiver | None, Receiver]", key)][end]

    # ------------------------------------------------------------------ there
    def introduce(self, class_key: str, object_id: bytes, name: str | None) -> None:
        """The story tells of the object by its class and name."""
        if object_id not in self.story.names:
            self.story.names[object_id] = f"{self.classes.get(class_key, class_key)}/{name or object_id.hex()[:12]}"

    def leave(self, pending: Pending, deadline_s: float | None) -> None:
        """Begin a call of an object, when the running step is over."""
        self.loop.call_soon(self._leave, pending, deadline_s, context=self._clean)

    def _leave(self, pending: Pending, deadline_s: float | None) -> None:
        sender = pending.call_sender
        assert sender is not None, "an object's call has a sender"
        if sender.alive:
            self.schedule.point("send", sender)
        if sender.alive and not pending.done():
            self.send(pending, deadline_s)

    def send(self, pending: Pending, deadline_s: float | None) -> None:
        """Begin a call."""
        call = pending.call_request
        self.introduce(call.class_key, call.object_id, call.name)
        self.story.tell("call", call.object_id, method=call.method)
        if len(call.payload) > VALUE_BYTES_MAX:
            size = len(call.payload)
            pending.set_exception(ValueTooLarge(f"the arguments are {size} bytes, the limit is {VALUE_BYTES_MAX}"))
            return
        after = DEADLINE_S if deadline_s is None else deadline_s
        call.within_s = after
        pending.call_deadline = self.loop.call_exactly(self.loop.now_s + after, self._too_late, pending, after)
        self.travel((pending.call_sender, call.object_id, pending.on_reset), "call", self._arrive, pending)

    def _arrive(self, pending: Pending) -> None:
        if pending.done():
            return
        call = pending.call_request
        process = self.shards[self.groups[group_of(call.object_id)]]
        if process is None:
            self._parked.append(pending)
            return
        self.schedule.may_sleep(process, call.object_id)
        self.schedule.point("arrive", process)
        if not process.alive:
            self._return(pending, _lost(process, "it was killed"))
            return
        call.origin = (pending, process)
        if pending.call_parcel is not None:
            call.received = self.exports_of(process).received(self.ports(pending.call_sender, process)[1])
        pending.call_receiver = process
        process.pending[pending] = call
        self.story.tell("arrives", call.object_id, method=call.method, shard=process.name)
        process.deliver(call)

    def serves(self, index: int, process: Receiver) -> None:
        """A shard is there: calls that waited for it go on, in their order."""
        self.shards[index] = process
        for holding in self._holdings.values():
            holding.meets(process)
        parked, self._parked = self._parked, []
        for pending in parked:
            self.loop.call_soon(self._arrive, pending, context=self._clean)

    # ------------------------------------------------------------------ back
    def answered(self, call: Call, result: Result) -> None:
        """What a process says to a call; it is not heard when the process is dead."""
        pending, process = cast("tuple[Pending, Receiver | None]", call.origin or (None, None))
        call.origin = None  # a callee that lives on must not keep what its caller got
        if process is None or pending not in process.pending:
            if isinstance(result, Parcel):
                result.withdraw()
            return
        if process.alive:
            self.schedule.point("reply", process)
        if not process.alive:
            return
        del process.pending[pending]
        if call.received is not None:
            call.received.returned()
        if isinstance(result, Parcel):
            self.ports(pending.call_sender, process)[1].hand_over(result)
        self._return(pending, result)

    def lost(self, process: Receiver, reason: str) -> None:
        """A process is gone: who waits for it is told."""
        if process in self.shards:
            self.shards[self.shards.index(process)] = None
        self._holder_lost(process)
        for key in [found for found in self._ports if process in found]:
            for port in self._ports.pop(key):
                port.lost()
        self._exports.pop(process, None)
        pendings, process.pending = process.pending, {}
        for pending in pendings:
            self._return(pending, _lost(process, reason))

    def _holder_lost(self, process: Receiver) -> None:
        """What a dead process held has ended; who holds sockets of its objects waits for the next."""
        gone = self._holdings.pop(process, None)
        if gone is not None:
            gone.end()
        for holding in self._holdings.values():
            holding.leaves(process)

    def _return(self, pending: Pending, result: Result) -> None:
        if pending.done() or pending.call_settled:
            return
        pending.call_settled = True
        self.travel(
            ("back", pending.call_sender, pending.call_request.object_id, pending.on_reset),
            "reply",
            self._finish,
            pending,
            result,
        )

    def _finish(self, pending: Pending, result: Result) -> None:
        if pending.call_deadline is not None:
            pending.call_deadline.cancel()
        if pending.done() or (pending.call_sender is not None and not pending.call_sender.alive):
            if isinstance(result, Parcel) and (pending.call_sender is None or pending.call_sender.alive):
                self._port_for(pending).refuse(result.ids)
            return
        if pending.call_sender is not None:
            self.schedule.point("hear", pending.call_sender)
            if not pending.call_sender.alive:
                return
        call = pending.call_request
        value: object = None
        failure = result if isinstance(result, PerdureError) else None
        try:
            if isinstance(result, Parcel):
                value = self._port_for(pending).unpack_result(result.payload, result.ids)
            else:
                value = unpack(result) if isinstance(result, bytes) else result
        except PerdureError as error:
            failure = error
        if failure is not None:  # a value may be an exception too, and raises nothing
            error = from_wire(failure.to_wire())
            text = error.message.strip().rsplit("\n", 1)[-1].strip()  # of a traceback the line that says what it is
            self.story.tell("fails", call.object_id, method=call.method, error=f"{type(error).__name__}: {text[:120]}")
            pending.set_exception(error)
            if error.durableObjectReset and pending.on_reset is not None:
                pending.on_reset(error)
            return
        if isinstance(value, HttpResponse):
            socket = value.web_socket
            if socket is not None and socket.ref is not None:
                protocol = next((text for name, text in value.headers if name.lower() == "sec-websocket-protocol"), "")
                socket = WebSocket.of_ref(socket.ref, self.holding_of(pending.call_sender), protocol)
            value = HttpResponse(value.status, list(value.headers), value.body, value.status_text, socket)
        self.story.tell(
            "answer", call.object_id, method=call.method, result=result if isinstance(result, bytes) else b""
        )
        pending.set_result(value)

    def _port_for(self, pending: Pending) -> Port:
        """The caller's end of the link by which the answer came."""
        assert pending.call_receiver is not None, "somebody has answered it"
        return self.ports(pending.call_sender, pending.call_receiver)[0]

    # ------------------------------------------------------------------ giving up
    def give_up(self, pending: Pending) -> None:
        """The caller does not want the answer any more."""
        if pending.call_deadline is not None:
            pending.call_deadline.cancel()
        process = pending.call_receiver
        call = process.pending.get(pending) if process is not None else None
        if process is not None and call is not None and process.alive:
            process.cancel(call)

    def _too_late(self, pending: Pending, seconds: float) -> None:
        if pending.done() or (pending.call_sender is not None and not pending.call_sender.alive):
            return
        self.give_up(pending)
        call = pending.call_request
        labels = [label for _, label in call.trail]
        pending.set_exception(too_late(seconds, [*labels, self.story.names[call.object_id]]))


def _lost(process: Receiver, reason: str) -> ShardLost:
    return ShardLost(
        f"the connection to {process.name} was lost while the call was running: {reason}",
        hint="the call may have run; repeat it if that does no harm",
    )


def _returned(pending: asyncio.Future[object]) -> None:
    """What was exported for the arguments of a call is let go when it ends, but for what its receiver has kept."""
    parcel = cast("Pending", pending).call_parcel
    if parcel is not None:
        parcel.returned()


class Caller:
    """Implements the engine's Transport for who calls: a process, or None for tests and Workers."""

    def __init__(self, network: Network, sender: Receiver | None) -> None:
        self._network = network
        self.sender = sender
        self.exports = network.exports_of(sender)
        """What its process has sent by reference."""
        if self.exports.transport is None:
            self.exports.transport, self.exports.fetch_adapter = self, fetch_through

    def loopback(self) -> tuple[Port, Port]:
        """Both ends of a link from its process to itself."""
        return loopback(self.exports, DEADLINE_S)

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
        """Queue a remote call."""
        call = Call(class_key, object_id, name, RPC, method, args, self._network.answered, None, REQUEST_ID.get())
        return self._begin(call, deadline_s, on_reset, extras)

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
        """Queue a fetch."""
        copy = HttpRequest(request.method, request.url, list(request.headers), request.body)
        call = Call(class_key, object_id, name, FETCH, "fetch", b"", self._network.answered, copy, REQUEST_ID.get())
        return cast("Awaitable[HttpResponse]", self._begin(call, deadline_s, on_reset, extras))

    def _begin(
        self, call: Call, deadline_s: float | None, on_reset: OnReset | None, extras: Extras | None
    ) -> Awaitable[object]:
        if extras is not None:
            call.chain, call.trail, call.key = extras.chain, extras.trail, extras.key
        pending = Pending(self._network, self.sender, call, on_reset)
        if extras is not None and extras.parcel is not None:
            pending.call_parcel = extras.parcel
            pending.add_done_callback(_returned)
        if self.sender is None:
            self._network.send(pending, deadline_s)
        else:  # after the step that makes it: a process does not die inside of one
            self._network.leave(pending, deadline_s)
        return self._network.loop.through(pending)
