"""Programs of the reference as they are, with real processes: `perdure run FOLDER`, requests over HTTP."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ..programs.stage import PROGRAMS
from .runtime import PERDURE, serving

pytestmark = pytest.mark.system


def test_a_chat_is_polled_streamed_and_survives_a_restart(tmp_path) -> None:
    chat, data = f"{PROGRAMS}/chat", str(tmp_path / "data")
    with serving(chat, data) as runtime, httpx.Client(base_url=runtime.url, timeout=20) as http:
        assert http.get("/").headers["content-type"] == "text/html"
        assert (http.get("/room/").status_code, http.get("/room/").text) == (400, "Room name required")
        assert http.post("/room/one", json={"by": "ann", "text": "hi"}).json() == {"number": 1}
        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(http.get, "/room/one?after=1&wait=15000")
            with http.stream("GET", "/room/one/events") as events:
                assert events.headers["content-type"] == "text/event-stream"
                lines = events.iter_lines()
                assert json.loads(next(lines).removeprefix("data: "))["text"] == "hi"
                http.post("/room/one", json={"by": "bob", "text": "ho"})
                assert next(lines) == ""
                assert json.loads(next(lines).removeprefix("data: "))["text"] == "ho"
            assert [message["text"] for message in waiting.result().json()] == ["ho"]
        assert runtime.stop() == 0
    with serving(chat, data) as runtime:
        kept = httpx.get(f"{runtime.url}/room/one").json()
        assert [message["by"] for message in kept] == ["ann", "bob"]


def test_two_programs(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(f"{PROGRAMS}/front", data, f"{PROGRAMS}/back", "--shards", "2") as runtime:
        assert httpx.post(f"{runtime.url}/through", content="said").text == "back heard POST said"
        assert httpx.get(f"{runtime.url}/order").json()["first"] == {"taken": 4, "left": 6}
        assert httpx.get(f"{runtime.url}/admin").json() == {"left": 11, "direct": 10, "who": "boss"}


def test_crons_assets_and_frameworks(tmp_path) -> None:
    data = str(tmp_path / "cron")
    with serving(f"{PROGRAMS}/cron", data) as runtime:
        subprocess.run(
            [PERDURE, "trigger", "--data", data, "*/10 * * * *"], check=True, timeout=30, capture_output=True
        )
        assert [entry["cron"] for entry in httpx.get(runtime.url).json()["entries"]] == ["*/10 * * * *"]
    with serving(f"{PROGRAMS}/assets", str(tmp_path / "assets")) as runtime:
        assert httpx.get(runtime.url).headers["content-type"] == "text/html; charset=utf-8"
        assert httpx.get(f"{runtime.url}/image.svg").headers["content-type"] == "image/svg+xml"
    with serving(f"{PROGRAMS}/django", str(tmp_path / "django")) as runtime:
        assert httpx.get(f"{runtime.url}/hello/ann?a=1").json() == {"hello": "ann", "query": {"a": "1"}}
        assert [httpx.get(f"{runtime.url}/visit").text for _ in range(2)] == ["visit 1", "visit 2"]
