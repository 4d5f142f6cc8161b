"""KV and D1 with real processes: large values through the gateway, and nothing acknowledged is lost when a shard is killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from .runtime import PERDURE, ROOT, Runtime

pytestmark = pytest.mark.system
PROGRAM = f"{ROOT}/tests/bindings/served"
LARGE = bytes(range(256)) * 30_000  # 7.3 MiB: eight pieces
SECONDS = 4.0


@pytest.fixture
def runtime(tmp_path):
    started = Runtime(PROGRAM, str(tmp_path / "data"), "--shards", "2").wait_ready()
    yield started
    with contextlib.suppress(ProcessLookupError):
        started.stop()
    started.close()


def ask(runtime: Runtime, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(runtime.url + path, method=method, data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def names(runtime: Runtime) -> set[str]:
    status, body = ask(runtime, "POST", "/")
    assert status == 200, body
    return set(json.loads(body))


def test_values_and_rows_survive_kills_of_shards(runtime):
    names(runtime)  # makes the table
    acknowledged: set[str] = set()
    stop = threading.Event()

    def write(worker: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"w{worker}-{number}"
            number += 1
            with contextlib.suppress(OSError):
                if ask(runtime, "PUT", f"/{name}", name.encode() * 300)[0] == 204:
                    acknowledged.add(name)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    killed = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(SECONDS / 4)
        for pid in runtime.pids("shard")[killed % 2 :][:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    stop.set()
    for thread in threads:
        thread.join(30)
    assert killed >= 2
    assert len(acknowledged) > 10
    assert acknowledged <= names(runtime)
    for name in acknowledged:
        assert ask(runtime, "GET", f"/{name}") == (200, name.encode() * 300)


def test_large_values_and_the_command_line(runtime):
    names(runtime)
    assert ask(runtime, "PUT", "/large", LARGE)[0] == 204
    status, body = ask(runtime, "GET", "/large")
    assert (status, hashlib.sha256(body).digest()) == (200, hashlib.sha256(LARGE).digest())
    assert ask(runtime, "GET", "/none")[0] == 404
    sql = "insert into files values ('own'); select name from files order by name"
    where = ["--config", f"{PROGRAM}/wrangler.jsonc", "--data", runtime.data]
    assert perdure("d1", "execute", "DB", *where, "--command", sql) == "large\nown\n"
    perdure("objects", "export", "perdure.d1/db-1", "--output", f"{runtime.data}/copy.sqlite", "--data", runtime.data)
    with contextlib.closing(sqlite3.connect(f"{runtime.data}/copy.sqlite")) as copy:
        assert copy.execute("select count(*) from files").fetchone() == (2,)


def perdure(*arguments: str) -> str:
    done = subprocess.run([PERDURE, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout
