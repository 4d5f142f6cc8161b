"""R2 and AI with real processes: files that survive killed shards, an S3-compatible store, a server of models."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from .runtime import PERDURE, ROOT, Runtime

pytestmark = pytest.mark.system
PROGRAM = f"{ROOT}/tests/bindings/storing"
LARGE = bytes(range(256)) * 80_000  # 19.5 MiB: three pieces


class Server(http.server.BaseHTTPRequestHandler):
    """Models, and a store of objects as S3 has it: just what is asked of them."""

    protocol_version = "HTTP/1.1"
    stored: dict[str, bytes] = {}

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        asked = json.loads(self._body())
        assert self.headers["Authorization"] == "Bearer k"
        assert asked["model"] == {"@cf/meta/llama": "llama3"}.get(asked["model"], asked["model"])
        if asked.get("stream"):
            event = {"choices": [{"delta": {"content": "Hello"}}]}
            self._answer(200, f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())
        else:
            self._answer(200, json.dumps({"choices": [{"message": {"content": asked["model"]}}]}).encode())

    def do_PUT(self) -> None:
        body = self._body()
        assert "AWS4-HMAC-SHA256" in self.headers["Authorization"]
        self.stored[self.path] = body
        self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_GET(self) -> None:
        found = self.stored.get(self.path)
        if found is None:
            self._answer(404)
            return
        first, last = (int(each) for each in self.headers["Range"].removeprefix("bytes=").split("-"))
        part = found[first : last + 1]
        total = f"bytes {first}-{first + len(part) - 1}/{len(found)}"
        self._answer(206, part, Content_Range=total, Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT", ETag='"e"')

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server():
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_address[1]}"
    found.shutdown()
    thread.join(5)
    found.server_close()


@contextlib.contextmanager
def running(tmp_path, text: str):
    settings = tmp_path / "perdure.toml"
    settings.write_text(text)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "PERDURE_CONFIG": str(settings)}
    runtime = Runtime(PROGRAM, str(tmp_path / "data"), "--shards", "2", env=keys).wait_ready()
    try:
        yield runtime
    finally:
        with contextlib.suppress(ProcessLookupError):
            runtime.stop()
        runtime.close()


def ask(runtime: Runtime, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(runtime.url + path, method="GET" if body is None else "PUT", data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_objects_in_a_folder_survive_kills(tmp_path, server):
    with running(tmp_path, f'[ai]\nurl = "{server}/v1"\n') as runtime:
        assert ask(runtime, "/large", LARGE) == (200, hashlib.md5(LARGE).hexdigest().encode())
        acknowledged: dict[str, bytes] = {}
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                name, number = f"n{number}", number + 1
                with contextlib.suppress(OSError):
                    if ask(runtime, f"/{name}", name.encode() * 1_000)[0] == 200:
                        acknowledged[name] = name.encode() * 1_000

        writer = threading.Thread(target=write)
        writer.start()
        for kill in range(4):
            time.sleep(0.8)
            for pid in runtime.pids("shard")[kill % 2 :][:1]:
                os.kill(pid, signal.SIGKILL)
        stop.set()
        writer.join(30)
        assert len(acknowledged) > 5
        assert {*acknowledged, "large"} <= set(json.loads(ask(runtime, "/")[1]))
        for name, value in [*acknowledged.items(), ("large", LARGE)]:
            assert ask(runtime, f"/{name}") == (200, value)
        assert ask(runtime, "/none")[0] == 404
        files = [path for path in glob.glob(f"{runtime.data}/r2/files/**", recursive=True) if os.path.isfile(path)]
        assert sorted(map(os.path.getsize, files))[-3:] == [3_702_784, 8 << 20, 8 << 20]


def test_an_s3_store_and_a_server_of_models(tmp_path, server):
    text = f'[ai]\nurl = "{server}/v1"\nkey = "k"\nmodels = {{"@cf/meta/llama" = "llama3"}}\n'
    with running(tmp_path, f'{text}[r2.files]\nendpoint = "{server}"\nbucket = "b"\nregion = "x"\n') as runtime:
        assert ask(runtime, "/ask") == (200, b"llama3")
        assert ask(runtime, "/answer") == (200, b"llama3")
        assert ask(runtime, "/stream") == (200, b'data: {"response":"Hello"}\n\ndata: [DONE]\n\n')
        assert ask(runtime, "/large", LARGE)[0] == 200
        assert ask(runtime, "/large") == (200, LARGE)
        assert sum(map(len, Server.stored.values())) == len(LARGE) + len("llama3")
        assert all(path.startswith("/b/") for path in Server.stored)


def test_without_a_server_of_models_nothing_starts(tmp_path):
    command = [PERDURE, "run", PROGRAM, "--port", "0", "--data", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "nothing says where models are" in done.stderr
    assert "AI_BASE_URL" in done.stderr
