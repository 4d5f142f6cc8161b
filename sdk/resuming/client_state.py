"""A resuming client's decisions, without connection, clock or randomness: what happened goes in, what to do comes out.

What always holds: each entry of the stream is given to the program once, in order, whatever connections die (or a reset says that
it was too long away); each message that `send` took is sent again on every new connection until the object has acknowledged
it, so that the object, which counts, handles it once. `clients/resume.js` decides the same (`tests/sdk/resuming` compares them).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from ...engine.errors import Overloaded
from .backoff import BROKEN, is_final, wait_ms

VERSION = 1
PING, PONG = "ping", "pong"
CONNECTING, LIVE, OFFLINE, ENDED = "connecting", "live", "offline", "ended"
"""What a user is shown. CONNECTING: for the first time, or it was lost just now; OFFLINE: an attempt has failed, more follow."""
_REST, _DIALLING, _OPEN, _ENDED = range(4)

Effect = tuple[object, ...]
"""("dial",): open a new connection. ("send", text). ("drop", code): close the connection, whose events no longer matter.
("message", data, cursor or None): for the program. ("reset", snapshot, log, cursor): it forgets what it had; the stream begins
with the snapshot, and goes on after the cursor. ("state", state). ("ended", why)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds of a client, in milliseconds and messages."""

    quiet_ms: int = 15_000
    """Nothing was heard for so long: it asks whether anybody is there."""
    answer_ms: int = 10_000
    """For connecting, for a welcome, for the answer to that question; then the connection is taken for dead."""
    steady_ms: int = 10_000
    """Live for so long: failures before are forgotten."""
    unsent_max: int = 1_000


class ClientState:
    """Events are its methods; each gives the effects, in order. `due_ms`: when to call `tick`, None for never."""

    def __init__(
        self,
        client: str,
        chance: Callable[[], float],
        *,
        log: str | None = None,
        cursor: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`client`: a random text that nobody else has. `log`, `cursor`: a position to begin at, kept from before."""
        self.client, self.log, self.cursor = client, log, cursor
        self.patience = patience or Patience()
        self.state = CONNECTING
        self.unsent: deque[tuple[int, str]] = deque()
        """(number, message) of those that are not acknowledged."""
        self.number = 0
        """Of the last message that was sent."""
        self.due_ms: int | None = None
        self._chance = chance
        self._phase = _REST
        self._welcomed = self._asked = self._pinged = False
        self._last = 0
        """Of the stream when it was last asked for: there is more until the cursor is here."""
        self._failures = self._broken = 0
        self._live_ms = 0
        self._out: list[Effect] = []

    # ------------------------------------------------------------------ what the program does
    def start(self, now_ms: int) -> list[Effect]:
        if self._phase == _REST:
            self._dial(now_ms)
        return self._effects()

    def send(self, data: object) -> list[Effect]:
        """Takes a message; raises Overloaded when too many are waiting, TypeError or ValueError when it is not JSON."""
        if len(self.unsent) >= self.patience.unsent_max:
            raise Overloaded(
                f"{len(self.unsent)} messages wait to be acknowledged", hint="wait until the client is live"
            )
        number = self.number + 1
        message = _json({"from": self.client, "n": number, "data": data})
        self.number = number
        self.unsent.append((number, message))
        if self._welcomed:
            self._out.append(("send", message))
        return self._effects()

    def tell(self, data: object) -> list[Effect]:
        """Sends what may be lost (where a pointer is, who is typing), now or never."""
        if self._welcomed:
            self._out.append(("send", _json({"data": data})))
        return self._effects()

    def stop(self) -> list[Effect]:
        self._end("stopped")
        return self._effects()

    def hint(self, now_ms: int) -> list[Effect]:
        """Something has changed (the network is back, the page is looked at): see at once whether the connection lives."""
        if self._phase == _REST and self.due_ms is not None:
            self._dial(now_ms)
        elif self._phase == _OPEN and self._welcomed and not self._pinged:
            self._ping(now_ms)
        return self._effects()

    # ------------------------------------------------------------------ what happens to it
    def opened(self, now_ms: int) -> list[Effect]:
        if self._phase == _DIALLING:
            self._phase = _OPEN
            self._ask()
            self.due_ms = now_ms + self.patience.answer_ms
        return self._effects()

    def closed(self, now_ms: int, code: int) -> list[Effect]:
        """The connection has ended, or there was none. 1006: without saying why."""
        if self._phase in (_DIALLING, _OPEN):
            if self.state == LIVE and now_ms - self._live_ms >= self.patience.steady_ms:
                self._failures = 0
            self._broken = self._broken + 1 if code == BROKEN else self._broken
            self._phase = _REST
            if is_final(code, self._broken):
                self._end(f"closed with {code}")
            else:
                self._lost(now_ms, code)
        return self._effects()

    def tick(self, now_ms: int) -> list[Effect]:
        if self.due_ms is None or now_ms < self.due_ms:
            return []
        if self._phase == _REST:
            self._dial(now_ms)
        elif self._welcomed and not self._pinged:
            self._ping(now_ms)
        else:
            self._out.append(("drop", 1000))
            return self.closed(now_ms, 1006)
        return self._effects()

    def text(self, now_ms: int, text: str) -> list[Effect]:
        """A message has come. What is not of the protocol is passed over: a later version may say more."""
        if self._phase != _OPEN:
            return []
        if self._welcomed:
            self._pinged = False
            self.due_ms = now_ms + self.patience.quiet_ms
        found = _object(text)
        if "refused" in found:
            self._end(str(found["refused"]))
        elif "welcome" in found:
            self._welcome(now_ms, found)
        elif not self._welcomed:
            pass  # an entry or a message for all that came before the welcome: the welcome brings it
        elif "c" in found:
            self._entry(now_ms, found)
        elif "ack" in found:
            self._acknowledged(found["ack"])
        elif "data" in found:
            self._out.append(("message", found["data"], None))
        return self._effects()

    # ------------------------------------------------------------------ decisions
    def _welcome(self, now_ms: int, found: dict[str, Any]) -> None:
        if not self._asked:
            return
        self._asked = False
        if found["reset"] or self.cursor is None:
            self.log, self.cursor = found["log"], found["cursor"]
            self._out.append(("reset", found.get("snapshot"), self.log, self.cursor))
        self._last = found["last"]
        for cursor, data in enumerate(found["entries"], found["cursor"] + 1):
            self._take(cursor, data)
        self._acknowledged(found["seen"], progress=False)
        if not self._welcomed:
            self._welcomed = True
            self.due_ms = now_ms + self.patience.quiet_ms
            self._out.extend(("send", message) for _, message in self.unsent)
        self._go_on(now_ms)

    def _entry(self, now_ms: int, found: dict[str, Any]) -> None:
        if self._take(found["c"], found["data"]):
            self._go_on(now_ms)
        elif found["c"] > cast("int", self.cursor):
            self._last = max(self._last, found["c"])
            self._ask()

    def _take(self, cursor: int, data: object) -> bool:
        """Whether it is the next one; else it was had before, or one before it is missing."""
        if cursor != cast("int", self.cursor) + 1:
            return False
        self.cursor = cursor
        self._out.append(("message", data, cursor))
        return True

    def _go_on(self, now_ms: int) -> None:
        """Ask for the next part while there is more; live when there is not."""
        if cast("int", self.cursor) < self._last:
            self._ask()
        elif self.state != LIVE:
            self.state, self._live_ms = LIVE, now_ms
            self._out.append(("state", LIVE))

    def _acknowledged(self, number: int, *, progress: bool = True) -> None:
        while self.unsent and self.unsent[0][0] <= number:
            self.unsent.popleft()
        if progress:
            self._broken = 0

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            hello = {"hello": VERSION, "client": self.client, "log": self.log, "cursor": self.cursor}
            self._out.append(("send", _json(hello)))

    def _ping(self, now_ms: int) -> None:
        self._pinged = True
        self.due_ms = now_ms + self.patience.answer_ms
        self._out.append(("send", PING))

    def _dial(self, now_ms: int) -> None:
        self._phase = _DIALLING
        self.due_ms = now_ms + self.patience.answer_ms
        self._out.append(("dial",))

    def _lost(self, now_ms: int, code: int) -> None:
        self._rest(_REST)
        state = CONNECTING if self.state == LIVE else OFFLINE
        self.due_ms = now_ms + wait_ms(self._failures, code, self._chance())
        self._failures += 1
        if state != self.state:
            self.state = state
            self._out.append(("state", state))

    def _end(self, why: str) -> None:
        if self._phase == _ENDED:
            return
        if self._phase in (_DIALLING, _OPEN):
            self._out.append(("drop", 1000))
        self._rest(_ENDED)
        self.state = ENDED
        self._out += [("state", ENDED), ("ended", why)]

    def _rest(self, phase: int) -> None:
        self._phase, self.due_ms = phase, None
        self._welcomed = self._asked = self._pinged = False

    def _effects(self) -> list[Effect]:
        found, self._out = self._out, []
        return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _object(text: str) -> dict[str, Any]:
    """Empty when it is not a JSON object."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
