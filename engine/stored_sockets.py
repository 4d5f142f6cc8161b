"""An object's sockets as they are stored: hidden tables of its own database (decision 015).

`_cf_SOCKETS`: a row for each accepted socket that hibernates. `_cf_OUTBOX`: what a turn that wrote sends, until its holders have
it. The note `sockets` says that there are such tables, and what the object has decided for all of its sockets.

What always holds: rows are written in the transaction of the turn that they belong to, at its end, so no savepoint of the program
undoes them; the newest row of the outbox stays until there is a newer one, so numbers never repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn, Protocol, cast

import apsw
import msgpack

from .database import Database
from .socket_calls import Cause, Rules

NOTE = "sockets"
_CREATE = (
    "create table if not exists _cf_SOCKETS(id BLOB PRIMARY KEY, number INTEGER, tags BLOB, attachment BLOB, "
    "handled INTEGER, above BLOB) WITHOUT ROWID",
    "create table if not exists _cf_OUTBOX(number INTEGER PRIMARY KEY, effects BLOB)",
)
_ROWS = "select id, number, tags, attachment, handled, above from _cf_SOCKETS order by abs(number)"
_UPSERT = "insert or replace into _cf_SOCKETS values(?, ?, ?, ?, ?, ?)"
_HANDLED = "update _cf_SOCKETS set handled = ?, above = ? where id = ?"
_DELETE = "delete from _cf_SOCKETS where id = ?"
_NOTE = "insert or replace into _cf_METADATA values(?, ?)"
_SEND = "insert into _cf_OUTBOX values(?, ?)"
_SENT = "select number, effects from _cf_OUTBOX order by number"
_SEEN = "delete from _cf_OUTBOX where number = ?"
DROP_TABLES = "drop table if exists _cf_SOCKETS; drop table if exists _cf_OUTBOX"
"""Another file than the object's own has no sockets."""

Entries = list[tuple[list[bytes], int, object]]


class SocketsHost(Protocol):
    """What this asks of the storage around it."""

    def reading(self) -> Database | None: ...
    def begin_exclusive(self) -> Database: ...
    def wrote_kv(self, unconfirmed: bool = False) -> None: ...
    def fail(self, error: apsw.Error) -> NoReturn: ...
    @property
    def generation(self) -> int: ...


@dataclass(slots=True, eq=False)
class SocketRow:
    """One accepted socket. `number`: its place in the order of acceptance; negative once its close was handled, 0 when its
    row is gone with that, and only the outbox still names it.

    `handled`: all its messages up to there need not be remembered; `above`: those recorded beyond.
    """

    id: bytes
    number: int
    tags: tuple[str, ...]
    attachment: bytes | None = None
    handled: int = 0
    above: set[int] = field(default_factory=set[int])

    @property
    def has_closed(self) -> bool:
        """Only messages from before its close may still come again."""
        return self.number <= 0


class StoredSockets:
    """Reads and writes the tables of one object. Nothing is written before `write`."""

    __slots__ = (
        "_changed",
        "_handled",
        "_host",
        "_made",
        "_newest_row",
        "_note",
        "_outbox",
        "_removed",
        "_seen",
        "newest",
    )

    def __init__(self, host: SocketsHost, made: bool) -> None:
        """`made`: the tables are there."""
        self._host = host
        self._made = made
        self._changed: dict[bytes, SocketRow] = {}
        self._handled: dict[bytes, SocketRow] = {}
        self._removed: dict[bytes, None] = {}
        self._outbox: list[tuple[int, Cause | None, Entries]] = []
        self._seen: set[int] = set()
        self._note: list[object] | None = None
        self.newest = 0
        """The last number given to effects."""
        self._newest_row = 0
        """Of those in the outbox: it stays until there is a newer one."""

    # ------------------------------------------------------------------ reading
    def rows(self) -> list[SocketRow]:
        """In the order of acceptance."""
        return [
            SocketRow(
                cast("bytes", id),
                cast("int", number),
                tuple(cast("list[str]", _unpack(tags))),
                None if attachment is None else bytes(cast("bytes", attachment)),
                cast("int", handled),
                set(cast("list[int]", _unpack(above))),
            )
            for id, number, tags, attachment, handled, above in self._select(_ROWS)
        ]

    def unsent(self) -> list[tuple[int, Cause | None, Entries]]:
        """What may not have reached its holders, by number. Makes the next numbers larger."""
        found = [(cast("int", number), *_effects(_unpack(effects))) for number, effects in self._select(_SENT)]
        self._newest_row = max(self._newest_row, max((number for number, _, _ in found), default=0))
        self.newest = max(self.newest, self._newest_row)
        return found

    def _select(self, query: str) -> list[tuple[object, ...]]:
        database = self._host.reading() if self._made else None
        if database is None:
            return []
        try:
            return cast("list[tuple[object, ...]]", database.connection.execute(query).fetchall())
        except apsw.Error as error:
            self._host.fail(error)

    # ------------------------------------------------------------------ what the turn's end writes
    def changed(self, row: SocketRow) -> None:
        self._changed[row.id] = row

    def handled(self, row: SocketRow) -> None:
        self._handled[row.id] = row

    def removed(self, row: SocketRow) -> None:
        self._changed.pop(row.id, None)
        self._handled.pop(row.id, None)
        self._removed[row.id] = None

    def noted(self, rules: Rules, timeout_ms: int) -> None:
        self._note = [rules.request, rules.response, rules.overflow, timeout_ms]

    def seen(self, number: int) -> None:
        """The row goes with the next commit, not with one of its own."""
        self._seen.add(number)

    def next_number(self) -> int:
        """Of effects that will perhaps be recorded later."""
        self.newest = max(self.newest + 1, (self._host.generation << 40) + 1)
        return self.newest

    def add(self, cause: Cause | None, entries: Entries, number: int = 0) -> int:
        """Effects of the turn; their number. `number`: the one that they were given before."""
        number = number or self.next_number()
        self._outbox.append((number, cause, entries))
        self._newest_row = max(self._newest_row, number)
        return number

    @property
    def dirty(self) -> bool:
        """Whether there is anything that must be written."""
        return bool(self._changed or self._handled or self._removed or self._outbox or self._note is not None)

    def write(self) -> None:
        """Write all that has changed into the turn's transaction. Raises PerdureError."""
        connection = self._host.begin_exclusive().connection
        execute = connection.execute
        try:
            if not self._made:
                for statement in _CREATE:
                    execute(statement)
                if self._note is None:
                    self.noted(Rules(), 0)
            if self._note is not None:
                execute(_NOTE, (NOTE, _pack(self._note)))
            for row in self._changed.values():
                execute(_UPSERT, (row.id, row.number, _pack(list(row.tags)), row.attachment, row.handled, _above(row)))
            for id, row in self._handled.items():
                if id not in self._changed:
                    execute(_HANDLED, (row.handled, _above(row), id))
            for id in self._removed:
                execute(_DELETE, (id,))
            for number, cause, entries in self._outbox:
                named = None if cause is None else (cause.socket, cause.number, cause.ordinal)
                execute(_SEND, (number, _pack((named, entries))))
            for number in self._seen:
                if number != self._newest_row:
                    execute(_SEEN, (number,))
        except apsw.Error as error:
            self._host.fail(error)
        self._made = True
        self._note = None
        self._seen &= {self._newest_row}
        for written in (self._changed, self._handled, self._removed, self._outbox):
            written.clear()
        self._host.wrote_kv()


def read_note(note: object, replies_to_close: bool) -> tuple[Rules, int]:
    """The rules and the event timeout that a note says."""
    request, response, overflow, timeout_ms = cast("tuple[str | None, str | None, str, int]", _unpack(note))
    return Rules(request, response, replies_to_close, overflow), timeout_ms


def _pack(value: object) -> bytes:
    return cast("bytes", msgpack.packb(value))


def _unpack(packed: object) -> object:
    return msgpack.unpackb(cast("bytes", packed))


def _above(row: SocketRow) -> bytes:
    return _pack(sorted(row.above))


def _effects(packed: object) -> tuple[Cause | None, Entries]:
    named, entries = cast("tuple[tuple[bytes, int, int] | None, list[tuple[list[bytes], int, object]]]", packed)
    made: Entries = []
    for ids, what, data in entries:
        made.append((ids, what, tuple(cast("list[object]", data)) if isinstance(data, list) else data))
    return None if named is None else Cause(*named), made
