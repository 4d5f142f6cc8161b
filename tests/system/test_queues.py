"""Queues with real processes: shards are killed again and again, and every message that was accepted is consumed."""

from __future__ import annotations

import contextlib
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
PROGRAM = f"{ROOT}/tests/bindings/queueing"
SECONDS = 5.0
WAIT_S = 25.0


def ask(runtime: Runtime, body: bytes | None = None) -> bytes | None:
    """What was answered; None when it failed."""
    request = urllib.request.Request(runtime.url, method="GET" if body is None else "POST", data=body)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read()
    except OSError:
        return None


def lost_and_found(data: str, *, reloads: bool = False, **variables: str) -> tuple[set[str], dict[str, list[str]]]:
    """(What was accepted and not consumed, what was consumed from which queues), with shards killed or reloads meanwhile."""
    runtime = Runtime(PROGRAM, data, "--shards", "2", env=variables).wait_ready()
    accepted: set[str] = set()
    stop = threading.Event()

    def send(worker: int) -> None:
        number = 0
        while not stop.is_set():
            body = f"{'bad' if number % 10 == 0 else 'good'}-{worker}-{number}"
            number += 1
            if ask(runtime, body.encode()) is not None:
                accepted.add(body)

    try:
        threads = [threading.Thread(target=send, args=(worker,)) for worker in range(2)]
        for thread in threads:
            thread.start()
        for kill in range(6):
            time.sleep(SECONDS / 6)
            if reloads:
                if kill % 3 == 0:
                    subprocess.run([PERDURE, "reload", "--data", data], check=True, capture_output=True, timeout=30)
                continue
            for pid in runtime.pids("shard")[kill % 2 :][:1]:
                os.kill(pid, signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(30)
        end = time.monotonic() + WAIT_S
        found: dict[str, list[str]] = {}
        while time.monotonic() < end:
            found = json.loads(ask(runtime) or b"{}")
            done = set(found) >= accepted and all("dead" in found[body] for body in accepted if body[0] == "b")
            if done or variables:
                break
            time.sleep(0.3)
        if variables:
            time.sleep(3)
            found = json.loads(ask(runtime) or b"{}")
        assert len(accepted) > 20
        return accepted - set(found), found
    finally:
        stop.set()
        with contextlib.suppress(ProcessLookupError):
            runtime.stop()
        runtime.close()


def test_every_accepted_message_is_consumed_or_dead_lettered(tmp_path):
    lost, found = lost_and_found(str(tmp_path / "data"))
    assert lost == set()
    assert all("dead" in queues for body, queues in found.items() if body.startswith("bad"))


def test_reloads_lose_nothing(tmp_path):
    lost, found = lost_and_found(str(tmp_path / "data"), reloads=True)
    assert lost == set()
    assert all("dead" in queues for body, queues in found.items() if body.startswith("bad"))


def test_a_queue_that_forgets_what_it_hands_out_is_caught(tmp_path):
    lost, _ = lost_and_found(str(tmp_path / "data"), BROKEN_TWIN="1")
    assert lost
