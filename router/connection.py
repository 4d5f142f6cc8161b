"""One WebSocket connection as its holder has it: messages between a stream of bytes and the far end, the object's.

What always holds: the far end hears of messages in order, then of the end, of that once; nothing is sent after a Close frame;
what waits for a slow reader is bounded; whole messages are dropped, never a part of one. One
timer serves all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Literal, Protocol, cast

from ..engine.closing_codes import ABNORMAL, GOING_AWAY, NO_CODE, NOT_CLEAN, TRY_AGAIN_LATER
from ..engine.limits import VALUE_BYTES_MAX
from ..engine.socket_calls import Data
from .deflate import COMPRESS_BYTES_MIN, deflate
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, close_frame, frame

OUTBOX_BYTES_MAX = 1 << 20
"""What may wait for a reader that has taken nothing for SLOW_S; above it the object's rule decides."""
OUTBOX_FACTOR_MAX = 32
"""So many times that for one that was not slow until now: a burst is no slow reader."""
SLOW_S = 1.0
BUFFERED_STEP_BYTES = 64 << 10
"""The far end is told when what waits has passed it, up or down."""
CLOSE_S_MAX = 10.0
"""How long a peer may take to answer a Close frame, and then to end its connection."""
ANSWER_S_MAX = 30.0
"""How long the far end may take to answer a peer's Close frame."""
PING_S = 30
_SEND_BYTES = 256 << 10


class Far(Protocol):
    """The other end of a connection: where what the client sends goes. Never raises."""

    def send(self, data: Data) -> object:
        """False: read no more until `Connection.resume` is called."""
        ...

    def closed(self, code: int, reason: str, clean: bool) -> None:
        """A Close frame came (`clean`), or the connection is gone (1006)."""
        ...

    def failed(self, text: str) -> None:
        """The client broke the protocol, and is told so."""
        ...

    def buffers(self, size: int) -> None:
        """So many bytes wait for the client: they have passed BUFFERED_STEP_BYTES, up or down."""
        ...


class Stream(Protocol):
    """The bytes of a connection."""

    def send(self, data: bytes) -> int:
        """How many were taken; if not all, `Connection.writable` is called when more may be. -1: it is broken."""
        ...

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def finish(self) -> None:
        """Send no more, read on."""
        ...

    def close(self) -> None:
        """Now."""
        ...

    def abort(self) -> None:
        """Now, and what waits is lost."""
        ...


class Encoded:
    """A message as frames: made once for all who get it."""

    __slots__ = ("_opcode", "_packed", "_plain", "data", "payload")

    def __init__(self, data: Data) -> None:
        self.data = data
        self._opcode = BINARY if isinstance(data, bytes) else TEXT
        self.payload = data if isinstance(data, bytes) else data.encode()
        self._plain = b""
        self._packed: dict[int, bytes] | None = None

    def frame(self, window_bits: int) -> bytes:
        """`window_bits`: of the compression that was agreed on, 0: none."""
        if window_bits and len(self.payload) >= COMPRESS_BYTES_MIN:
            if self._packed is None:
                self._packed = {}
            found = self._packed.get(window_bits)
            if found is None:
                packed = deflate(self.payload, window_bits)
                found = frame(self._opcode, packed, compressed=True) if len(packed) < len(self.payload) else b""
                self._packed[window_bits] = found
            if found:
                return found
        if not self._plain:
            self._plain = frame(self._opcode, self.payload)
        return self._plain


class Stage(Enum):
    """Where a connection stands."""

    OPEN = "open"
    CLOSING = "closing"
    """We have sent a Close frame."""
    ENDING = "ending"
    """Nothing more is sent; the peer has to end it."""
    ENDED = "ended"


class Connections:
    """All connections of a process: their writes of a loop round together, their time-outs and pings by one timer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        message_bytes_max: int = VALUE_BYTES_MAX,
        outbox_bytes_max: int = OUTBOX_BYTES_MAX,
        ping_s: int = PING_S,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.loop = loop
        self.clock = clock or loop.time
        self.message_bytes_max = message_bytes_max
        self.outbox_bytes_max = outbox_bytes_max
        self._dirty: list[Connection] = []
        self._message: Encoded | None = None
        """The last, while it may be sent to others too."""
        self._wheel: list[set[Connection]] = [set() for _ in range(max(ping_s, 1))]
        self._at = 0
        self._added = 0
        self._deadlines: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return sum(map(len, self._wheel))

    def all(self) -> list[Connection]:
        """Those that have not ended."""
        return [connection for spoke in self._wheel for connection in spoke]

    def start(self) -> None:
        """Look after them, once a second."""
        self._timer = self.loop.call_later(1.0, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = self.loop.call_later(1.0, self._tick)
        self.look()

    def look(self) -> None:
        """A second has passed: end what is over its time, ping those whose turn it is."""
        now_s = self.clock()
        self._message = None
        for connection in [connection for connection, end_s in self._deadlines.items() if end_s <= now_s]:
            self._deadlines.pop(connection, None)
            connection.expire()
        self._at = (self._at + 1) % len(self._wheel)
        for connection in list(self._wheel[self._at]):
            connection.keep_alive()

    def add(self, connection: Connection) -> int:
        """Its spoke: who comes one after the other is pinged one after the other."""
        self._added += 1
        spoke = self._added % len(self._wheel)
        self._wheel[spoke].add(connection)
        return spoke

    def remove(self, connection: Connection, spoke: int) -> None:
        self._wheel[spoke].discard(connection)
        self._deadlines.pop(connection, None)
        if not len(self):
            for waiting in self._ended:
                if not waiting.done():
                    waiting.set_result(None)
            self._ended.clear()

    async def empty(self) -> None:
        """Until all have ended."""
        if len(self):
            waiting: asyncio.Future[None] = self.loop.create_future()
            self._ended.append(waiting)
            await waiting

    def until(self, connection: Connection, seconds: float) -> None:
        """It is told `expire` unless it ends before."""
        self._deadlines[connection] = self.clock() + seconds

    def encoded(self, data: Data) -> Encoded:
        """As frames."""
        message = self._message
        if message is None or message.data is not data:
            message = self._message = Encoded(data)
        return message

    def write_soon(self, connection: Connection) -> None:
        """Once, at the end of this round."""
        if not self._dirty:
            self.loop.call_soon(self.flush)
        self._dirty.append(connection)

    def flush(self) -> None:
        """Write what has gathered."""
        dirty, self._dirty = self._dirty, []
        self._message = None
        for connection in dirty:
            connection.flush()

    async def close_all(self, code: int, reason: str, seconds: float) -> None:
        """Close each, evenly over a time, so that their clients come back one after the other; then wait for the last."""
        leaving = self.all()
        began_s = self.clock()
        for number, connection in enumerate(leaving):
            late_s = began_s + seconds * number / len(leaving) - self.clock()
            if late_s > 0.01:
                await asyncio.sleep(late_s)
            connection.leave(code, reason)
        await self.empty()


class Connection:
    """One connection. What the far end calls: `message`, `closed`, `failed`, `drop`, `overflows`, `pause`, `resume`."""

    __slots__ = (
        "_all",
        "_dirty",
        "_heard",
        "_out",
        "_out_bytes",
        "_paused",
        "_peer_closed",
        "_reader",
        "_spoke",
        "_stage",
        "_step_told",
        "_stuck_s",
        "_told",
        "_torn",
        "answers",
        "far",
        "overflow",
        "stream",
        "window_bits",
    )

    def __init__(
        self, connections: Connections, stream: Stream, *, window_bits: int = 0, answers: bool = False
    ) -> None:
        """`answers`: a peer's Close frame is answered here, at once, unless the far end does first."""
        self._all = connections
        self.stream = stream
        self.far: Far | None = None
        self.window_bits = window_bits
        self.answers = answers
        self.overflow: Literal["close", "drop"] = "close"
        self._reader = FrameReader(connections.message_bytes_max, deflates=window_bits > 0)
        self._stage = Stage.OPEN
        self._out: deque[bytes] = deque()
        self._torn = b""
        """The rest of what was sent in part."""
        self._out_bytes = 0
        self._stuck_s = 0.0
        """Since when the peer takes nothing; 0: it takes."""
        self._dirty = False
        self._paused = False
        self._heard = True
        self._peer_closed = False
        self._told = False
        """The far end knows of the end."""
        self._step_told = False
        self._spoke = connections.add(self)

    # ------------------------------------------------------------------ the far end's
    @property
    def stage(self) -> Stage:
        return self._stage

    @property
    def buffered(self) -> int:
        """Bytes that wait for the peer."""
        return self._out_bytes

    def message(self, data: Data) -> None:
        """Send a message. The same object to many in a row is encoded once."""
        message = self._all.encoded(data)
        if self._stage is not Stage.OPEN:
            return
        data = message.frame(self.window_bits)
        self._out.append(data)
        self._out_bytes += len(data)
        if not self._dirty:
            self._dirty = True
            self._all.write_soon(self)
        if self._stuck_s:
            self._check_outbox()

    def closed(self, code: int | None, reason: str, clean: bool = True) -> None:
        """Begin the closing handshake, or answer the peer's."""
        if code == ABNORMAL:
            self.drop()
            return
        if self._stage is not Stage.OPEN:
            return
        self._write(close_frame(code, reason))
        if self._peer_closed:
            self._finish()
        else:
            self._stage = Stage.CLOSING
            self._all.until(self, CLOSE_S_MAX)

    def failed(self, text: str) -> None:
        """The far end is broken: the peer sees 1006."""
        self.drop()

    def drop(self) -> None:
        """End it without a Close frame. The far end knows."""
        self._told = True
        if self._stage is Stage.OPEN:  # else a Close frame is under way: the peer, or its time, ends it
            self.stream.abort()
            self.lost()

    def overflows(self, rule: str) -> None:
        """What becomes of a reader that is too slow: "close" (1013), "drop" (its oldest messages)."""
        self.overflow = "drop" if rule == "drop" else "close"

    def pause(self) -> None:
        """Read no more for now: the far end has enough."""
        if not self._paused and self._stage is not Stage.ENDED:
            self._paused = True
            self.stream.pause()

    def resume(self) -> None:
        if self._paused and self._stage is not Stage.ENDED:
            self._paused = False
            self._heard = True
            self.stream.resume()

    def leave(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """This process ends: the peer is told, and the far end, that it is gone."""
        if self._stage is Stage.OPEN:
            self.closed(code, reason)
            self._tell(code, reason, clean=False)

    # ------------------------------------------------------------------ the stream's
    def data(self, data: bytes) -> None:
        """Bytes have come."""
        self._heard = True
        if self._stage is Stage.ENDING or self._stage is Stage.ENDED:
            return
        far = cast("Far", self.far)
        for opcode, value in self._reader.feed(data):
            if opcode <= BINARY:
                if not self._told and far.send(value) is False:  # pyright: ignore[reportArgumentType]
                    self.pause()
            elif opcode == PING:
                if self._stage is Stage.OPEN and self._out_bytes < self._all.outbox_bytes_max:
                    self._write(frame(PONG, cast("bytes", value)))
            elif opcode == CLOSE:
                self._on_close(*cast("tuple[int, str]", value))
            elif opcode != PONG:
                self._violated(*cast("tuple[int, str]", value))
            if self.stage is Stage.ENDED:
                return

    def _on_close(self, code: int, reason: str) -> None:
        self._peer_closed = True
        if self._stage is Stage.CLOSING:
            self._tell(code, reason, clean=True)
            self._finish()
            return
        self._all.until(self, ANSWER_S_MAX)
        self._tell(code, reason, clean=True)
        if self.answers:
            self.closed(None if code == NO_CODE else code, "")

    def _violated(self, code: int, text: str) -> None:
        if not self._told:
            self._told = True
            cast("Far", self.far).failed(text)
        if self._stage is Stage.OPEN:
            self._write(close_frame(code, text))
        if self._stage is not Stage.ENDED:
            self._finish()

    def eof(self) -> None:
        """The peer sends no more: a WebSocket is over then, in either direction."""
        if self._stage is not Stage.ENDED:
            self.stream.close()
            self.lost()

    def lost(self) -> None:
        """The stream has ended."""
        if self._stage is Stage.ENDED:
            return
        self._stage = Stage.ENDED
        self._out.clear()
        self._torn, self._out_bytes = b"", 0
        self._all.remove(self, self._spoke)
        self._tell(ABNORMAL, NOT_CLEAN, clean=False)

    def _tell(self, code: int, reason: str, *, clean: bool) -> None:
        if not self._told and self.far is not None:
            self._told = True
            self.far.closed(code, reason, clean)

    # ------------------------------------------------------------------ writing
    def answer(self, head: bytes) -> None:
        """Write the head of the response to the upgrade, before anything else."""
        self._write(head)
        self.flush()

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._out_bytes += len(data)
        if not self._dirty:
            self._dirty = True
            self._all.write_soon(self)

    def flush(self) -> None:
        """Give the stream what it takes."""
        self._dirty = False
        if self._stuck_s or self._stage is Stage.ENDED:
            return
        out = self._out
        while self._torn or out:
            data = self._torn
            if data or len(out) > 1:
                parts, size = [data], len(data)
                while out and size < _SEND_BYTES:
                    parts.append(out.popleft())
                    size += len(parts[-1])
                data = b"".join(parts)
            else:
                data = out.popleft()
            taken = self.stream.send(data)
            if taken < 0:
                self.stream.abort()
                self.lost()
                return
            self._out_bytes -= taken
            self._torn = data[taken:] if taken < len(data) else b""
            if self._torn:
                self._stuck_s = self._all.clock() or 1e-9
                break
        if self._out_bytes or self._step_told:
            self._tell_step()
        if self._stage is Stage.ENDING and not self._out_bytes:
            self.stream.finish()

    def _tell_step(self) -> None:
        above = self._out_bytes > BUFFERED_STEP_BYTES
        if above != self._step_told and not self._told and self.far is not None:
            self._step_told = above
            self.far.buffers(self._out_bytes)

    def writable(self) -> None:
        """The stream takes more."""
        if self._stuck_s:
            self._stuck_s = 0.0
            self.flush()

    def _check_outbox(self) -> None:
        """The peer takes nothing at the moment, and there is more for it."""
        self._tell_step()
        bound = self._all.outbox_bytes_max
        if self._out_bytes <= bound:
            return
        if self.overflow == "drop":
            while self._out_bytes > bound and len(self._out) > 1:
                self._out_bytes -= len(self._out.popleft())
            return
        slow = self._all.clock() - self._stuck_s >= SLOW_S
        if slow or self._out_bytes > bound * OUTBOX_FACTOR_MAX:
            self._out_bytes = len(self._torn)
            self._out.clear()
            text = "the client reads too slowly"
            self._all.loop.call_soon(lambda: self._tell(TRY_AGAIN_LATER, text, clean=False))  # it is calling us
            self.closed(TRY_AGAIN_LATER, text)

    def _finish(self) -> None:
        """Nothing is sent any more but what waits; the peer ends the connection, or its time."""
        self._stage = Stage.ENDING
        self._all.until(self, CLOSE_S_MAX)
        if not self._dirty and not self._out_bytes:
            self.stream.finish()
        if self._paused:  # the end is to be seen
            self._paused = False
            self.stream.resume()

    # ------------------------------------------------------------------ time
    def expire(self) -> None:
        """Its time is over: an answer to a Close frame, or the end of the connection, did not come."""
        if self._stage is Stage.OPEN and self._peer_closed:
            self.closed(None, "")  # the far end has not answered
            return
        self.stream.abort()
        self.lost()

    def keep_alive(self) -> None:
        """Ping the peer; if nothing at all came since the last time, it is gone."""
        if self._stage is not Stage.OPEN or self._paused:
            return
        if not self._heard:
            self.stream.abort()
            self.lost()
            return
        self._heard = False
        if not self._stuck_s:
            self._write(frame(PING, b""))

    # ------------------------------------------------------------------ from process to process
    def state(self) -> list[object]:
        """All that another process needs to go on, in values that msgpack has. This one is not to be used any more."""
        self._all.remove(self, self._spoke)
        return [
            self.window_bits,
            self.answers,
            self.overflow,
            self._stage.value,
            self._peer_closed,
            self._told,
            self._torn,
            list(self._out),
            self._reader.state(),
        ]

    def go_on(self, state: list[object]) -> None:
        """Where another process stopped."""
        window_bits, answers, overflow, stage, peer_closed, told, torn, out, reader = state
        self.window_bits, self.answers = cast("int", window_bits), bool(answers)
        self.overflow = "drop" if overflow == "drop" else "close"
        self._stage = Stage(stage)
        self._peer_closed, self._told = bool(peer_closed), bool(told)
        self._torn = cast("bytes", torn)
        self._out = deque(cast("list[bytes]", out))
        self._out_bytes = len(self._torn) + sum(map(len, self._out))
        self._reader.deflates = self.window_bits > 0
        self._reader.resume(cast("list[object]", reader))
        if self._stage is not Stage.OPEN or self._peer_closed:
            self._all.until(self, CLOSE_S_MAX)
        if self._out_bytes:
            self._dirty = True
            self._all.write_soon(self)
        elif self._stage is Stage.ENDING:
            self.stream.finish()
