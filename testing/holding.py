"""Who holds the sockets of a world's objects: the keeper's end of decision 015, over the world's network.

What always holds: messages of one socket are numbered and delivered in order; what was not acknowledged is delivered again, to
the process that has the object then; effects that were had are dropped; what a process has said in one step arrives whole or,
when it died before it left, not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

from ..engine.closing_codes import ABNORMAL, NOT_CLEAN
from ..engine.errors import Overloaded, PerdureError, SocketUnknown
from ..engine.socket_calls import (
    CLOSE,
    CLOSED,
    MESSAGE,
    METHODS,
    OPENED,
    SEND,
    SOCKET,
    Cause,
    Closing,
    Data,
    Effects,
    Rules,
    SocketCall,
    SocketRef,
)
from ..router.slots import group_of

if TYPE_CHECKING:
    from ..engine.calls import Call, Result
    from ..engine.residents import Residents
    from ..engine.web_socket import Sink
    from .network import Network, Receiver

_AGAIN_S = 0.05
_INTERNAL_ERROR = 1011
_LOST: Closing = (ABNORMAL, NOT_CLEAN, False)
_UNKNOWN = Rules()


class Hosts(Protocol):
    """A process of a world, as who holds sockets sees it."""

    alive: bool
    name: str

    @property
    def residents(self) -> Residents: ...


class Held:
    """One socket of an object, and the line to it."""

    buffered = 0

    def __init__(self, holding: Holding, ref: SocketRef, sink: Sink) -> None:
        self.ref = ref
        self.holding = holding
        self.sink = sink
        self.numbers = 0
        self.unacknowledged: dict[int, tuple[int, Data | Closing | None]] = {0: (OPENED, None)}
        self.auto_ms: int | None = None
        self.closed_here: Closing | None = None
        """How the peer has closed it."""
        self.closed_there = False
        """The peer knows that it has ended."""
        self.waits_to_repeat = False

    # ------------------------------------------------------------------ Line
    def send(self, data: Data) -> None:
        """A message of the peer."""
        if self.closed_here is not None:
            return
        rules = self.holding.rules_of(self.ref.object_id)
        if isinstance(data, str) and rules.response is not None and data == rules.request:
            self.auto_ms = self.holding.now_ms()
            self.sink.message(rules.response)
            return
        self._add(MESSAGE, data)

    def close(self, code: int | None, reason: str) -> None:
        """The peer closes, answers a close, or is lost (1006)."""
        if self.closed_here is None:
            self.closed_here = _LOST if code == ABNORMAL else (code, reason, True)
            self.closed_there = self.closed_there or code == ABNORMAL
            self._add(CLOSED, self.closed_here)

    def _add(self, what: int, data: Data | Closing) -> None:
        self.numbers += 1
        before = max(self.unacknowledged, default=0)
        self.unacknowledged[self.numbers] = (what, data)
        self.holding.deliver(self, self.numbers, before)

    # ------------------------------------------------------------------ what comes back
    def acknowledged(self, number: int, result: Result) -> None:
        """The object's process has answered one of its events."""
        if number not in self.unacknowledged:
            return
        if isinstance(result, Overloaded):
            self.holding.later(self)
            return
        what, _ = self.unacknowledged.pop(number)
        if isinstance(result, SocketUnknown) or (isinstance(result, PerdureError) and result.durableObjectReset):
            self.end(_LOST)
        elif isinstance(result, PerdureError):
            self.end((_INTERNAL_ERROR, "", True))
        elif what == CLOSED:
            replies = self.holding.rules_of(self.ref.object_id).replies_to_close
            self.end(self.closed_here if replies and self.closed_here is not None else _LOST)

    def peer_closes(self, closing: Closing) -> None:
        """The object has begun the closing handshake, or answers it."""
        if not self.closed_there:
            self.closed_there = True
            code, reason, clean = closing
            self.sink.closed(1005 if code is None else code, reason, clean)

    def end(self, closing: Closing) -> None:
        """It is over."""
        self.holding.forget(self)
        self.peer_closes(closing)


class Link:
    """Implements Holder: one holding as one process reaches it."""

    def __init__(self, holding: Holding, process: Receiver) -> None:
        self.identity = holding.identity
        self.gone = False
        self.process = process
        self._holding = holding
        self._leaving: list[tuple[object, ...]] = []

    def effects(self, object_id: bytes, number: int, cause: Cause | None, effects: Effects) -> None:
        self._leave("effects", object_id, number, cause, effects)

    def rules(self, object_id: bytes, rules: Rules) -> None:
        self._leave("rules", object_id, rules)

    def ask(self, class_key: str, object_id: bytes) -> None:
        self._leave("ask", class_key, object_id)

    def answer(self, call: Call, result: Result) -> None:
        """A process answers an event."""
        event = cast("SocketCall", call)
        self._leave("answer", event.socket, event.number, result)

    def _leave(self, *said: object) -> None:
        """What is said in one round of the loop leaves together, if the process lives then."""
        self._leaving.append(said)
        if len(self._leaving) == 1:
            self._holding.network.soon(self._left)

    def _left(self) -> None:
        said, self._leaving = self._leaving, []
        if self.process.alive and not self.gone:
            self._holding.network.travel(("sockets", self), "reply", self._arrive, said)

    def _arrive(self, said: list[tuple[object, ...]]) -> None:
        if not self._holding.alive():
            return
        for what, *arguments in said:
            getattr(self._holding, f"heard_{what}")(self, *arguments)


class Holding:
    """All sockets that one process holds; `owner` None: the keeper, and what the Worker and tests hold."""

    def __init__(self, network: Network, owner: Receiver | None, identity: str) -> None:
        self.network = network
        self.identity = identity
        self._owner = owner
        self._held: dict[bytes, Held] = {}
        self._links: dict[Receiver, Link] = {}
        self._rules: dict[bytes, Rules] = {}
        self._had: dict[bytes, set[int]] = {}
        self._causes: dict[tuple[bytes, int], int] = {}

    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._owner is None or self._owner.alive

    def rules_of(self, object_id: bytes) -> Rules:
        return self._rules.get(object_id, _UNKNOWN)

    def now_ms(self) -> int:
        """The wall clock of the world."""
        return self.network.now_ms()

    # ------------------------------------------------------------------ Opener
    def open(self, ref: SocketRef, sink: Sink) -> Held:
        """The peer of an object's socket is here."""
        held = self._held[ref.socket] = Held(self, ref, sink)
        self.network.introduce(ref.class_key, ref.object_id, ref.name)
        self.deliver(held, 0, 0)
        return held

    # ------------------------------------------------------------------ to processes
    def deliver(self, held: Held, number: int, after: int) -> None:
        """Send one event on its way."""
        self.network.travel(("socket", self, held.ref.socket), "call", self._arrive, held, number, after)

    def _arrive(self, held: Held, number: int, after: int) -> None:
        found = held.unacknowledged.get(number)
        process = self.network.process_of(held.ref.object_id)
        link = None if process is None else self._links.get(process)
        if found is None or process is None or link is None or not self.alive():
            return  # it is sent again to the next
        self.network.schedule.may_sleep(process, held.ref.object_id)
        self.network.schedule.point("arrive", process)
        if process.alive:
            process.deliver(self._call(held, number, after, link))

    def _call(self, held: Held, number: int, after: int, link: Link) -> SocketCall:
        what, data = held.unacknowledged[number]
        ref = held.ref
        prefix = min((each for each in held.unacknowledged if each), default=held.numbers + 1) - 1
        auto_ms, held.auto_ms = held.auto_ms, None
        return SocketCall(
            ref.class_key,
            ref.object_id,
            ref.name,
            SOCKET,
            METHODS[what],
            cast("bytes", data if isinstance(data, str | bytes) else b""),
            link.answer,
            socket=ref.socket,
            what=what,
            number=number,
            acknowledged=prefix,
            after=after,
            data=data,
            holder=link,
            auto_ms=auto_ms,
        )

    def repeat(self, held: Held) -> None:
        """Deliver again, in order, what is not acknowledged."""
        held.waits_to_repeat = False
        if self._held.get(held.ref.socket) is not held:
            return
        before = 0
        for number in sorted(held.unacknowledged):
            self.deliver(held, number, before)
            before = number

    def later(self, held: Held) -> None:
        """The object could not take an event now."""
        if not held.waits_to_repeat:
            held.waits_to_repeat = True
            self.network.after(_AGAIN_S, self.repeat, held)

    def meets(self, process: Receiver) -> None:
        """A process is there: say what is held of its objects, then deliver again what it may not have had."""
        if process is self._owner:
            self._links[process] = Link(self, process)
            return
        link = self._links[process] = Link(self, process)
        mine = [held for held in self._held.values() if self.network.process_of(held.ref.object_id) is process]
        for held in [each for each in mine if not each.ref.hibernates]:
            held.end(_LOST)
        for object_id in dict.fromkeys(held.ref.object_id for held in mine if held.ref.hibernates):
            self._tell_held(link, object_id, False)
        for held in mine:
            if held.ref.hibernates:
                self.repeat(held)

    def link_of(self, process: Receiver) -> Link | None:
        return self._links.get(process)

    def leaves(self, process: Receiver) -> None:
        """A process is gone; what it has not acknowledged waits for the next one."""
        link = self._links.pop(process, None)
        if link is not None:
            link.gone = True

    def _tell_held(self, link: Link, object_id: bytes, asked: bool) -> None:
        found = [held for held in self._held.values() if held.ref.object_id == object_id]
        if not link.process.alive or (not found and not asked):
            return
        if found:
            ref, sockets = found[0].ref, [(held.ref.socket, held.auto_ms) for held in found]
            _residents(link.process).held(link, ref.class_key, object_id, ref.name, sockets, asked)

    # ------------------------------------------------------------------ from processes
    def heard_effects(self, link: Link, object_id: bytes, number: int, cause: Cause | None, effects: Effects) -> None:
        if number:
            had = self._had.setdefault(object_id, set())
            self.network.travel(("seen", link), "call", self._seen, link, object_id, number)
            if number in had:
                return
            had.add(number)
        entries = list(effects)
        if cause is not None:
            key = (cause.socket, cause.number)
            before = self._causes.get(key, 0)
            self._causes[key] = max(before, cause.ordinal + len(entries))
            entries = entries[max(before - cause.ordinal, 0) :]
        for sockets, what, data in entries:
            self._take_effect(sockets, what, data)

    def _take_effect(self, sockets: Iterable[bytes], what: int, data: object) -> None:
        for socket in sockets:
            held = self._held.get(socket)
            if held is None:
                continue
            if what == SEND:
                if not held.closed_there:
                    held.sink.message(cast("Data", data))
            elif what == CLOSE:
                code, reason = cast("tuple[int | None, str]", data)
                held.peer_closes((code, reason, True))
            else:
                held.end(_LOST)

    def _seen(self, link: Link, object_id: bytes, number: int) -> None:
        if link.process.alive and not link.gone:
            _residents(link.process).seen(link, object_id, number)

    def heard_rules(self, _link: Link, object_id: bytes, rules: Rules) -> None:
        self._rules[object_id] = rules

    def heard_ask(self, link: Link, _class_key: str, object_id: bytes) -> None:
        self.network.travel(("seen", link), "call", self._tell_held, link, object_id, True)

    def heard_answer(self, _link: Link, socket: bytes, number: int, result: Result) -> None:
        held = self._held.get(socket)
        if held is not None:
            held.acknowledged(number, result)
            if number not in held.unacknowledged:
                self._causes.pop((socket, number), None)

    def forget(self, held: Held) -> None:
        """The socket is over."""
        self._held.pop(held.ref.socket, None)


def _residents(process: Receiver) -> Residents:
    return cast("Hosts", process).residents
