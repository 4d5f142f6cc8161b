"""What the gateway's HTTP does beyond uvicorn's: bytes behind an upgrade, heads that do not end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

import pytest
import uvicorn
from perdure.router.http_protocol import HEAD_BYTES_MAX, HEAD_S_MAX, HttpProtocol
from uvicorn.server import ServerState

UPGRADE = (
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAMES = b"\x81\x82abcd\x09\x0b"


class Timer:
    def __init__(self, due_s: float, then: Callable[[], None]) -> None:
        self.due_s = due_s
        self.then = then
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Its time, and the tasks that were begun."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.timers: list[Timer] = []
        self.begun = 0

    def call_later(self, seconds: float, then: Callable[[], None]) -> Timer:
        timer = Timer(self.now_s + seconds, then)
        self.timers.append(timer)
        return timer

    def create_task(self, work: object, **_: object) -> Task:
        cast("asyncio.Task[None]", work).close()  # pyright: ignore
        self.begun += 1
        return Task()

    def passes(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := [timer for timer in self.timers if timer.due_s <= end_s and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.due_s)
            self.timers.remove(first)
            self.now_s = first.due_s
            first.then()
        self.now_s = end_s


class Task:
    def add_done_callback(self, _done: object) -> None: ...


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = b""
        self.protocol: asyncio.BaseProtocol | None = None

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol


class Upgraded(asyncio.Protocol):
    """In place of the gateway's."""

    def __init__(self, config: object, server_state: object, app_state: object) -> None:
        self.heard: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)


class Connection:
    """One of a client, as the protocol sees it."""

    def __init__(self) -> None:
        async def application(scope: object, receive: object, send: object) -> None: ...

        config = uvicorn.Config(
            application,  # pyright: ignore
            http=HttpProtocol,
            ws=Upgraded,  # pyright: ignore
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        config.load()
        self.loop = Loop()
        self.transport = Transport()
        self.protocol = HttpProtocol(config, ServerState(), {}, cast("asyncio.AbstractEventLoop", self.loop))
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)

    def sends(self, data: bytes) -> None:
        """What the transport's protocol of the moment hears."""
        cast("asyncio.Protocol", self.transport.protocol).data_received(data)

    def answered(self) -> None:
        """The response to the request is written."""
        self.protocol.cycle.response_complete = True
        self.protocol.on_response_complete()


@pytest.mark.parametrize("cut", [0, 1, 40, len(UPGRADE) - 1, len(UPGRADE), len(UPGRADE) + 3])
def test_what_comes_behind_an_upgrade_is_the_socket_s(cut: int) -> None:
    connection = Connection()
    for part in ((UPGRADE + FRAMES)[:cut], (UPGRADE + FRAMES)[cut:]):
        if part:
            connection.sends(part)
    upgraded = connection.transport.protocol
    assert isinstance(upgraded, Upgraded)
    head, *behind = upgraded.heard
    assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"".join(behind) == FRAMES
    connection.loop.passes(10 * HEAD_S_MAX)
    assert not connection.transport.closed, "a socket may be silent"


def test_an_upgrade_without_anything_behind_it() -> None:
    connection = Connection()
    connection.sends(UPGRADE)
    upgraded = connection.transport.protocol
    assert isinstance(upgraded, Upgraded)
    assert len(upgraded.heard) == 1


@pytest.mark.parametrize("first", [b"", b"G", UPGRADE[:-1]], ids=["nothing", "a byte", "all but a byte"])
def test_a_head_that_does_not_end_ends_its_connection(first: bytes) -> None:
    connection = Connection()
    if first:
        connection.sends(first)
    connection.loop.passes(HEAD_S_MAX - 1)
    assert not connection.transport.closed
    connection.loop.passes(1)
    assert connection.transport.closed


def test_a_byte_a_second_is_no_way_out_in_a_later_request_either() -> None:
    connection = Connection()
    connection.sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.loop.begun == 1
    connection.loop.passes(100)
    assert not connection.transport.closed, "an answer may take long"
    connection.answered()
    seconds = 0
    for byte in b"GET / HTTP/1.1\r\nX: " + bytes(200):
        connection.sends(bytes([byte or 120]))
        connection.loop.passes(1)
        seconds += 1
        if connection.transport.closed:
            break
    assert HEAD_S_MAX <= seconds <= 2 * HEAD_S_MAX


def test_a_body_is_no_head() -> None:
    connection = Connection()
    connection.sends(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
    connection.answered()  # before the body is there: it is read on, and dropped
    for _ in range(100):
        connection.sends(bytes(HEAD_BYTES_MAX // 10))
        connection.loop.passes(1)
    assert not connection.transport.closed


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second"])
def test_a_head_without_end_is_not_kept(before: bytes) -> None:
    connection = Connection()
    if before:
        connection.sends(before)
        connection.answered()
    connection.sends(b"GET / HTTP/1.1\r\n")
    for number in range(HEAD_BYTES_MAX // 1000 + 2):
        if connection.transport.closed:
            break
        connection.sends(b"x-%05d: " % number + b"v" * 990 + b"\r\n")
    assert connection.transport.closed
    assert connection.transport.written.startswith(b"HTTP/1.1 431 ")


def test_what_is_no_http(caplog: pytest.LogCaptureFixture) -> None:
    connection = Connection()
    with caplog.at_level(logging.WARNING):
        connection.sends(b"\x16\x03\x01 a greeting of TLS\r\n\r\n")
    assert connection.transport.written.startswith(b"HTTP/1.1 400 ")
    assert connection.transport.closed
