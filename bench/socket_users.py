"""Users of sockets, thousands on one event loop: they connect, count what comes, and send in a closed loop or at given times.

What always holds: a latency is counted from the time at which its message was to be sent, so a server that makes users wait does
not make its own figures better; a connection that ends unasked is an error, not a user less.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

_CONNECTING_AT_ONCE = 64
_CONNECT_S_MAX = 20.0


class User(WSListener):
    """One connection. `heard` is called with the user for each message, before the next one is read."""

    def __init__(self, heard: Callable[[User], None]) -> None:
        super().__init__()
        self.heard = heard
        self.transport: WSTransport | None = None
        self.began_s = 0.0
        """When the message that it waits for was to be sent."""
        self.left = False
        """The connection is to end, or has ended."""
        self._answer: asyncio.Future[str] | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(frame.get_payload_as_utf8_text())
            self.heard(self)

    async def ask(self, text: bytes) -> str:
        """What comes next after that message."""
        self._answer = asyncio.get_running_loop().create_future()
        self.send(text)
        return await asyncio.wait_for(self._answer, 10)

    def send(self, text: bytes) -> None:
        """A text message."""
        assert self.transport is not None, "it is connected"
        self.transport.send(WSMsgType.TEXT, text)


class Crowd:
    """All users of one measurement. `lost`: connections that ended unasked."""

    def __init__(self) -> None:
        self.users: list[User] = []
        self.lost = 0

    async def join(self, urls: list[str], heard: Callable[[User], None]) -> None:
        """A user for each URL, some dozens connecting at once. Raises what the connecting raises."""
        places = asyncio.Semaphore(_CONNECTING_AT_ONCE)

        async def one(url: str) -> User:
            async with places:
                _, user = await ws_connect(
                    lambda: _Counted(self, heard), url, websocket_handshake_timeout=_CONNECT_S_MAX, use_aiofastnet=False
                )
            assert isinstance(user, User)
            return user

        self.users += await asyncio.gather(*[one(url) for url in urls])

    def leave(self) -> None:
        """Close all connections."""
        for user in self.users:
            user.left = True
            if user.transport is not None:
                user.transport.disconnect(graceful=False)


class _Counted(User):
    def __init__(self, crowd: Crowd, heard: Callable[[User], None]) -> None:
        super().__init__(heard)
        self._crowd = crowd

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self.left:
            self.left = True
            self._crowd.lost += 1


async def echo(crowd: Crowd, seconds: float, payload: bytes = b"x" * 64) -> tuple[int, list[float], float]:
    """Each user has one message under way, for so long: how many came back, their latencies in seconds, how long it took.

    Raises RuntimeError when connections were lost."""
    latencies: list[float] = []
    now = time.perf_counter
    stop = now() + seconds

    def heard(user: User) -> None:
        came = now()
        latencies.append(came - user.began_s)
        if came < stop:
            user.began_s = came
            user.send(payload)

    began = now()
    for user in crowd.users:
        user.heard = heard
        user.began_s = now()
        user.send(payload)
    await asyncio.sleep(seconds)
    took = now() - began
    count = len(latencies)
    await asyncio.sleep(0.3)  # those under way
    _refuse_losses(crowd)
    return count, latencies, took


async def echo_at(crowd: Crowd, rate: float, seconds: float, payload: bytes = b"x" * 64) -> list[float]:
    """Messages at a fixed rate, from one user after the other: latencies from the time each was to be sent.

    Raises RuntimeError when connections were lost, or messages had not come back a second after the last."""
    due: dict[User, list[float]] = {user: [] for user in crowd.users}
    latencies: list[float] = []
    now = time.perf_counter

    def heard(user: User) -> None:
        latencies.append(now() - due[user].pop(0))

    for user in crowd.users:
        user.heard = heard
    began, sent, total = now(), 0, int(rate * seconds)
    while sent < total:
        until = min(int((now() - began) * rate), total)
        for number in range(sent, until):
            user = crowd.users[number % len(crowd.users)]
            due[user].append(began + number / rate)
            user.send(payload)
        sent = max(sent, until)
        await asyncio.sleep(0.001)
    end = now() + 1
    while len(latencies) < total and now() < end:
        await asyncio.sleep(0.01)
    _refuse_losses(crowd)
    if len(latencies) < total:
        raise RuntimeError(f"{total - len(latencies)} of {total} messages did not come back within a second")
    return latencies


async def broadcast(
    crowd: Crowd, seconds: float, under_way: int, payload: bytes = b"all" + b"x" * 61
) -> tuple[int, list[float], float]:
    """One user says something to all, so often that so many are under way: frames that came, seconds until the last of a message
    had it, and how long it took. Raises RuntimeError when connections were lost or not all had all."""
    count = 0
    now = time.perf_counter
    began = now()
    speaker, everybody = crowd.users[0], len(crowd.users)
    said: list[float] = []
    spans: list[float] = []

    def say() -> None:
        if now() - began < seconds:
            said.append(now())
            speaker.send(payload)

    def heard(user: User) -> None:
        nonlocal count
        count += 1
        if count % everybody == 0:
            spans.append(now() - said[len(spans)])
            say()

    for user in crowd.users:
        user.heard = heard
    for _ in range(under_way):
        say()
    await asyncio.sleep(seconds)
    found, took = count, now() - began
    end = now() + 3
    while count < len(said) * everybody and now() < end:
        await asyncio.sleep(0.01)
    _refuse_losses(crowd)
    if count != len(said) * everybody:
        raise RuntimeError(f"{count} frames came of {len(said)} messages to {everybody} sockets")
    return found, spans, took


def _refuse_losses(crowd: Crowd) -> None:
    if crowd.lost:
        raise RuntimeError(f"{crowd.lost} connections were lost")
