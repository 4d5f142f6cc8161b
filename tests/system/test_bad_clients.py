"""What clients that break the rules get, and what an honest neighbour in the same processes feels of it: nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from .runtime import ROOT, Runtime, serving

pytestmark = [pytest.mark.system, pytest.mark.slow]
CHAT = f"{ROOT}/tests/programs/chat-sockets"
WAIT_S = 15.0
ECHO_S_MAX = 2.0
"""What a neighbour may wait for its own message while others misbehave, on a busy machine."""
HANDSHAKE = (
    b"GET /hall/bad HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MASK = b"\1\2\3\4"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with serving(CHAT, str(tmp_path_factory.mktemp("bad") / "data")) as found:
        yield found


def masked(first: int, payload: bytes) -> bytes:
    """A frame of a client: `first` is its first byte."""
    length = len(payload)
    head = bytes([first, 0x80 | length]) if length < 126 else bytes([first, 0xFE]) + length.to_bytes(2, "big")
    return head + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


def connected(runtime: Runtime) -> socket.socket:
    host, port = runtime.url.removeprefix("http://").split(":")
    end = socket.create_connection((host, int(port)), timeout=WAIT_S)
    end.settimeout(WAIT_S)
    return end


@contextmanager
def upgraded(runtime: Runtime, behind: bytes = b"", headers: bytes = b"") -> Iterator[socket.socket]:
    """A connection after its 101. `behind`: sent in the same packet as the request."""
    with connected(runtime) as end:
        end.sendall(HANDSHAKE + headers + b"\r\n" + behind)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += end.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield end


def read_all(end: socket.socket) -> bytes:
    """Until the other side ends it."""
    found = b""
    try:
        while more := end.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


async def beside(runtime: Runtime, bad: Callable[[], object]) -> float:
    """The longest that a neighbour has waited for its message while bad clients are at work."""
    longest_s = 0.0
    async with aiohttp.ClientSession() as http:
        neighbour = await http.ws_connect(f"{runtime.url}/hall/good")
        at_work: Awaitable[object] = asyncio.to_thread(bad)
        work = asyncio.ensure_future(at_work)
        while True:
            began_s = time.monotonic()
            text = f"at {began_s}"
            await neighbour.send_str(text)
            while not (await neighbour.receive_str(timeout=WAIT_S)).endswith(text):
                continue  # what was said before it came
            longest_s = max(longest_s, time.monotonic() - began_s)
            if work.done():
                await work
                await neighbour.close()
                return longest_s
            await asyncio.sleep(0.02)


def judge(runtime: Runtime, bad: Callable[[], object]) -> None:
    async def main() -> float:
        async with asyncio.timeout(45):
            return await beside(runtime, bad)

    assert asyncio.run(main()) < ECHO_S_MAX


BROKEN = {
    "not masked": (b"\x81\x01x", 1002),
    "reserved bits": (masked(0x81 | 0x20, b"x"), 1002),
    "a reserved opcode": (masked(0x83, b"x"), 1002),
    "text that is not UTF-8": (masked(0x81, b"\xff\xfe"), 1007),
    "a gigabyte announced": (b"\x82\xff" + (1 << 30).to_bytes(8, "big") + MASK, 1009),
    "a continuation of nothing": (masked(0x80, b"x"), 1002),
    "a ping of 126 bytes": (masked(0x89, bytes(126)), 1002),
    "a close code that may not be sent": (masked(0x88, (1005).to_bytes(2, "big")), 1002),
}


@pytest.mark.parametrize("what", BROKEN)
def test_who_breaks_the_protocol_is_told_and_cut_off(runtime: Runtime, what: str) -> None:
    sent, code = BROKEN[what]

    def bad() -> None:
        with upgraded(runtime) as end:
            end.sendall(sent)
            told = read_all(end)
        assert told[:1] == b"\x88", told
        assert int.from_bytes(told[2:4], "big") == code

    judge(runtime, bad)


def test_a_compressed_message_that_swells_is_never_held(runtime: Runtime) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = bytes(1 << 20)
    bomb = b"".join(packer.compress(piece) for _ in range(200)) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    frame = b"\xc2\xff" + len(bomb).to_bytes(8, "big") + bytes(4) + bomb

    def bad() -> None:
        with upgraded(runtime, headers=b"Sec-WebSocket-Extensions: permessage-deflate\r\n") as end:
            end.sendall(frame)
            told = read_all(end)
        assert int.from_bytes(told[2:4], "big") == 1009
        for pid in runtime.pids("keeper"):
            assert _peak_mb(pid) < 150, "200 MB were never there"

    judge(runtime, bad)


def _peak_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def test_a_frame_in_the_packet_of_the_request_is_the_socket_s(runtime: Runtime) -> None:
    def early() -> None:
        with upgraded(runtime, behind=masked(0x81, b"early") + masked(0x81, b"bird")) as end:
            found = b""
            while b"bird" not in found:
                found += end.recv(4096)
            assert found.index(b"early") < found.index(b"bird")

    judge(runtime, early)


def test_a_byte_at_a_time_costs_only_its_sender(runtime: Runtime) -> None:
    def slow() -> None:
        with upgraded(runtime) as end:
            for byte in masked(0x81, b"hello"):
                end.sendall(bytes([byte]))
                time.sleep(0.1)
            found = b""
            while b"hello" not in found:
                found += end.recv(4096)

    judge(runtime, slow)


def test_who_vanishes_in_the_middle_leaves_nothing(runtime: Runtime) -> None:
    """Requests, upgrades and frames that are torn off."""

    def torn() -> None:
        whole = HANDSHAKE + b"\r\n"
        for cut in range(1, len(whole), 9):
            with connected(runtime) as end:
                end.sendall(whole[:cut])
        for cut in range(1, 12):
            with upgraded(runtime) as end:
                end.sendall(masked(0x81, b"abcdef")[:cut])

    judge(runtime, torn)


def test_a_flood_of_connections_does_not_reach_the_neighbours(runtime: Runtime) -> None:
    """Upgrades as fast as a client can make them, each dropped at once: three seconds."""
    made = [0]

    def flood() -> None:
        end_s = time.monotonic() + 3.0

        def one() -> None:
            while time.monotonic() < end_s:
                try:
                    with connected(runtime) as end:
                        end.sendall(HANDSHAKE + b"\r\n")
                except OSError:
                    continue
                made[0] += 1

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    judge(runtime, flood)
    print(f"{made[0] / 3:.0f} connections/s")
    assert made[0] > 100
