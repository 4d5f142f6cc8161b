"""The sockets of one object in memory: which it has, who holds them, what its turns send (decision 015).

What always holds: what a turn sends leaves past the output gate, in order, and before the acknowledgement of the event that it
belongs to; what a turn that wrote sends is in the outbox of the same commit; what is for sockets whose holder is not known yet
waits, and what comes after it waits with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from secrets import token_bytes
from typing import TYPE_CHECKING, cast

from .awake import add_piece
from .closing_codes import ABNORMAL, NOT_CLEAN
from .handlers import call_room, find_handler
from .object_socket import ObjectSocket
from .socket_calls import (
    CLOSED,
    DROP,
    METHODS,
    SEND,
    SOCKET,
    SOCKET_ID_BYTES,
    Cause,
    Data,
    Holder,
    Rules,
    SocketCall,
    SocketRef,
)
from .standard_sockets import GatedLine, OpenEnd, StandardSocket
from .stored_sockets import Entries, SocketRow, StoredSockets, read_note
from .turns import Event, outside
from .web_socket import Use, WebSocket

if TYPE_CHECKING:
    import asyncio

    from .calls import Call, Result
    from .handlers import Method
    from .instance import Instance
    from .object_storage import ObjectStorage
    from .web_socket import Line

SENT = 2
"""In place of True in `Instance.turn_dirty`: the turn has sent, and written nothing."""
_NOTHING = object()
_BACKLOG_MAX = 4_096
_GRAIN_S = 0.05
Piece = tuple[int, SocketCall | None, "list[tuple[list[ObjectSocket], int, object]]"]
"""Effects past the gate: number, whose they are if its handler has not ended before, and the entries."""


class Sockets:
    """See the module. One instance's; made when the object has its first socket, or is loaded with some."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_by_tag",
        "_dropping",
        "_handlers",
        "_met",
        "_opening",
        "_out",
        "_out_data",
        "_out_sockets",
        "_timer",
        "_unmet",
        "_unseen",
        "by_id",
        "instance",
        "records",
        "rules",
        "standard",
        "stored",
        "timeout_ms",
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
        self.records: dict[int, bytes] = {}
        """For the beacon, by what has happened."""
        self._handlers: dict[int, tuple[Method | None, int]] = {}
        self._met: dict[str, Holder] = {}
        self._opening = 0
        """Sockets whose other end was given away, and whose connection is not there yet."""
        self._unmet = 0
        """Sockets that were loaded and that nobody has said yet that he holds."""
        self._out: list[tuple[list[ObjectSocket], int, object]] = []
        """What the running turn has sent."""
        self._out_data: object = _NOTHING
        self._out_sockets: list[ObjectSocket] = []
        self._dropping: list[ObjectSocket] = []
        """Their close is dispatched in the running turn."""
        self._backlog: deque[Piece | Callable[[], None]] = deque()
        self._backlog_bytes = 0
        self._unseen: dict[int, set[str]] = {}
        """Recorded effects, by number: identities of holders that were sent them and have not said so."""
        self._timer: asyncio.TimerHandle | None = None
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
        now_s = self.instance.clock.monotonic_s()
        for row in rows:
            socket = ObjectSocket(self, row)
            socket.since_s = now_s
            self._add(socket)
        self._unmet = len(rows)
        for number, entries in unsent:
            mine = [([self.by_id[id] for id in ids if id in self.by_id], what, data) for ids, what, data in entries]
            kept = [entry for entry in mine if entry[0]]
            if kept:
                self._backlog.append((number, None, kept))
            else:
                self.stored.seen(number)
        if rows:
            self._wait_for_holders()
            for holder in shelf.holders():
                holder.ask(self.instance.key.unique, self.instance.object_id)

    def _add(self, socket: ObjectSocket) -> None:
        self.by_id[socket.id] = socket
        for tag in socket.row.tags:
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
                if now_s - socket.since_s >= longest_s - _GRAIN_S or self._overflows():
                    self._lose(socket)
                else:
                    youngest_s = max(youngest_s, socket.since_s)
        if youngest_s:
            self._wait_for_holders(youngest_s + longest_s - now_s)
        self._drain()

    def _overflows(self) -> bool:
        return len(self._backlog) > _BACKLOG_MAX or self._backlog_bytes > self.instance.limits.socket_backlog_bytes_max

    def _lose(self, socket: ObjectSocket) -> None:
        """Its connection is gone without a word: the object hears of it as an event."""
        self._found(socket)
        socket.lost = True
        socket.waiting.clear()
        socket.has_room()
        self._deliver(CLOSED, (ABNORMAL, NOT_CLEAN, False), socket.id)

    def _found(self, socket: ObjectSocket) -> None:
        """Nobody need wait for its holder any more."""
        if socket.since_s and socket.holder is None:
            if socket.opening:
                self._opening -= 1
            else:
                self._unmet -= 1

    def _deliver(self, what: int, data: object, id: bytes, end: WebSocket | None = None) -> None:
        instance = self.instance
        if instance.broken is not None or instance.abandoned:
            return
        payload = data if isinstance(data, str | bytes) else b""
        call = SocketCall(
            instance.key.unique,
            instance.object_id,
            instance.name,
            SOCKET,
            METHODS[what],
            cast("bytes", payload),
            _answered if end is None else _answered_to_an_end,
            socket=id,
            what=what,
            data=cast("Data", data),
            end=end,
        )
        outside().run(instance.deliver, call)

    def unsettled(self) -> bool:
        """Whether it waits for holders: the object must not sleep meanwhile."""
        return self._unmet > 0 or bool(self._backlog) or self._timer is not None

    # ------------------------------------------------------------------ members
    @property
    def attachment_bytes_max(self) -> int:
        return max(self.instance.limits.socket_attachment_bytes_max, 2_048)

    def accept(self, web: WebSocket, tags: tuple[str, ...]) -> None:
        """A checked end becomes one that hibernates; a write of the turn."""
        number = next((socket.row.number for socket in reversed(self.by_id.values())), 0) + 1
        row = SocketRow(token_bytes(SOCKET_ID_BYTES), number, tags)
        socket = ObjectSocket(self, row)
        socket.web, socket.opening = web, True
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
    def give(self, client: WebSocket, server: WebSocket) -> SocketRef | None:
        """One end of a pair goes into a Response: what opens the other from outside. None: that one is not this object's."""
        instance = self.instance
        socket = self.of(server)
        if socket is not None:
            if socket.opening and not socket.since_s:
                socket.since_s = instance.clock.monotonic_s()
                self._opening += 1
            self._wait_for_holders()
            return SocketRef(instance.key.unique, instance.object_id, instance.name, socket.id, True)
        if server.owner is not instance and server.use is not Use.NONE:
            return None
        made = StandardSocket(instance, token_bytes(SOCKET_ID_BYTES), server)
        self.standard[made.id] = made
        client.given_to(made)
        return SocketRef(instance.key.unique, instance.object_id, instance.name, made.id, False)

    def keeps_awake(self, end: WebSocket) -> None:
        """An end that the object has accepted with accept(), or made: it is awake, and the end lives no longer than that."""
        add_piece(self.instance, OpenEnd(end), lasting=True)

    def gated(self, line: Line) -> Line:
        return GatedLine(self.instance, line)

    def occurs(self, end: WebSocket, what: int, data: object) -> None:
        """Something has arrived at such an end: an event."""
        self._deliver(what, data, b"", end)

    # ------------------------------------------------------------------ sending
    def collect(self, socket: ObjectSocket, what: int, data: object) -> None:
        """The running turn sends."""
        instance = self.instance
        if instance.turns.running is not instance:
            instance.enter_storage()
        if socket.lost:
            return
        if data is self._out_data and what == SEND:  # the same to many: one entry
            self._out_sockets.append(socket)
            return
        self._out_data, self._out_sockets = data, [socket]
        self._out.append((self._out_sockets, what, data))
        if not instance.turn_dirty:
            instance.turn_dirty = SENT

    def turn_ends(self) -> None:
        """Before the turn's commit: what it sent is emitted, recorded if it wrote; rows are written. Raises PerdureError."""
        instance = self.instance
        wrote = instance.turn_dirty is True
        holder = instance.input.holder
        call = holder.call if isinstance(holder, Event) else None
        if wrote and isinstance(call, SocketCall):
            call.wrote = True
        if self._dropping:
            dropping, self._dropping = self._dropping, []
            for socket in dropping:
                self._unlist(socket)
        if self._out:
            wrote = self.flush(call if isinstance(call, SocketCall) and not call.over else None)
        if wrote and self.stored.dirty and not cast("ObjectStorage", instance.storage).depth:
            self.stored.write()

    def flush(self, call: SocketCall | None) -> bool:
        """Emit what the turn has sent so far; whether the turn has written, this included.

        `call`: the event that it belongs to, if its handler has not ended.
        """
        out, self._out, self._out_data = self._out, [], _NOTHING
        instance = self.instance
        may_record = not cast("ObjectStorage", instance.storage).depth
        recorded = may_record and (
            instance.turn_dirty is True or any(socket.opening for sockets, _, _ in out for socket in sockets)
        )
        if not recorded:
            instance.output.emit(self._leave, 0, call, out)
            return instance.turn_dirty is True
        instance.wrote()
        there = [([socket for socket in sockets if not socket.opening], what, data) for sockets, what, data in out]
        there = [entry for entry in there if entry[0]]
        if there:
            number = self.stored.add([([socket.id for socket in to], what, data) for to, what, data in there])
            instance.output.emit(self._leave, number, call, there)
        opening = dict.fromkeys(socket for sockets, _, _ in out for socket in sockets if socket.opening)
        for socket in opening:
            mine = [([socket], what, data) for sockets, what, data in out for each in sockets if each is socket]
            number = self.stored.add([([socket.id], what, data) for _, what, data in mine])
            instance.output.emit(self._leave_later, number, call, socket, mine)
        return True

    # ------------------------------------------------------------------ past the gate
    def _leave(self, number: int, call: SocketCall | None, out: list[tuple[list[ObjectSocket], int, object]]) -> None:
        """Hand effects to the holders of their sockets; where one is not known all wait."""
        if self._backlog or (self._unmet and not _all_met(out)):
            self._put_off((number, call, out))
        else:
            self._tell(number, call, out)

    def _leave_later(
        self,
        number: int,
        call: SocketCall | None,
        socket: ObjectSocket,
        out: list[tuple[list[ObjectSocket], int, object]],
    ) -> None:
        """The same for a socket whose connection is being opened."""
        if not socket.opening:
            self._leave(number, call, out)
            return
        socket.waiting += [(number, call, what, data) for _, what, data in out]

    def _tell(
        self, number: int, call: SocketCall | None, out: Sequence[tuple[list[ObjectSocket], int, object]]
    ) -> None:
        holder = out[0][0][0].holder
        if holder is not None and all(socket.holder is holder for sockets, _, _ in out for socket in sockets):
            entries: Entries = [([socket.id for socket in sockets], what, data) for sockets, what, data in out]
            self._hand_over(holder, number, call, entries)
            return
        by_holder: dict[str, tuple[Holder, Entries]] = {}
        for sockets, what, data in out:
            mine: dict[str, list[bytes]] = {}
            for socket in sockets:
                if socket.holder is not None:
                    mine.setdefault(socket.holder.identity, []).append(socket.id)
                    by_holder.setdefault(socket.holder.identity, (socket.holder, []))
            for identity, ids in mine.items():
                by_holder[identity][1].append((ids, what, data))
        if number and not by_holder:
            self.stored.seen(number)
        for holder, entries in by_holder.values():
            self._hand_over(holder, number, call, entries)

    def _hand_over(self, holder: Holder, number: int, call: SocketCall | None, entries: Entries) -> None:
        cause = None
        if call is not None and call.number:
            if call.ordinals is None:
                call.ordinals = {}
            ordinal = call.ordinals.get(holder.identity, 0)
            call.ordinals[holder.identity] = ordinal + len(entries)
            cause = Cause(call.socket, call.number, ordinal)
        if number:
            self._unseen.setdefault(number, set()).add(holder.identity)
        holder.effects(self.instance.object_id, number, cause, entries)

    def _put_off(self, piece: Piece | Callable[[], None]) -> None:
        self._backlog.append(piece)
        if isinstance(piece, tuple):
            self._backlog_bytes += sum(len(data) for _, _, data in piece[2] if isinstance(data, str | bytes))
        if self._overflows() and self._timer is not None:
            self._timer.cancel()
            self._nobody_has_them()

    def _drain(self) -> None:
        """Holders were met, or sockets are lost: what waited leaves as far as it can."""
        backlog = self._backlog
        while backlog:
            piece = backlog[0]
            if not isinstance(piece, tuple):
                backlog.popleft()
                piece()
                continue
            number, call, out = piece
            out = [([socket for socket in sockets if not socket.lost], what, data) for sockets, what, data in out]
            out = [entry for entry in out if entry[0]]
            if not _all_met(out):
                return
            backlog.popleft()
            if out:
                self._tell(number, call, out)
            elif number:
                self.stored.seen(number)
        self._backlog_bytes = 0

    def in_order(self, answer: Callable[[Call, Result], None]) -> Callable[[Call, Result], None]:
        """An acknowledgement that waits behind effects which wait for their holder."""

        def answered(call: Call, result: Result) -> None:
            if self._backlog:
                self._put_off(lambda: answer(call, result))
            else:
                answer(call, result)

        return answered if self._unmet or self._backlog else answer

    # ------------------------------------------------------------------ holders
    def met(self, socket: ObjectSocket, holder: Holder) -> None:
        """The holder of a socket is known now, or is reached in another way than before."""
        if socket.holder is holder or socket.lost:
            return
        self._found(socket)
        socket.holder = holder
        if self._met.get(holder.identity) is not holder:
            again = holder.identity in self._met
            self._met[holder.identity] = holder
            holder.rules(self.instance.object_id, self.rules)
            if again:
                self._tell_again(holder)
        if socket.opening:
            socket.opening = False
            waiting, socket.waiting = socket.waiting, []
            for number, entries, call in _by_number(waiting):
                self._leave(number, call, [([socket], what, data) for what, data in entries])
        if self._backlog:
            self._drain()
        if not self._unmet and not self._opening:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_again(self, holder: Holder) -> None:
        """The way to a holder has changed: what it has not seen may be lost."""
        for number, entries in self.stored.unsent():
            if holder.identity not in self._unseen.get(number, ()):
                continue
            mine: Entries = []
            for ids, what, data in entries:
                held = [id for id in ids if id in self.by_id and self._is_at(id, holder)]
                if held:
                    mine.append((held, what, data))
            if mine:
                holder.effects(self.instance.object_id, number, None, mine)

    def _is_at(self, id: bytes, holder: Holder) -> bool:
        known = self.by_id[id].holder
        return known is not None and known.identity == holder.identity

    def held(self, holder: Holder, sockets: Iterable[tuple[bytes, int | None]]) -> None:
        """A holder says which it has. Those that the object does not know are ended."""
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
        left = self._unseen.get(number)
        if left is not None:
            left.discard(holder.identity)
            if not left:
                del self._unseen[number]
                self.stored.seen(number)

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
            if cast("Holder", socket.holder).identity == holder.identity and not socket.dropped and not socket.lost:
                self._lose(socket)
        for standard in [each for each in self.standard.values() if each.holder is holder]:
            standard.lost()
        for number in list(self._unseen):
            self.seen(holder, number)

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
        self._unlist(socket)
        if not socket.lost:
            self._found(socket)
        if socket in self._dropping:
            self._dropping.remove(socket)
        self.by_id.pop(socket.id, None)
        socket.lost = True
        socket.has_room()
        if socket.web is not None:
            socket.web.gone()
        self.instance.wrote()
        self.stored.removed(socket.row)

    def handled(self, call: SocketCall, socket: ObjectSocket) -> None:
        """The handler of a message has ended, in its last turn: what it sent goes, its number is recorded if it wrote."""
        instance = self.instance
        records = call.wrote or instance.turn_dirty is True
        if records and call.number:  # first: what is sent now must be recorded with it
            instance.wrote()
            socket.row.above.add(call.number)
            self.stored.handled(socket.row)
        if self._out:
            self.flush(call)
        call.over = True
        if records:
            return
        if instance.turn_dirty == SENT and not self._dropping:
            instance.turn_dirty = False

    def stop(self) -> None:
        """The object leaves memory."""
        self._stop_waiting()
        for socket in self.by_id.values():
            socket.has_room()


def _all_met(out: Iterable[tuple[list[ObjectSocket], int, object]]) -> bool:
    return all(
        socket.holder is not None or socket.lost or socket.opening for sockets, _, _ in out for socket in sockets
    )


def _by_number(
    waiting: Iterable[tuple[int, object, int, object]],
) -> list[tuple[int, list[tuple[int, object]], SocketCall | None]]:
    made: list[tuple[int, list[tuple[int, object]], SocketCall | None]] = []
    for number, call, what, data in waiting:
        if not made or made[-1][0] != number:
            made.append((number, [], cast("SocketCall | None", call)))
        made[-1][1].append((what, data))
    return made


def _answered(_call: Call, _result: Result) -> None:
    """Nobody waits for what the object tells itself."""


def _answered_to_an_end(call: Call, result: Result) -> None:
    """Something that has arrived at an end could not be delivered: the end is of no use any more."""
    end = cast("SocketCall", call).end
    if isinstance(result, Exception) and end is not None:
        end.cut_off()
