"""The sockets of one object in memory: which it has, who holds them, what they do at the end of a turn (decision 015).

What always holds: a socket is listed from its acceptance until its close is dispatched; its row is written with the turn that
changes it; what the holders are not known of is asked for, and lost after a bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_bytes
from typing import TYPE_CHECKING, cast

from .awake import add_piece
from .closing_codes import ABNORMAL, NOT_CLEAN
from .handlers import call_room, find_handler
from .local_holder import LocalHolder
from .object_socket import ObjectSocket
from .socket_calls import (
    CLOSED,
    DROP,
    METHODS,
    SOCKET_ID_BYTES,
    Data,
    Holder,
    Rules,
    SocketCall,
    SocketRef,
    event_inside,
)
from .socket_sending import SENT, Sending
from .standard_sockets import GatedLine, OpenEnd, StandardSocket
from .stored_sockets import SocketRow, StoredSockets, read_note
from .turns import Event, outside
from .web_socket import Use, WebSocket

if TYPE_CHECKING:
    import asyncio

    from .calls import Call, Result
    from .handlers import Method
    from .instance import Instance
    from .object_storage import ObjectStorage
    from .web_socket import Line

_GRAIN_S = 0.05
ANSWERS_S = 1.0
"""After being loaded: so long an object waits for what all holders say before it goes on without some of its sockets."""


class Sockets:
    """See the module. One instance's; made when the object has its first socket, or is loaded with some."""

    __slots__ = (
        "_answered",
        "_by_tag",
        "_dropping",
        "_handlers",
        "_met",
        "_timer",
        "by_id",
        "instance",
        "opening",
        "rules",
        "sending",
        "standard",
        "stored",
        "timeout_ms",
        "unmet",
    )

    def __init__(self, instance: Instance, note: object = None) -> None:
        """`note`: what the database says; None: the object has never had a socket."""
        self.instance = instance
        storage = cast("ObjectStorage", instance.storage)
        self.stored = StoredSockets(storage, note is not None)
        replies = instance.runtime.sockets.replies_to_close
        self.rules, self.timeout_ms = (Rules(replies_to_close=replies), 0) if note is None else read_note(note, replies)
        self.by_id: dict[bytes, ObjectSocket] = {}
        """Those that hibernate, in the order of acceptance."""
        self._by_tag: dict[str, dict[ObjectSocket, None]] = {}
        self.standard: dict[bytes, StandardSocket] = {}
        self._handlers: dict[int, tuple[Method | None, int]] = {}
        self._met: dict[str, Holder] = {}
        self.opening = 0
        """Sockets accepted in this memory whose connection is not there yet."""
        self.unmet = 0
        """Sockets that were loaded and that nobody has said yet that he holds."""
        self._dropping: list[ObjectSocket] = []
        """Their close is dispatched in the running turn."""
        self.sending = Sending(self)
        self._timer: asyncio.TimerHandle | None = None
        self._answered: set[str] = set()
        """Holders, by identity, that have said what they hold."""
        if note is not None:
            self._load()

    # ------------------------------------------------------------------ loading
    def _load(self) -> None:
        rows, unsent = self.stored.rows(), self.stored.unsent()
        shelf = self.instance.shelf
        if self.instance.object_id in shelf.forsaken:  # it was reset, and its connections were ended
            for row in rows:
                self.stored.removed(row)
            rows = []
            self.instance.wrote()
            self.instance.output.emit(shelf.forsaken.discard, self.instance.object_id)
        known = {row.id for row in rows}
        parted = {id for _, _, entries in unsent for ids, _, _ in entries for id in ids if id not in known}
        now_s = self.instance.clock.monotonic_s()
        for row in [*(SocketRow(id, 0, ()) for id in sorted(parted)), *rows]:
            socket = ObjectSocket(self, row)
            socket.since_s, socket.opening = now_s, socket.has_parted
            self._add(socket)
        self.unmet, self.opening = len(rows), len(parted)
        for number, cause, entries in unsent:
            self.sending.put_back(
                number, cause, [([self.by_id[id] for id in ids], what, data) for ids, what, data in entries]
            )
        if self.by_id:
            self._wait_for_holders()
            for holder in shelf.holders():
                holder.ask(self.instance.key.unique, self.instance.object_id)
        if rows:
            outside().run(self.instance.turns.loop.call_later, ANSWERS_S, self._holders_have_answered)

    def _holders_have_answered(self) -> None:
        """All that are there have said what they hold: who waits for a socket that none has waits alone. Its connection may
        still be on its way to one (it is taken for `opening`), or its gateway died before it had a holder."""
        if not self.unmet or self.instance.broken is not None or self.instance.abandoned:
            return
        if any(holder.identity not in self._answered for holder in self.instance.shelf.holders()):
            return  # a process that hangs: what waits, waits until the time is up
        late = [each for each in self.by_id.values() if each.holder is None and not each.lost and not each.opening]
        for socket in late:
            self._found(socket)
            socket.opening = True
            self.opening += 1
        self.sending.part_from(late)
        self.sending.drain()

    def _add(self, socket: ObjectSocket) -> None:
        self.by_id[socket.id] = socket
        for tag in socket.row.tags if not socket.dropped else ():
            self._by_tag.setdefault(tag, {})[socket] = None

    def _wait_for_holders(self, seconds: float | None = None) -> None:
        if self._timer is None:
            seconds = self.instance.limits.socket_lost_ms_max / 1000 if seconds is None else seconds
            loop = self.instance.turns.loop
            self._timer = outside().run(loop.call_later, seconds, self._nobody_has_them)

    def _nobody_has_them(self) -> None:
        """The time is up for sockets that nobody has said for so long that he holds them."""
        self._timer = None
        longest_s = self.instance.limits.socket_lost_ms_max / 1000
        youngest_s, now_s = 0.0, self.instance.clock.monotonic_s()
        for socket in list(self.by_id.values()):
            if socket.holder is None and not socket.lost and socket.since_s:
                in_the_way = self.sending.overflows() and not socket.opening
                if in_the_way or now_s - socket.since_s >= longest_s - _GRAIN_S:
                    self.lose(socket)
                else:
                    youngest_s = max(youngest_s, socket.since_s)
        if youngest_s:
            self._wait_for_holders(youngest_s + longest_s - now_s)
        self.sending.drain()

    def wait_no_longer(self) -> None:
        """Too much waits for holders that nobody knows."""
        if self._timer is not None:
            self._timer.cancel()
            self._nobody_has_them()

    def lose(self, socket: ObjectSocket) -> None:
        """Its connection is gone without a word: the object hears of it as an event."""
        if socket.has_parted:
            self.forget(socket)
            return
        self._found(socket)
        socket.lost, socket.holder = True, None
        self.sending.never_opened(socket)
        socket.has_room()
        self._deliver(CLOSED, (ABNORMAL, NOT_CLEAN, False), socket.id)

    def _found(self, socket: ObjectSocket) -> None:
        """Nobody need wait for its holder any more."""
        if socket.opening:
            self.opening -= 1
            socket.opening = False
        elif socket.since_s and socket.holder is None:
            self.unmet -= 1

    def _deliver(self, what: int, data: object, id: bytes, end: WebSocket | None = None) -> None:
        instance = self.instance
        if instance.broken is not None or instance.abandoned:
            return
        answer = _answered if end is None else _answered_to_an_end
        call = event_inside(instance, id, what, cast("Data", data), answer)
        call.end = end
        outside().run(instance.deliver, call)

    def unsettled(self) -> bool:
        """Whether it waits for holders: the object must not sleep meanwhile."""
        return self.unmet > 0 or self.sending.waits or self._timer is not None

    # ------------------------------------------------------------------ members
    @property
    def attachment_bytes_max(self) -> int:
        return max(self.instance.limits.socket_attachment_bytes_max, 2_048)

    def accept(self, web: WebSocket, tags: tuple[str, ...]) -> None:
        """A checked end becomes one that hibernates; a write of the turn."""
        number = next((abs(socket.row.number) for socket in reversed(self.by_id.values())), 0) + 1
        row = SocketRow(token_bytes(SOCKET_ID_BYTES), number, tags)
        socket = ObjectSocket(self, row)
        socket.web, socket.opening = web, True
        self.opening += 1
        self._add(socket)
        self.changed(row)
        web.hibernates(socket, socket)

    def of(self, web: WebSocket) -> ObjectSocket | None:
        """The object's socket that an end is."""
        row = web.row
        return row if isinstance(row, ObjectSocket) and row.sockets is self else None

    def listed(self, tag: str | None) -> list[WebSocket]:
        """As the program gets them: newest first; those with a tag in the order of acceptance."""
        found = reversed(self.by_id.values()) if tag is None else self._by_tag.get(tag, {})
        return [self._web(socket) for socket in found if not socket.dropped]

    def _web(self, socket: ObjectSocket) -> WebSocket:
        if socket.web is None:
            web = WebSocket()
            web.behaviour = self.instance.runtime.sockets
            web.hibernates(socket, socket)
            socket.web = web
        return socket.web

    def count(self) -> int:
        return len(self.by_id)

    def changed(self, row: SocketRow) -> None:
        """A row is new, or has another attachment: it is written with the turn."""
        self.instance.enter_storage()
        self.instance.wrote()
        self.stored.changed(row)

    def decide(self, rules: Rules, timeout_ms: int) -> None:
        """Rules for all sockets; stored and told to the holders when they are others than before."""
        if (rules, timeout_ms) == (self.rules, self.timeout_ms):
            return
        self.instance.enter_storage()
        self.instance.wrote()
        told, self.rules, self.timeout_ms = rules != self.rules, rules, timeout_ms
        self.stored.noted(rules, timeout_ms)
        if told:
            for holder in self._met.values():
                self.instance.output.emit(holder.rules, self.instance.object_id, rules)

    # ------------------------------------------------------------------ ends that do not hibernate
    def open_here(self, end: WebSocket, server: WebSocket) -> Line | None:
        """The object accepts the other end of a socket of its own that hibernates."""
        socket = self.of(server)
        return None if socket is None else LocalHolder(self.instance, socket.id, end)

    def give(self, client: WebSocket) -> SocketRef | None:
        """An end goes into a Response: what opens the other one from outside. None: that one is not this object's."""
        instance, server = self.instance, client.peer
        socket = None if server is None else self.of(server)
        if socket is not None:
            if socket.opening and not socket.since_s:
                socket.since_s = instance.clock.monotonic_s()
            self._wait_for_holders()
            return SocketRef(instance.key.unique, instance.object_id, instance.name, socket.id, True)
        if server is not None and server.owner is not instance and server.use is not Use.NONE:
            return None
        made = StandardSocket(instance, token_bytes(SOCKET_ID_BYTES), server)
        self.standard[made.id] = made
        line = client.given_to(made)
        if server is None:
            made.line = line
            self.keeps_awake(client)
        return SocketRef(instance.key.unique, instance.object_id, instance.name, made.id, False)

    def keeps_awake(self, end: WebSocket) -> None:
        """An end that the object has accepted with accept(), or made: it is awake, and the end lives no longer than that."""
        add_piece(self.instance, OpenEnd(end), lasting=True)

    def gated(self, line: Line) -> Line:
        return GatedLine(self.instance, line)

    def occurs(self, end: WebSocket, what: int, data: object) -> None:
        """Something has arrived at such an end: an event."""
        self._deliver(what, data, b"", end)

    # ------------------------------------------------------------------ turns
    def turn_ends(self) -> None:
        """Before the turn's commit: what it sent is emitted, rows are written. Raises PerdureError."""
        instance = self.instance
        holder = instance.input.holder
        call = holder.call if isinstance(holder, Event) else None
        event = call if isinstance(call, SocketCall) else None
        if self._dropping:
            dropping, self._dropping = self._dropping, []
            for socket in dropping:
                self._unlist(socket)
        if self.sending.waits_for_the_turn:
            self.sending.flush(None if event is None or event.over else event)
        if instance.turn_dirty is not True:
            return
        if event is not None:
            event.wrote = True
        if self.stored.dirty and not cast("ObjectStorage", instance.storage).depth:
            self.stored.write()

    # ------------------------------------------------------------------ holders
    def met(self, socket: ObjectSocket, holder: Holder) -> None:
        """The holder of a socket is known now, or is reached in another way than before."""
        if socket.holder is holder or socket.lost:
            return
        opens = socket.opening
        self._found(socket)
        socket.holder = holder
        if self._met.get(holder.identity) is not holder:
            again = holder.identity in self._met
            self._met[holder.identity] = holder
            holder.rules(self.instance.object_id, self.rules)
            if again:
                self.sending.tell_again(holder)
        if opens:
            self.sending.opened(socket)
        self.sending.drain()
        if not self.unmet and not self.opening:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def held(self, holder: Holder, sockets: Iterable[tuple[bytes, int | None]]) -> None:
        """A holder says which it has. Those that the object does not know are ended."""
        self._answered.add(holder.identity)
        unknown: list[bytes] = []
        for id, auto_ms in sockets:
            socket = self.by_id.get(id)
            if socket is None:
                if id not in self.standard:
                    unknown.append(id)
                continue
            if auto_ms is not None:
                socket.auto_ms = max(socket.auto_ms or 0, auto_ms)
            self.met(socket, holder)
        if unknown:
            holder.effects(self.instance.object_id, 0, None, [(unknown, DROP, None)])

    def seen(self, holder: Holder, number: int) -> None:
        """Recorded effects have arrived."""
        self.sending.seen(holder.identity, number)

    def buffered(self, id: bytes, size: int) -> None:
        socket = self.by_id.get(id)
        if socket is not None:
            socket.holds(size)
        elif id in self.standard:
            self.standard[id].buffered = size

    def holder_gone(self, holder: Holder) -> None:
        """Its process has ended, and its connections with it."""
        if self._met.pop(holder.identity, None) is None:
            for standard in [each for each in self.standard.values() if each.holder is holder]:
                standard.lost()
            return
        for socket in [each for each in self.by_id.values() if each.holder is not None]:
            if cast("Holder", socket.holder).identity == holder.identity and not socket.lost:
                self.lose(socket)
        for standard in [each for each in self.standard.values() if each.holder is holder]:
            standard.lost()
        self.sending.holder_gone(holder.identity)

    # ------------------------------------------------------------------ events
    def handler_of(self, what: int) -> tuple[Method | None, int]:
        """The program's handler, and how many arguments it takes."""
        found = self._handlers.get(what)
        if found is None:
            method = find_handler(self.instance, METHODS[what])
            found = self._handlers[what] = (method, 0 if method is None else call_room(method))
        return found

    def web_of(self, socket: ObjectSocket) -> WebSocket:
        """The end that the program has of it."""
        return socket.web or self._web(socket)

    def dispatches_the_end_of(self, socket: ObjectSocket) -> None:
        """Its close is handled in the running turn, when that is over it is not listed any more."""
        self._dropping.append(socket)
        if not self.instance.turn_dirty:
            self.instance.turn_dirty = SENT

    def _unlist(self, socket: ObjectSocket) -> None:
        socket.dropped = True
        for tag in socket.row.tags:
            found = self._by_tag.get(tag)
            if found is not None:
                found.pop(socket, None)
                if not found:
                    del self._by_tag[tag]

    def forget(self, socket: ObjectSocket) -> None:
        """Its close was handled: its row goes with the turn."""
        if self.by_id.get(socket.id) is not socket:
            return
        self._unlist(socket)
        if not socket.lost:
            self._found(socket)
        if socket in self._dropping:
            self._dropping.remove(socket)
        self.by_id.pop(socket.id, None)
        socket.lost = True
        self.sending.never_opened(socket)
        socket.has_room()
        if socket.web is not None:
            socket.web.gone()
        if not socket.has_parted:
            self.instance.wrote()
            self.stored.removed(socket.row)

    def has_closed(self, socket: ObjectSocket) -> None:
        """Its close was handled, messages before it still are."""
        self._unlist(socket)
        if socket in self._dropping:
            self._dropping.remove(socket)
        socket.row.number = -abs(socket.row.number)
        self.instance.wrote()
        self.stored.changed(socket.row)

    def handled(self, call: SocketCall, socket: ObjectSocket) -> None:
        """The handler of a message has ended, in its last turn: what it sent goes, its number is recorded if that is."""
        instance, sending = self.instance, self.sending
        if call.number and (
            call.wrote or instance.turn_dirty is True or (sending.waits_for_the_turn and sending.must_record())
        ):
            instance.wrote()
            socket.row.above.add(call.number)
            self.stored.handled(socket.row)
            sending.record_loose(call)
        if sending.waits_for_the_turn:
            sending.flush(call, last=True)
        call.over = True
        if instance.turn_dirty == SENT and not self._dropping:
            instance.turn_dirty = False

    def stop(self) -> None:
        """The object leaves memory."""
        self._stop_waiting()
        for socket in self.by_id.values():
            socket.has_room()


def _answered(_call: Call, _result: Result) -> None:
    """Nobody waits for what the object tells itself."""


def _answered_to_an_end(call: Call, result: Result) -> None:
    """Something that has arrived at an end could not be delivered: the end is of no use any more."""
    end = cast("SocketCall", call).end
    if isinstance(result, Exception) and end is not None:
        end.cut_off()
