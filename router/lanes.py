"""The way to one shard: a link while it serves, a queue of parked calls while it does not.

What always holds: calls leave in the order made; when the process behind the link is gone, each call that was sent fails with
ShardLost, each that was not is kept for its successor.

A planned hand-off: the map names a new session while the process of the old one still answers what it has begun. Its link stays
until all of that is answered. What it has not begun it gives back (MOVED); only when it has said that nothing more comes back
(it answers a PING after that) do calls go to the new session, so none overtakes one that was made before it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import zmq

from ..engine.calls import FETCH, RPC
from ..engine.errors import NotConnected, PerdureError, ProtocolError, ShardLost, VersionMismatch, from_wire
from .calls import CallFuture
from .links import Link, LinkPort
from .slots import ShardPlace
from .streams import Outgoing
from .wire import (
    CALL_LENGTH,
    CANCEL,
    CHUNK,
    CREDIT,
    ERROR,
    HELLO,
    MAP,
    MOVED,
    PING,
    PONG,
    REF_FRAMES,
    REPLY,
    REPLY_CARRYING,
    SOCKET_EFFECTS,
    SOCKET_FRAMES,
    VERSION,
    WELCOME,
    Frame,
    decode,
)

_REOPEN_S = 0.2


class Answers(Protocol):
    """What a lane hands back."""

    pending: dict[int, CallFuture]
    host: bytes
    """How the numbers of what this side sends by reference begin."""

    def port(self, link: Link, host: bytes) -> LinkPort: ...
    def replied(self, future: CallFuture, payload: bytes, stream: bool) -> None: ...
    def replied_carrying(self, future: CallFuture | None, link: Link, frame: Frame) -> None: ...
    def failed(self, future: CallFuture, error: PerdureError) -> None: ...
    def moved(self, future: CallFuture, fields: object) -> None: ...
    def mapped(self, fields: object, classes: object) -> None: ...


class LaneSockets(Protocol):
    """The sockets that the process holds, as a lane tells them of the shard."""

    identity: str

    def needs(self, way: Lane) -> bool:
        """Whether something for its objects is not acknowledged."""
        ...

    def ready(self, way: Lane) -> None:
        """A session serves: it knows nothing yet of what was sent before."""
        ...

    def parted(self, way: Lane, died: bool) -> None:
        """Nothing can be sent until `ready`. `died`: the session is gone; else it is handing over, and may still acknowledge."""
        ...

    def receive(self, way: Lane, frame: Frame) -> None: ...
    def receive_late(self, way: Lane, frame: Frame) -> None:
        """From a session that has handed over, after it has told: the next one runs again what has not been acknowledged."""
        ...


class _Leaving:
    """What a link to the session before is still needed for."""

    __slots__ = ("acknowledges", "calls", "told")

    def __init__(self, calls: set[int]) -> None:
        self.calls = calls
        """Sent there and not answered."""
        self.told = False
        """It has given back everything that it had not begun."""
        self.acknowledges = False
        """It may still acknowledge what was sent of sockets, until it has told."""


class Lane:
    """All calls of one client to one shard, or to the router endpoint that relays them."""

    def __init__(
        self,
        name: str,
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        answers: Answers,
        role: str,
        on_refused: Callable[[PerdureError], None] | None = None,
        curve: tuple[bytes, bytes, bytes] | None = None,
    ) -> None:
        self.name = name
        self.ready = False
        self.kinds: frozenset[int] = frozenset((RPC, FETCH))
        """Kinds of calls that the other side understands; known when ready."""
        self.takes_extras = False
        """Whether the other side understands chains and idempotency keys; known when ready."""
        self.link: Link | None = None
        self.parked: dict[CallFuture, None] = {}
        self._context = context
        self._loop = loop
        self._answers = answers
        self._role = role
        self._on_refused = on_refused
        self._curve = curve
        self._place: ShardPlace | None = None
        self._welcome = False
        self._leaving: dict[Link, _Leaving] = {}
        self.sockets: LaneSockets | None = None
        """Those that the process holds; None: it is no place for that."""
        self.takes_sockets = False
        """Whether the other side understands them; known when ready."""
        self._early: list[Frame] = []
        """Of sockets, from a session that serves already while the one before it has not told yet."""
        self._reopening: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ where it leads
    def lead_to(self, place: ShardPlace) -> None:
        """Follow the shard to where it is now. A new session means that the one before is gone, or answers its last."""
        old, self._place = self._place, place
        if old is not None and old.session != place.session and self.link is not None:
            self._leave(self.link)
        if place.endpoint is not None and self.link is None:
            self._open()

    def _leave(self, link: Link) -> None:
        """The link's session takes no calls any more: keep it for the answers that it owes."""
        self._hear_early()
        welcome = self._welcome
        self.link, self.ready, self._welcome = None, False, False
        calls = {f.call_id for f in self._answers.pending.values() if f.call_link is link and f.call_sent}
        sockets = self.sockets
        # One that has not answered the greeting was sent nothing, and one that never connected is never lost.
        acknowledges = welcome and sockets is not None and sockets.needs(self)
        if sockets is not None:
            sockets.parted(self, False)
        if not calls and not acknowledges and (link.port is None or not link.port.needed):
            link.close()
            return
        self._leaving[link] = leaving = _Leaving(calls)
        leaving.acknowledges = acknowledges
        link.send([PING, 0])

    def _left(self, link: Link, leaving: _Leaving) -> None:
        """Something has come over a link that is being left: is it needed any longer?"""
        if leaving.acknowledges and not leaving.told:
            return
        found = ((call_id, self._answers.pending.get(call_id)) for call_id in leaving.calls)
        leaving.calls = {call_id for call_id, f in found if f is not None and f.call_sent and f.call_link is link}
        if not leaving.calls and link.port is not None and link.port.needed:
            leaving.told = True  # what was sent by reference lives as long as the process
        elif not leaving.calls:  # what was given back is not its any more
            leaving.told = True
            del self._leaving[link]
            link.close()
        self._go_on()

    def _open(self) -> None:
        self._reopening = None
        if self._place is None or self._place.endpoint is None or self.link is not None:
            return
        self.link = Link(self._context, self._loop, self._place.endpoint, self._on_message, self._on_lost, self._curve)
        fields: dict[str, object] = {"references": self._answers.host}
        if self.sockets is not None:
            fields["sockets"] = self.sockets.identity
        self.link.send([HELLO, [VERSION], self._role, fields])

    def _on_lost(self, link: Link, reason: str) -> None:
        leaving = self._leaving.pop(link, None)
        if leaving is not None:
            link.close()
            self._fail_sent(link, reason)
            if self.sockets is not None and not leaving.told:
                self.sockets.parted(self, True)  # it has not handed over: the map was faster than the news of its death
            self._go_on()
            return
        if link is not self.link:
            return
        if reason.startswith("refused") and self._on_refused is not None:
            self._on_refused(NotConnected(f"{link.endpoint} {reason}", hint="give the keys that the router knows"))
        self._hear_early()
        self.link, self.ready, self._welcome = None, False, False
        link.close()
        self._fail_sent(link, reason)
        if self.sockets is not None:
            self.sockets.parted(self, True)
        if self._reopening is None:
            self._reopening = self._loop.call_later(_REOPEN_S, self._open)

    def _fail_sent(self, link: Link, reason: str) -> None:
        for future in [f for f in self._answers.pending.values() if f.call_link is link and f.call_sent]:
            error = ShardLost(
                f"the connection to {self.name} was lost while the call was running: {reason}",
                hint="the call may have run; repeat it if that does no harm",
            )
            self._answers.failed(future, error)

    # ------------------------------------------------------------------ out
    def send(self, future: CallFuture) -> None:
        """Send a call, or park it until the shard serves."""
        future.call_lane = self
        link = self.link
        if link is None or not self.ready:
            self.parked[future] = None
            return
        frame = future.call_frame  # reading an attribute of a call costs: it answers every name
        if len(frame) > CALL_LENGTH and not self._takes(future, link):
            return
        future.call_sent = True
        future.call_link = link
        link.send(frame, len(frame[8]))
        if frame[11]:
            self._send_body(future, link)

    def _takes(self, future: CallFuture, link: Link) -> bool:
        """Whether the other side understands what a call carries; if not, and it cannot do without, it has failed."""
        if future.call_parcel is not None and link.port is None:
            self._answers.failed(future, self.no_references())
            return False
        return self.takes_extras or self._without_extras(future)

    def _without_extras(self, future: CallFuture) -> bool:
        """Leave the chain out for an older side. A key is a promise that it cannot keep: False, the call has failed."""
        key = cast("list[object]", future.call_frame.pop())[1]
        if key is not None:
            error = VersionMismatch(
                f"{self.name} is of an older version and takes no idempotency keys",
                hint="use the same version of perdure on both sides",
            )
            self._answers.failed(future, error)
        return key is None

    def _send_body(self, future: CallFuture, link: Link) -> None:
        """What the request streams: from its beginning, also when it was sent before."""

        def send(frame: Frame) -> None:
            link.send(frame, len(frame[2]) if frame[0] == CHUNK else 0)

        if future.call_outgoing is not None:
            future.call_outgoing.send_again(send)
            return
        body, future.call_body = future.call_body, None
        future.call_outgoing = Outgoing(self._loop, future.call_id, body, send, lambda: None, keep=True)  # pyright: ignore[reportArgumentType]

    def give_up(self, future: CallFuture) -> None:
        """The caller of a pending call is gone."""
        if self._answers.pending.pop(future.call_id, None) is None:
            return
        self.parked.pop(future, None)
        if future.call_outgoing is not None:
            future.call_outgoing.cancel()
        if future.call_sent:
            future.send_also([CANCEL, future.call_id])

    # ------------------------------------------------------------------ in
    def _on_message(self, link: Link, data: bytes) -> None:
        answers = self._answers
        pending, sockets = answers.pending, self.sockets
        try:
            frames = decode(data)
            for frame in frames:
                if frame[0] == REPLY:
                    future = pending.get(frame[1])
                    if future is not None:
                        answers.replied(future, frame[2], frame[3])
                elif frame[0] == SOCKET_EFFECTS and sockets is not None and link is self.link and self.ready:
                    sockets.receive(self, frame)
                else:
                    self._on_other(link, frame)
        except (ProtocolError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            # What it was an answer to cannot be known: all that was sent is in doubt.
            self._on_lost(link, f"malformed message: {error}")
        if self._leaving and link in self._leaving:
            self._left(link, self._leaving[link])

    def _on_other(self, link: Link, frame: Frame) -> None:
        kind = frame[0]
        if kind == WELCOME:
            if link is self.link:
                self._welcomed(link, frame)
            return
        if kind in SOCKET_FRAMES:
            if self.sockets is not None:
                self._on_sockets(link, frame, self.sockets)
            return
        if kind == REPLY_CARRYING:
            self._answers.replied_carrying(self._answers.pending.get(frame[1]), link, frame)
            return
        if kind in REF_FRAMES:
            if link.port is not None:
                link.port.receive(frame)
            return
        if kind == PONG:
            if link in self._leaving:
                self._leaving[link].told = True
            return
        if kind == MAP:
            self._answers.mapped(frame[1], frame[2])
            return
        future = self._answers.pending.get(frame[1])
        if future is None:
            if kind == ERROR and frame[1] == 0 and self._on_refused is not None:
                self._on_refused(from_wire(cast("dict[str, object]", frame[2])))
            return
        if kind == ERROR:
            self._answers.failed(future, from_wire(cast("dict[str, object]", frame[2])))
        elif kind == CHUNK and future.call_incoming is not None:
            error = from_wire(cast("dict[str, object]", frame[4])) if frame[4] is not None else None
            future.call_incoming.feed(frame[2], bool(frame[3]), error)
        elif kind == CREDIT and future.call_outgoing is not None:
            future.call_outgoing.credit(frame[2])
        elif kind == MOVED:
            self._answers.moved(future, frame[2])
        elif kind == CANCEL and future.call_outgoing is not None:
            future.call_outgoing.cancel()

    def _on_sockets(self, link: Link, frame: Frame, sockets: LaneSockets) -> None:
        """In the order in which sessions have served, whatever link is read first."""
        if link is self.link:
            if self.ready:
                sockets.receive(self, frame)
            else:
                self._early.append(frame)
        elif self._leaving[link].told:
            sockets.receive_late(self, frame)
        else:
            sockets.receive(self, frame)

    def _hear_early(self) -> None:
        early, self._early = self._early, []
        for frame in early:
            if self.sockets is not None:
                self.sockets.receive(self, frame)

    def _welcomed(self, link: Link, frame: Frame) -> None:
        version, fields = frame[1], cast("dict[str, object]", frame[2])
        if version != VERSION:
            error = VersionMismatch(
                f"{self.name} speaks protocol versions {fields.get('versions')}, this client {[VERSION]}",
                hint="use the same version of perdure on both sides",
            )
            self._refuse(error)
            return
        if self._place is not None and self._place.session and fields.get("session") not in (None, self._place.session):
            self._refuse(ProtocolError(f"{self.name} answered as session {fields.get('session')}"))
            return
        if fields.get("map") is not None:
            self._answers.mapped(fields["map"], fields.get("classes"))
        self._welcome = True
        if isinstance(fields.get("references"), bytes):
            link.port = self._answers.port(link, cast("bytes", fields["references"]))
        self.takes_extras = bool(fields.get("extras"))
        self.takes_sockets = bool(fields.get("sockets"))
        self.kinds = frozenset(cast("list[int]", fields.get("kinds") or (RPC, FETCH)))
        self._go_on()

    def _go_on(self) -> None:
        """Send what waits, in the order made, once it may leave."""
        if self.ready or not self._welcome or any(not leaving.told for leaving in self._leaving.values()):
            return
        self.ready = True
        self._hear_early()
        parked, self.parked = self.parked, {}
        for future in sorted(parked, key=lambda future: future.call_id):  # what was given back came last
            if future.call_frame[6] in self.kinds:
                self.send(future)
            else:
                self._answers.failed(future, self.not_understood())
        if self.sockets is not None:
            self.sockets.ready(self)

    def send_frame(self, frame: Frame, size: int = 0) -> None:
        """A frame that belongs to no call. Only while `ready`."""
        if self.link is not None:
            self.link.send(frame, size)

    def not_understood(self) -> VersionMismatch:
        """The error for a call of a kind that is not among `kinds`."""
        return VersionMismatch(
            f"{self.name} is of an older version and takes no operations",
            hint="use the same version of perdure on both sides",
        )

    def no_references(self) -> VersionMismatch:
        """The error for a call whose arguments travel by reference."""
        return VersionMismatch(
            f"{self.name} is of an older version and takes no functions, targets or streams",
            hint="use the same version of perdure on both sides",
        )

    def _refuse(self, error: PerdureError) -> None:
        if self._on_refused is not None:
            self._on_refused(error)
        for future in [f for f in self._answers.pending.values() if f.call_lane is self]:
            self._answers.failed(future, error)

    def close(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
        for link in (*self._leaving, *([self.link] if self.link is not None else [])):
            link.close()
        self._leaving.clear()
        self.link, self.ready, self._welcome = None, False, False
