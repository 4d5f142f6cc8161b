"""What an object's turns send to its sockets, on its way to the holders (decision 015).

What always holds: what a turn sends leaves past the output gate, in order, and before the acknowledgement of the event that it
belongs to; what a turn that wrote sends, or one whose effects wait for an earlier commit, is in the outbox of its commit; what is
for sockets whose holder is not known yet waits, and what comes after it waits with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from .socket_calls import SEND, Cause, Effects, Holder, SocketCall
from .stored_sockets import Entries

if TYPE_CHECKING:
    from .calls import Call, Result
    from .instance import Instance
    from .object_socket import ObjectSocket
    from .object_storage import ObjectStorage
    from .sockets import Sockets

SENT = 2
"""In place of True in `Instance.turn_dirty`: the turn has sent, and written nothing."""
_NOTHING = object()
_BACKLOG_MAX = 4_096
_LOOSE_BYTES_MAX = 256 << 10
_ENTRY_BYTES = 64
Entry = tuple["list[ObjectSocket]", int, object]


@dataclass(slots=True)
class Piece:
    """Effects of a part of a turn, past the gate. `number`: of their record; 0: there is none."""

    number: int
    cause: Cause | None
    entries: list[Entry]


class Sending:
    """Of one instance's sockets."""

    __slots__ = ("_backlog", "_backlog_bytes", "_data", "_instance", "_out", "_sockets", "_to", "_unseen")

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._instance: Instance = sockets.instance
        self._out: list[Entry] = []
        """What the running turn has sent."""
        self._data: object = _NOTHING
        """Of the last entry; what is sent to the next socket as well joins it."""
        self._to: list[ObjectSocket] = []
        self._backlog: deque[Piece | Callable[[], None]] = deque()
        self._backlog_bytes = 0
        self._unseen: dict[int, set[str]] = {}
        """Recorded effects, by number: identities of holders that were sent them and have not said so."""

    # ------------------------------------------------------------------ in a turn
    def collect(self, socket: ObjectSocket, what: int, data: object) -> None:
        """The running turn sends."""
        instance = self._instance
        if instance.turns.running is not instance:
            instance.enter_storage()
        if socket.lost:
            return
        if data is self._data and what == SEND:  # the same to many: one entry
            self._to.append(socket)
            return
        self._data, self._to = data, [socket]
        self._out.append((self._to, what, data))
        if not instance.turn_dirty:
            instance.turn_dirty = SENT

    @property
    def waits_for_the_turn(self) -> bool:
        """Whether the running turn has sent what is not emitted yet."""
        return bool(self._out)

    def discard(self) -> None:
        """What the running turn has sent never leaves: its event runs again elsewhere."""
        self._out, self._data = [], _NOTHING

    def must_record(self) -> bool:
        """Whether what the turn sends would not leave at once: it waits for a commit, or for a holder. Then it goes into the
        record of a commit of its own. Else a later turn could record its message as handled, and a crash lose what it sent."""
        if self._instance.turn_dirty is True or not self._instance.output.open() or self._backlog:
            return True
        return bool(self._sockets.unmet or self._sockets.opening) and not all(
            each.holder is not None or each.lost for to, _, _ in self._out for each in to
        )

    def flush(self, call: SocketCall | None, *, last: bool = False) -> None:
        """Emit what the turn has sent so far. `call`: the event that it belongs to, if its handler has not ended. `last`: it
        ends now, and is recorded if the turn is."""
        emit, stored = self._instance.output.emit, self._sockets.stored
        record = self.must_record() or (call is not None and call.loose_bytes > _LOOSE_BYTES_MAX)
        out, self._out, self._data = self._out, [], _NOTHING
        inside = cast("ObjectStorage", self._instance.storage).depth  # of a transaction, which may still be undone
        recorded = record and not inside
        cause = None
        if call is not None and call.number:
            cause = Cause(call.socket, call.number, call.sent)
            call.sent += len(out)
            if not recorded and not last:
                self._keep(call, cause, out)
        if recorded:
            self._instance.wrote()
            if call is not None:
                self.record_loose(call)
        opening: list[ObjectSocket] = []
        if self._sockets.opening:
            opening = list(dict.fromkeys(socket for to, _, _ in out for socket in to if socket.opening))
        there = out if not opening else [([each for each in to if not each.opening], w, data) for to, w, data in out]
        if there is out or any(to for to, _, _ in there):
            number = stored.add(cause, _named(there)) if recorded else 0
            emit(self._leave, Piece(number, cause, there))
        for socket in opening:
            mine: list[Entry] = [([each], what, data) for to, what, data in out for each in to if each is socket]
            number = stored.add(None, _named(mine)) if recorded else 0
            emit(self._leave_later, Piece(number, None, mine), socket)

    def _keep(self, call: SocketCall, cause: Cause, out: list[Entry]) -> None:
        """What leaves unrecorded while the event goes on: who sends may die after a later turn has recorded the event, and
        before the holder has it."""
        if call.loose is None:
            call.loose = []
        call.loose.append((self._sockets.stored.next_number(), cause, _named(out)))
        call.loose_bytes += sum(len(data) for _, _, data in out if isinstance(data, str | bytes)) + _ENTRY_BYTES * len(
            out
        )

    def record_loose(self, call: SocketCall) -> None:
        """What the event has sent and not recorded goes into the outbox: with it, or because it has become much."""
        loose, call.loose, call.loose_bytes = call.loose, None, 0
        for number, cause, entries in loose or ():
            self._sockets.stored.add(cause, entries, number)
            self._instance.output.emit(self._ask_whether_seen, number, entries)

    def _ask_whether_seen(self, number: int, entries: Entries) -> None:
        """Past the gate: who says that he has the number has what was sent before."""
        by_id = self._sockets.by_id
        to = [by_id[id] for ids, _, _ in entries for id in ids if id in by_id]
        if self._backlog or (self._sockets.unmet and not all(each.holder is not None or each.lost for each in to)):
            self._put_off(lambda: self._ask_whether_seen_now(number, to))
        else:
            self._ask_whether_seen_now(number, to)

    def _ask_whether_seen_now(self, number: int, to: list[ObjectSocket]) -> None:
        holders = {each.holder.identity: each.holder for each in to if each.holder is not None}
        for holder in holders.values():
            self._hand_over(holder, Piece(number, None, []), [])
        if not holders:
            self._sockets.stored.seen(number)

    # ------------------------------------------------------------------ past the gate
    def _leave(self, piece: Piece) -> None:
        """Hand effects to the holders of their sockets; where one is not known all wait."""
        if self._backlog or (self._sockets.unmet and not _all_met(piece.entries)):
            self._put_off(piece)
        else:
            self._tell(piece)

    def _leave_later(self, piece: Piece, socket: ObjectSocket) -> None:
        """The same for a socket whose connection is being opened."""
        if not socket.opening:
            self._leave(piece)
            return
        socket.waiting.append(piece)
        if len(socket.waiting) > _BACKLOG_MAX:
            self._sockets.lose(socket)

    def opened(self, socket: ObjectSocket) -> None:
        """Its connection is there."""
        waiting, socket.waiting = socket.waiting, []
        for piece in waiting:
            self._leave(piece)

    def never_opened(self, socket: ObjectSocket) -> None:
        """It is gone, with what waited for it."""
        waiting, socket.waiting = socket.waiting, []
        for piece in waiting:
            if piece.number:
                self._sockets.stored.seen(piece.number)

    def _tell(self, piece: Piece) -> None:
        if len(piece.entries) == 1:  # an answer, nearly always
            to, what, data = piece.entries[0]
            if len(to) == 1 and to[0].holder is not None:
                self._hand_over(to[0].holder, piece, [([to[0].id], what, data)])
                return
        holder = next((socket.holder for to, _, _ in piece.entries for socket in to), None)
        if holder is not None and all(socket.holder is holder for to, _, _ in piece.entries for socket in to):
            effects = [([socket.id for socket in to], what, data) for to, what, data in piece.entries]
            self._hand_over(holder, piece, effects)
            return
        holders = {
            socket.holder.identity: socket.holder
            for to, _, _ in piece.entries
            for socket in to
            if socket.holder is not None
        }
        for (
            identity,
            holder,
        ) in holders.items():  # entries that are nothing to one are empty there: ordinals count them too
            effects = [
                ([each.id for each in to if each.has_parted or _is_at(each, identity)], w, data)
                for to, w, data in piece.entries
            ]
            self._hand_over(holder, piece, effects)
        if piece.number and not holders:
            self._sockets.stored.seen(piece.number)

    def _hand_over(self, holder: Holder, piece: Piece, effects: Effects) -> None:
        if piece.number:
            self._unseen.setdefault(piece.number, set()).add(holder.identity)
        holder.effects(self._instance.object_id, piece.number, piece.cause, effects)

    # ------------------------------------------------------------------ waiting for holders
    def put_back(self, number: int, cause: Cause | None, entries: list[Entry]) -> None:
        """The outbox had it when the object was loaded. What is for nobody but sockets that have parted waits for them, and
        nothing with it; else those are served along with the others, by the same holder."""
        to = [socket for each, _, _ in entries for socket in each]
        piece = Piece(number, cause, entries)
        if not to:
            self._sockets.stored.seen(number)
        elif all(socket.has_parted for socket in to):
            to[0].waiting.append(piece)
        else:
            self._backlog.append(piece)

    def _put_off(self, piece: Piece | Callable[[], None]) -> None:
        self._backlog.append(piece)
        if isinstance(piece, Piece):
            self._backlog_bytes += sum(len(data) for _, _, data in piece.entries if isinstance(data, str | bytes))
        if self.overflows():
            self._sockets.wait_no_longer()

    def part_from(self, late: list[ObjectSocket]) -> None:
        """What waits for these waits with each of them, and nothing else with it. Its number is the others': the holder that
        opens one may have had it, so it goes without."""
        apart = set(late)
        for piece in self._backlog:
            if not isinstance(piece, Piece) or not any(each in apart for to, _, _ in piece.entries for each in to):
                continue
            theirs: dict[ObjectSocket, list[Entry]] = {}
            for to, what, data in piece.entries:
                for socket in to:
                    if socket in apart:
                        theirs.setdefault(socket, []).append(([socket], what, data))
            for socket, mine in theirs.items():
                socket.waiting.append(Piece(0, None, mine))
            piece.entries = [
                ([each for each in to if each not in apart], what, data) for to, what, data in piece.entries
            ]

    def overflows(self) -> bool:
        """Whether more waits than may."""
        bytes_max = self._instance.limits.socket_backlog_bytes_max
        return len(self._backlog) > _BACKLOG_MAX or self._backlog_bytes > bytes_max

    @property
    def waits(self) -> bool:
        """Whether anything waits for a holder."""
        return bool(self._backlog)

    def drain(self) -> None:
        """Holders were met, or sockets are lost: what waited leaves as far as it can."""
        backlog = self._backlog
        while backlog:
            piece = backlog[0]
            if not isinstance(piece, Piece):
                backlog.popleft()
                piece()
                continue
            piece.entries = [
                ([each for each in to if not each.lost or each.holder is not None], what, data)
                for to, what, data in piece.entries
            ]
            if not _all_met(piece.entries):
                return
            backlog.popleft()
            self._tell(piece)
        self._backlog_bytes = 0

    def in_order(self, answer: Callable[[Call, Result], None]) -> Callable[[Call, Result], None]:
        """An acknowledgement waits behind effects that wait for their holder."""

        def answered(call: Call, result: Result) -> None:
            if self._backlog:
                self._put_off(lambda: answer(call, result))
            else:
                answer(call, result)

        return answered if self._sockets.unmet or self._backlog else answer

    # ------------------------------------------------------------------ what holders have
    def seen(self, identity: str, number: int) -> None:
        """Recorded effects have arrived at a holder, or it is gone."""
        left = self._unseen.get(number)
        if left is not None:
            left.discard(identity)
            if not left:
                del self._unseen[number]
                self._sockets.stored.seen(number)

    def holder_gone(self, identity: str) -> None:
        for number in list(self._unseen):
            self.seen(identity, number)

    def tell_again(self, holder: Holder) -> None:
        """The way to a holder has changed: what it has not said that it has may be lost."""
        by_id = self._sockets.by_id
        for number, cause, entries in self._sockets.stored.unsent():
            if holder.identity in self._unseen.get(number, ()):
                effects = [
                    ([id for id in ids if id not in by_id or _is_at(by_id[id], holder.identity)], what, data)
                    for ids, what, data in entries
                ]
                holder.effects(self._instance.object_id, number, cause, effects)


def _named(entries: Iterable[Entry]) -> Entries:
    return [([each.id for each in to], what, data) for to, what, data in entries]


def _all_met(entries: Iterable[Entry]) -> bool:
    return all(each.holder is not None or each.lost or each.opening for to, _, _ in entries for each in to)


def _is_at(socket: ObjectSocket, identity: str) -> bool:
    return socket.holder is not None and socket.holder.identity == identity
