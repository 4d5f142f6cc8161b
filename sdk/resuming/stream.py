"""An object's side of clients that resume: a bounded log of what it published, and what it has had of each client.

    class Room(DurableObject):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            self.stream = Stream(ctx)

        async def webSocketMessage(self, socket, message):
            received = self.stream.receive(socket, message)
            if received:
                self.stream.publish({"text": received.data})

What always holds: cursors of the log are 1, 2, 3, … without a gap, and what was published under one never changes; that a
client's message was had is recorded in the turn that handles it, with all that this turn writes and sends. So a client that says
where it was gets exactly what it has missed, and a message that it sends again is not handled again. All of it lies in the
object's own tables `<name>_log`, `<name>_clients` and `<name>_about`; of sockets nothing is kept.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from ...engine.errors import InvalidArgument, ValueTooLarge
from ...engine.web_socket_pair import WebSocketRequestResponsePair
from .client_state import PING, PONG, VERSION

PAGE_MAX, PAGE_BYTES = 200, 256 << 10
"""Entries and bytes of one welcome; a client that has more to get asks again."""
ENTRY_BYTES_MAX = 1 << 20
FORGET_MS = 30 * 86_400_000
"""A client that has sent nothing for so long is forgotten: what it would send again now would be handled again."""
CLIENT_LENGTH_MAX = 64
_TRIM_EVERY = 64
_REFUSED = 4_400
_RESTARTED = 1_012
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")


class Socket(Protocol):
    """What is used of an object's WebSocket."""

    readyState: int

    def send(self, message: str, /) -> object: ...
    def close(self, code: int, reason: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Received:
    """A message for the program. `client`, `number`: of one that is counted; None of one that may be lost, or of a plain client.

    `data`: what a resuming client sent; of a plain one its message as it came, text or bytes.
    """

    data: Any
    client: str | None = None
    number: int | None = None


class Stream:
    """One stream of an object: who follows it hears what it publishes, and what they have missed when they come back.

    `keep`, `keep_bytes`: about so many of the last entries are kept, within so many characters; a client that missed more is
    reset. `snapshot`: gives what a client needs that begins, or is reset, as JSON; without it it gets the kept entries. `tag`: of
    the sockets that follow; None: all of the object's.
    """

    def __init__(
        self,
        ctx: Any,
        name: str = "stream",
        *,
        keep: int = 1_000,
        keep_bytes: int = 4 << 20,
        tag: str | None = None,
        snapshot: Callable[[], object] | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        if not _NAME.fullmatch(name) or keep < 1 or keep_bytes < 1:
            raise InvalidArgument(
                f"a stream has a name of letters, digits and _, and keeps something: got {name!r}, {keep}, {keep_bytes}"
            )
        self._ctx, self._sql = ctx, ctx.storage.sql
        self._name, self._tag, self._snapshot = name, tag, snapshot
        self._keep, self._keep_bytes = keep, keep_bytes
        self._now_ms = now_ms or _now_ms
        if ctx.getWebSocketAutoResponse() is None:  # pings wake nobody; an answer that the program has chosen stays
            ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair(PING, PONG))

    # ------------------------------------------------------------------ what comes in
    def receive(self, socket: Socket, message: str | bytes) -> Received | None:
        """What the program has to handle of a message; None: it was of the protocol, or was had before.

        Call it first in `webSocketMessage`, and do what the message asks for without a suspension: then it is done once.
        """
        if message == PING:
            socket.send(PONG)
            return None
        found = _object(message)
        if "hello" in found:
            self._greet(socket, found)
            return None
        if "n" in found and "from" in found and "data" in found:
            return self._counted(socket, found)
        if found.keys() == {"data"}:
            return Received(found["data"])
        return Received(message)

    def _counted(self, socket: Socket, found: dict[str, Any]) -> Received | None:
        client, number = found["from"], found["n"]
        if not _is_client(client) or type(number) is not int or number < 1:
            _refuse(socket, "a message has `from`, a text, and `n`, from 1")
            return None
        self._make()
        seen = self._seen(client)
        if number > seen:
            self._sql.exec(
                f"INSERT OR REPLACE INTO {self._name}_clients VALUES(?, ?, ?)", client, number, self._now_ms()
            )
        socket.send(f'{{"ack":{max(number, seen)}}}')
        return Received(found["data"], client, number) if number > seen else None

    def _greet(self, socket: Socket, hello: dict[str, Any]) -> None:
        client, log, cursor = hello.get("client"), hello.get("log"), hello.get("cursor")
        if hello["hello"] != VERSION:
            _refuse(socket, f"version {VERSION} of the protocol is spoken here")
            return
        if not _is_client(client) or not (cursor is None or type(cursor) is int):
            _refuse(socket, "a hello has `client`, a text, and `cursor`, a number or null")
            return
        self._make()
        own, (first, last) = self._log(), self._bounds()
        reset = log != own or cursor is None or not first <= cursor <= last
        welcome: dict[str, object] = {
            "welcome": VERSION,
            "log": own,
            "seen": self._seen(cast("str", client)),
            "reset": reset,
        }
        if reset and self._snapshot is not None:
            welcome["snapshot"] = self._snapshot()
            cursor = last
        elif reset:
            cursor = first
        head = _json({**welcome, "cursor": cursor, "last": last})
        socket.send(f'{head[:-1]},"entries":[{",".join(self._after(cast("int", cursor)))}]}}')

    def _after(self, cursor: int) -> list[str]:
        """Entries after a cursor, as JSON: a page of them, at least one if there is one."""
        found: list[str] = []
        room = PAGE_BYTES
        rows = self._rows(
            f"SELECT data FROM {self._name}_log WHERE cursor > ? ORDER BY cursor LIMIT {PAGE_MAX}", cursor
        )
        for (data,) in rows:
            room -= len(data)
            if room < 0 and found:
                break
            found.append(data)
        return found

    # ------------------------------------------------------------------ what goes out
    def publish(self, data: object) -> int:
        """Append to the log and send it to who follows; the cursor. Raises ValueTooLarge, and TypeError when it is not JSON."""
        text = _json(data)
        if len(text) > ENTRY_BYTES_MAX:
            raise ValueTooLarge(
                f"an entry of a stream of {len(text)} characters; at most {ENTRY_BYTES_MAX}",
                hint="publish where it is kept instead",
            )
        self._make()
        _, last = self._bounds()
        upto = self._rows(f"SELECT upto FROM {self._name}_log WHERE cursor = ?", last)
        cursor = last + 1
        self._sql.exec(
            f"INSERT INTO {self._name}_log VALUES(?, ?, ?)", cursor, (upto[0][0] if upto else 0) + len(text), text
        )
        if cursor % _TRIM_EVERY == 0:
            self._trim(cursor)
        self._to_all(f'{{"c":{cursor},"data":{text}}}')
        return cursor

    def tell(self, data: object, *, to: Iterable[Socket] | None = None) -> None:
        """Send what nobody needs who comes later: to all who follow, or to some. It is kept nowhere."""
        self._to_all(_json({"data": data}), to)

    def renew(self) -> None:
        """Begin a new log, and send every client there: after the object was restored to an earlier moment."""
        self._make()
        self._sql.exec(f"UPDATE {self._name}_about SET log = ?", secrets.token_hex(8))
        for socket in self._sockets():
            if socket.readyState == 1:
                socket.close(_RESTARTED, "the stream begins anew")

    @property
    def last(self) -> int:
        """The cursor of what was published last, 0 before the first."""
        return self._bounds()[1] if self._exists() else 0

    def _to_all(self, text: str, to: Iterable[Socket] | None = None) -> None:
        for socket in self._sockets() if to is None else to:
            if socket.readyState == 1:
                socket.send(text)

    def _sockets(self) -> Sequence[Socket]:
        return self._ctx.getWebSockets() if self._tag is None else self._ctx.getWebSockets(self._tag)

    # ------------------------------------------------------------------ tables
    def _exists(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", f"{self._name}_about"))

    def _make(self) -> None:
        """The tables, if they are not there: the object may be new, or have erased everything."""
        if self._exists():
            return
        name = self._name
        self._sql.exec(
            f"CREATE TABLE {name}_log(cursor INTEGER PRIMARY KEY, upto INTEGER NOT NULL, data TEXT NOT NULL)"
        )
        self._sql.exec(
            f"CREATE TABLE {name}_clients(client TEXT PRIMARY KEY, seen INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID"
        )
        self._sql.exec(f"CREATE TABLE {name}_about(log TEXT NOT NULL)")
        self._sql.exec(f"INSERT INTO {name}_about VALUES(?)", secrets.token_hex(8))

    def _log(self) -> str:
        return self._rows(f"SELECT log FROM {self._name}_about")[0][0]

    def _bounds(self) -> tuple[int, int]:
        """The cursor before the first that is kept, and the last."""
        first, last = self._rows(
            f"SELECT (SELECT min(cursor) FROM {self._name}_log), (SELECT max(cursor) FROM {self._name}_log)"
        )[0]
        return (first - 1, last) if last else (0, 0)

    def _seen(self, client: str) -> int:
        found = self._rows(f"SELECT seen FROM {self._name}_clients WHERE client = ?", client)
        return found[0][0] if found else 0

    def _trim(self, last: int) -> None:
        """Never the last entry: its cursor is where the next one's comes from."""
        log, total = f"{self._name}_log", f"(SELECT upto FROM {self._name}_log WHERE cursor = ?)"
        self._sql.exec(f"DELETE FROM {log} WHERE cursor <= ?", last - self._keep)
        self._sql.exec(f"DELETE FROM {log} WHERE cursor < ? AND upto <= {total} - ?", last, last, self._keep_bytes)
        self._sql.exec(f"DELETE FROM {self._name}_clients WHERE at < ?", self._now_ms() - FORGET_MS)

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._sql.exec(statement, *values).raw()]


def _is_client(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= CLIENT_LENGTH_MAX


def _refuse(socket: Socket, why: str) -> None:
    socket.send(_json({"refused": why}))
    socket.close(_REFUSED, why)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _object(message: object) -> dict[str, Any]:
    """Empty when it is not the text of a JSON object."""
    if not isinstance(message, str):
        return {}
    try:
        found = json.loads(message)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
