"""A client in Python that carries on where it was: `async with Client("ws://…") as client`.

What always holds: `client_state.ClientState` decides, this does it; one task owns the connection, and it ends with the client.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, cast

from ...engine.errors import NotConnected
from .client_state import ENDED, ClientState, Patience

ABNORMAL = 1006
REFUSED = 1008
_HEARD_MAX = 1_000
_CLOSE_S = 5.0
"""For the closing handshake; then the connection is cut."""


@dataclass(frozen=True, slots=True)
class Message:
    """An entry of the stream; `cursor` None: a message that is not kept."""

    data: Any
    cursor: int | None


@dataclass(frozen=True, slots=True)
class Reset:
    """What was had before no longer counts: the stream begins with the snapshot (None if the object gives none)."""

    snapshot: Any
    log: str
    cursor: int


class Connection(Protocol):
    """A WebSocket of a client, as `Client` needs it."""

    async def send(self, text: str) -> None:
        """Raises OSError when it is gone."""
        ...

    async def receive(self) -> str | int:
        """A text, or the closing code after which nothing comes."""
        ...

    async def close(self, code: int) -> None: ...


Dial = Callable[[], Awaitable[Connection | int]]
"""Opens a connection; a closing code when it was refused. Raises OSError when nobody answers."""


class Client:
    """Follows one stream of one object. Iterating gives Message and Reset, in order, once each.

    `url`: ws:// or wss:// (with `dial` it is not used). `log`, `cursor`: a `position` kept from before. `on_state`: is told of
    "connecting", "live", "offline" and "ended". Where nobody iterates, about 1,000 events wait, then nothing more is read.
    """

    def __init__(
        self,
        url: str = "",
        *,
        log: str | None = None,
        cursor: int | None = None,
        headers: dict[str, str] | None = None,
        patience: Patience | None = None,
        on_state: Callable[[str], None] | None = None,
        dial: Dial | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._core = ClientState(secrets.token_hex(16), chance, log=log, cursor=cursor, patience=patience)
        self._position = (log, cursor)
        self._url, self._headers, self._given_dial, self._on_state = url, headers, dial, on_state
        self._heard: deque[Message | Reset] = deque()
        self._changed = asyncio.Event()  # a new one after each change
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._connection: Connection | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._close_session: Callable[[], Awaitable[None]] | None = None
        self.why = ""
        """Why it has ended."""

    # ------------------------------------------------------------------ what programs do
    async def __aenter__(self) -> Client:
        if self._given_dial is None:
            from .dialling import Dialler

            dialler = Dialler(self._url, self._headers or {})
            self._given_dial, self._close_session = dialler, dialler.close
        self._do(self._core.start(_now_ms()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """What is not acknowledged is given up: `await flushed()` first."""
        self._do(self._core.stop())
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_S)
        tasks = [*self._tasks, *self._closing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._close_session is not None:
            await self._close_session()

    @property
    def state(self) -> str:
        return self._core.state

    @property
    def position(self) -> tuple[str | None, int | None]:
        """(log, cursor) of what iterating has given so far: keep it to go on from there in another process."""
        return self._position

    @property
    def unsent(self) -> int:
        """Messages that the object has not acknowledged."""
        return len(self._core.unsent)

    async def send(self, data: object) -> int:
        """Send once, whatever connections die; its number. Waits for room. Raises NotConnected when the client has ended."""
        while self.unsent >= self._core.patience.unsent_max:
            await self._change()
        self._check()
        self._do(self._core.send(data))
        return self._core.number

    def tell(self, data: object) -> None:
        """Send now or never."""
        self._do(self._core.tell(data))

    async def flushed(self) -> None:
        """Until everything that was sent is acknowledged."""
        while self.unsent:
            self._check()
            await self._change()

    async def became(self, state: str) -> None:
        """Until it is in this state."""
        while self.state != state:
            self._check()
            await self._change()

    async def __aiter__(self) -> AsyncIterator[Message | Reset]:
        while True:
            while self._heard:
                event = self._heard.popleft()
                self._moved(event)
                self._tell_change()
                yield event
            if self.state == ENDED:
                return
            await self._change()

    def _moved(self, event: Message | Reset) -> None:
        if isinstance(event, Reset):
            self._position = (event.log, event.cursor)
        elif event.cursor is not None:
            self._position = (self._position[0], event.cursor)

    def _check(self) -> None:
        if self.state == ENDED:
            raise NotConnected(f"the client has ended: {self.why}", hint="make a new one, from its position")

    async def _change(self) -> None:
        if self.state != ENDED:
            await self._changed.wait()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ------------------------------------------------------------------ what it does
    def _do(self, effects: list[tuple[object, ...]]) -> None:
        for what, *rest in effects:
            match what:
                case "dial":
                    self._connection = None
                    self._outgoing = asyncio.Queue()
                    self._own(self._serve(self._outgoing), "resuming: connection")
                case "send":
                    self._outgoing.put_nowait(cast("str", rest[0]))
                case "drop":
                    self._drop(cast("int", rest[0]))
                case "message":
                    self._heard.append(Message(rest[0], cast("int | None", rest[1])))
                case "reset":
                    self._heard.append(Reset(rest[0], cast("str", rest[1]), cast("int", rest[2])))
                case "ended":
                    self.why = cast("str", rest[0])
                case _:
                    if self._on_state is not None:
                        self._on_state(self._core.state)
        self._set_timer()
        self._tell_change()

    def _own(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._core.due_ms is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._core.due_ms / 1000, lambda: self._do(self._core.tick(_now_ms())))

    def _drop(self, code: int) -> None:
        connection, self._connection, self._outgoing = self._connection, None, asyncio.Queue()
        if connection is not None:
            task = self._own(connection.close(code), "resuming: closing")
            self._tasks.discard(task)
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _serve(self, outgoing: asyncio.Queue[str]) -> None:
        """One connection, from dialling to its end. Events of one that was dropped do not matter: `outgoing` tells."""
        code = ABNORMAL
        try:
            connection = await cast("Dial", self._given_dial)()
            if isinstance(connection, int):
                code = connection
            elif outgoing is not self._outgoing:
                await connection.close(1000)
            else:
                self._connection = connection
                code = await self._talk(connection, outgoing)
        except OSError:
            pass  # nobody answered, or it broke: ABNORMAL
        if outgoing is self._outgoing:
            self._connection = None
            self._do(self._core.closed(_now_ms(), code))

    async def _talk(self, connection: Connection, outgoing: asyncio.Queue[str]) -> int:
        sender = self._own(_send_all(connection, outgoing), "resuming: sending")
        try:
            self._do(self._core.opened(_now_ms()))
            while isinstance(heard := await connection.receive(), str):
                if outgoing is not self._outgoing:
                    return ABNORMAL
                self._do(self._core.text(_now_ms(), heard))
                while len(self._heard) >= _HEARD_MAX:
                    await self._change()
            return heard
        finally:
            sender.cancel()


async def _send_all(connection: Connection, outgoing: asyncio.Queue[str]) -> None:
    while True:
        try:
            await connection.send(await outgoing.get())
        except OSError:
            return  # `receive` tells that it has ended


def _now_ms() -> int:
    return round(asyncio.get_running_loop().time() * 1000)
