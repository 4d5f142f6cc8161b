"""`fetch` with real processes and sockets: through Workers and objects, streaming, and clients that go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from .runtime import Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
from workers import DurableObject, Response, WorkerEntrypoint, fetch
import os

ORIGIN = os.environ["ORIGIN"]

class Relay(DurableObject):
    async def count(self):
        response = await fetch(f"{ORIGIN}/json")
        found = await response.json()
        total = (await self.ctx.storage.get("total") or 0) + found["n"]
        await self.ctx.storage.put("total", total)
        return total

    async def fetch(self, request):
        if request.method == "PUT":
            return await fetch(f"{ORIGIN}/echo", method="PUT", body=request.body)
        return await fetch(f"{ORIGIN}/large")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        relay = self.env.Relay.getByName("a")
        if path == "count":
            return Response(f"{await relay.count()}")
        if path == "object":
            return await relay.fetch(request)
        if path == "down":
            try:
                await fetch("http://127.0.0.1:1/")
            except OSError as error:
                return Response(f"{type(error).__name__}", status=502)
        return await fetch(f"{ORIGIN}/{path}")
"""
LARGE = 40 << 20
PIECE = b"x" * (64 << 10)


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    broken = threading.Event()
    go_on = threading.Event()

    def log_message(self, *_args: object) -> None:
        return

    def do_GET(self) -> None:
        if self.path == "/json":
            self.answer(b'{"n": 2}')
        elif self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(LARGE))
            self.end_headers()
            for _ in range(LARGE // len(PIECE)):
                self.wfile.write(PIECE)
        elif self.path == "/slow":
            self.begin_chunks()
            self.chunk(b"first")
            Origin.go_on.wait(20)
            self.chunk(b"second")
            self.chunk(b"")
        elif self.path == "/endless":
            self.begin_chunks()
            try:
                while True:
                    self.chunk(PIECE)
            except OSError:
                Origin.broken.set()

    def do_PUT(self) -> None:
        data = b""
        if self.headers.get("Content-Length"):
            data = self.rfile.read(int(self.headers["Content-Length"]))
        else:
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.answer(f"{len(data)} {data[:3].decode()}".encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin_chunks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args: object) -> None:
        return


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Iterator[Runtime]:
    origin = Quiet(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("fetch")
    (folder / "relay.py").write_text(PROGRAM)
    env = {"ORIGIN": f"http://127.0.0.1:{origin.server_address[1]}"}
    with serving(str(folder / "relay.py"), str(folder / "data"), "--shards", "1", env=env) as found:
        yield found
    origin.shutdown()
    origin.server_close()


def test_objects_ask_and_keep_what_they_are_told(runtime: Runtime) -> None:
    assert [httpx.get(f"{runtime.url}/count").text for _ in range(2)] == ["2", "4"]
    down = httpx.get(f"{runtime.url}/down")
    assert (down.status_code, down.text) == (502, "NetworkError")


@pytest.mark.parametrize("path", ["large", "object"])
def test_large_bodies_pass_through(runtime: Runtime, path: str) -> None:
    began_s = time.monotonic()
    with httpx.stream("GET", f"{runtime.url}/{path}", timeout=30) as response:
        assert response.headers["content-length"] == str(LARGE)
        assert sum(len(chunk) for chunk in response.iter_bytes()) == LARGE
    print(f"{path}: {LARGE / 1e6 / (time.monotonic() - began_s):.0f} MB/s")
    sent = httpx.put(f"{runtime.url}/object", content=b"abc" * 1_000_000, timeout=30)
    assert sent.text == "3000000 abc"
    sent = httpx.put(f"{runtime.url}/object", content=iter([b"abc"] * 1000), timeout=30)
    assert sent.text == "3000 abc"


def test_a_chunk_arrives_before_the_next_is_there(runtime: Runtime) -> None:
    Origin.go_on.clear()
    with httpx.stream("GET", f"{runtime.url}/slow", timeout=30) as response:
        chunks = response.iter_bytes()
        assert next(chunks) == b"first"
        Origin.go_on.set()
        assert b"".join(chunks) == b"second"


def test_a_client_that_goes_away_ends_what_was_fetched_for_it(runtime: Runtime) -> None:
    Origin.broken.clear()
    with httpx.stream("GET", f"{runtime.url}/endless", timeout=30) as response:
        next(response.iter_bytes())
    assert Origin.broken.wait(20)
