"""The frameworks' examples, served by real processes: over HTTP, across a kill -9, with streams that last."""

from __future__ import annotations

import re
import threading

import httpx
import pytest

from .runtime import EXAMPLES, serving

pytestmark = [pytest.mark.system, pytest.mark.slow]


def kill_shards(runtime) -> None:
    import os
    import signal

    for pid in runtime.pids("shard"):
        os.kill(pid, signal.SIGKILL)


def patient(client: httpx.Client, path: str) -> httpx.Response:
    """The answer, once a shard that was killed is there again."""
    for _ in range(200):
        answer = client.get(path)
        if answer.status_code not in (500, 503):  # 500: a framework says so itself when what it calls is lost
            return answer
        threading.Event().wait(0.05)
    raise AssertionError("the shard did not come back")


def test_fastapi_notes(tmp_path) -> None:
    with (
        serving(f"{EXAMPLES}/fastapi-notes", str(tmp_path / "data")) as runtime,
        httpx.Client(base_url=runtime.url, timeout=30) as client,
    ):
        made = client.post("/notebooks/a/notes", json={"text": "buy milk", "tags": ["home"]})
        assert (made.status_code, made.json()) == (201, {"id": 1})
        assert client.post("/notebooks/a/notes", json={"text": ""}).status_code == 422
        large = client.post("/notebooks/a/notes", json={"text": "x", "tags": ["y" * 3_000_000]})  # a body in chunks
        assert large.status_code == 201, large.text
        kill_shards(runtime)
        assert patient(client, "/notebooks/a/words").json() == {"notebook": "a", "words": 3}
        assert client.get("/notebooks/a/export").text == "- buy milk\n- x\n"
        assert "swagger" in client.get("/docs").text
        assert runtime.stop() == 0


def test_starlette_board(tmp_path) -> None:
    with (
        serving(f"{EXAMPLES}/starlette-board", str(tmp_path / "data")) as runtime,
        httpx.Client(base_url=runtime.url, timeout=30) as client,
    ):
        with client.stream("GET", "/boards/tea/live") as live:
            lines = live.iter_lines()
            assert next(lines) == "retry: 1000"
            said = httpx.post(
                f"{runtime.url}/boards/tea", data={"who": "ann", "text": "hello"}, follow_redirects=False, timeout=30
            )
            assert (said.status_code, said.headers["location"]) == (303, f"{runtime.url}/boards/tea")
            assert next(line for line in lines if line) == 'data: {"who": "ann", "text": "hello"}'
        assert "<b>ann</b> hello" in client.get("/boards/tea").text
        assert client.get("/static/board.css").headers["content-type"].startswith("text/css")
        assert runtime.stop() == 0
        assert not [line for line in runtime.log if "rror" in line], runtime.text()


def test_flask_guestbook(tmp_path) -> None:
    with (
        serving(f"{EXAMPLES}/flask-guestbook", str(tmp_path / "data")) as runtime,
        httpx.Client(base_url=runtime.url, timeout=30) as client,
    ):
        page = client.post("/books/a", data={"who": "ann", "text": "hello"}, follow_redirects=True)
        assert "<li><b>ann</b> hello</li>" in page.text
        assert "thank you" in page.text
        kill_shards(runtime)
        assert patient(client, "/books/a/export").text == "ann: hello\n"
        assert client.post("/books/a", data={"text": "again"}).status_code == 303
        assert runtime.stop() == 0


def test_django_blog(tmp_path) -> None:
    with (
        serving(f"{EXAMPLES}/django-blog", str(tmp_path / "data")) as runtime,
        httpx.Client(base_url=runtime.url, timeout=30) as client,
    ):
        for name in ("ann", "ben"):
            token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', client.get(f"/{name}/write").text)
            assert token is not None
            fields = {"csrfmiddlewaretoken": token[1], "title": f"of {name}", "text": "x", "tags": "a b"}
            page = client.post(f"/{name}/write", data=fields, follow_redirects=True)
            assert f"of {name} is out" in page.text
        kill_shards(runtime)
        assert patient(client, "/ann/").text.count("</article>") == 1
        assert client.get("/ben/1").json()["title"] == "of ben"
        assert "Log in" in client.get("/ann/admin/", follow_redirects=True).text
        assert runtime.stop() == 0
