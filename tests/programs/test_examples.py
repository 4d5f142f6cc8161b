"""The documentation's examples: what each answers."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from .stage import ask, program, serve_outside


@program("hello")
async def test_01_hello(world) -> None:
    answer = await world.fetch("/")
    assert (answer.status, await answer.text()) == (200, "Hello world!")
    assert answer.headers["content-type"] == "text/plain;charset=UTF-8"


@program("hello-js")
async def test_01_hello_in_the_style_of_js(world) -> None:
    answer = await world.fetch("/")
    assert (answer.status, await answer.text()) == (200, "Hello world!")
    assert answer.headers["content-type"] == "text/plain;charset=UTF-8"


@program("kv")
async def test_02_kv(world) -> None:
    assert await ask(world, "GET /") == (200, "baz")
    status, found = await ask(world, "GET /options")
    assert status == 200
    assert found.pop("expires") > 0
    assert found == {
        "user": "ann",
        "same": "ann",
        "kind": "session",
        "names": ["session:1", "session:2"],
        "complete": True,
        "several": ["session:1", "session:9"],
        "missing": None,
        "binary": '{"user": "ann"}',
    }
    assert await ask(world, "GET /js") == (200, {"n": 1, "complete": False})


@program("fastapi")
async def test_03_fastapi(world) -> None:
    answer = await world.fetch("/")
    assert await answer.text() == '{"message":"Hello, World!"}'
    assert (await ask(world, "GET /env"))[1]["message"].endswith("My env var")
    item = '{"name": "pen", "price": 1.5}'
    json = {"content-type": "application/json"}
    assert await ask(world, "POST /items/", item, **json) == (
        200,
        {"name": "pen", "description": None, "price": 1.5, "tax": None},
    )
    assert (await ask(world, "PUT /items/4?q=x", item, **json))[1]["q"] == "x"
    assert await ask(world, "GET /items/0") == (404, {"detail": "Item not found"})
    assert (await ask(world, "GET /items/x"))[0] == 422


@program("query")
async def test_04_query(world) -> None:
    serve_outside(world)
    assert await ask(world, "GET /?name=Ann") == (200, "Hello there, Ann")
    assert await ask(world, "GET /") == (200, "Hello world!")
    assert await ask(world, "GET /favicon.ico") == (200, "")
    assert await ask(world, "POST /name", '{"name": "Bob"}') == (200, "Hello there, Bob")
    assert await ask(world, "GET /log") == (202, "We're testing logging!")
    answer = await world.fetch("/headers", headers={"User-Agent": "me/1.0"})
    assert answer.headers["x-agent"] == "me/1.0"
    assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    moved = await world.fetch("/redirect", redirect="manual")
    assert (moved.status, moved.headers["location"]) == (301, "https://example.com/there")
    assert (await ask(world, "GET /url?q=1&q=2"))[1] == {
        "pathname": "/url",
        "host": "localhost",
        "q": "1",
        "has": False,
        "all": ["1", "2"],
        "sorted": [["q", "1"], ["q", "2"]],
        "late": True,
    }
    assert await ask(world, "GET /both") == (200, {"one": {"number": 1}, "two": "plain"})
    forwarded = await world.fetch("/forward", method="POST", body="said")
    assert (forwarded.status, await forwarded.text()) == (201, "POST said 7")
    assert forwarded.headers["x-a"] == "1, 2"
    assert (await ask(world, "OPTIONS /cors"))[0] == 204
    assert (await ask(world, "GET /cors"))[1]["method"] == "GET"


@program("cron")
async def test_05_cron(world) -> None:
    for minute in (10, 20):
        await world.scheduled("*/10 * * * *", datetime.datetime(2026, 1, 1, 0, minute))
    await world.settle()
    status, found = await ask(world, "GET /")
    assert status == 200
    assert [entry["cron"] for entry in found["entries"]] == ["*/10 * * * *"] * 2
    assert all(entry["at"] % 600_000 == 0 for entry in found["entries"])
    assert found["late"] == 2


@program("assets")
async def test_06_assets(world) -> None:
    answer = await world.fetch("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path, kind in (("/image.svg", "image/svg+xml"), ("/favicon.ico", "image/vnd.microsoft.icon")):
        answer = await world.fetch(path)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert (await world.fetch("/through")).headers["content-type"] == "image/svg+xml"
    assert (await world.fetch("/nothing")).status == 404


@program("rooms", shards=2)
async def test_07_rooms(world) -> None:
    assert await ask(world, "GET /room-1/show") == (200, "No messages")
    assert await ask(world, "GET /room-1/add/hi") == (200, "Message sent")
    assert await ask(world, "GET /room-1/show") == (200, "hi")
    assert await ask(world, "GET /room-2/show") == (200, "No messages")
    status, text = await ask(world, "GET /")
    assert status == 400
    assert text.startswith("Say which room")
    for shard in (0, 1):
        await world.crash(shard)
    assert await ask(world, "GET /room-1/show") == (200, "hi")


@program("rooms-js", shards=2)
async def test_07_rooms_in_the_style_of_js(world) -> None:
    empty = await world.fetch("/a")
    assert (empty.status, await empty.text()) == (404, "No messages")
    json = {"content-type": "application/json"}
    assert await ask(world, "POST /a", '{"text": "hi", "by": "ann"}', **json) == (201, {"count": 1})
    assert await ask(world, "POST /a", '{"text": "ho", "by": "bob"}', **json) == (201, {"count": 2})
    assert await ask(world, "GET /a/x") == (200, {"path": "/a/x", "texts": ["hi", "ho"], "array": True})
    assert (await ask(world, "GET /"))[0] == 400


@program("zero")
async def test_08_fetch_without_arguments(world) -> None:
    answer = await world.fetch("/")
    assert (await answer.text(), answer.headers["x-answer"]) == ("no request was needed", "42")


@pytest.mark.skipif(find_spec("perdure.bindings.queues") is None, reason="queues are not there yet")
@program("queue")
async def test_09_queue(world) -> None:
    assert (await ask(world, "POST /"))[0] == 202
    await world.advance(seconds=30)
    found = (await ask(world, "GET /"))[1]
    assert all(entry["queue"] == "jobs" and entry["id"] for entry in found)
    bodies = {str(entry["body"]): entry["attempts"] for entry in found}
    assert bodies["plain"] == 2
    assert set(bodies) == {
        "plain",
        "one of two",
        "[1, 2, 3]",
        "{'js': True}",
        "{'url': 'https://example.com/a', 'n': 1}",
    }


@program("stream")
async def test_11_streams(world) -> None:
    serve_outside(world)
    answer = await world.fetch("/upper", method="POST", body="quiet")
    assert (answer.headers["x-way"], await answer.text()) == ("js", "QUIET!")
    assert await ask(world, "GET /ticks") == (200, "tick 0\ntick 1\ntick 2\n")
    assert await ask(world, "GET /source") == (200, "abc")
    assert await ask(world, "GET /proxy") == (200, {"bytes": 100_000})
    status, found = await ask(world, "POST /tee", "shared")
    assert status == 200
    assert found == {"one": "shared", "two": "shared", "used": True, "first": "twice", "second": "twice"}
    assert await ask(world, "GET /then") == (200, {"text": "promised", "other": "of a request"})


@program("upload")
async def test_12_upload(world) -> None:
    serve_outside(world)
    assert "<form" in (await ask(world, "GET /"))[1]
    bound = "----bound"
    parts = [
        'name="title"\r\n\r\nTitle',
        'name="tag"\r\n\r\none',
        'name="tag"\r\n\r\ntwo',
        'name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello world',
    ]
    body = "".join(f"--{bound}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + f"--{bound}--\r\n"
    kind = {"content-type": f"multipart/form-data; boundary={bound}"}
    assert await ask(world, "POST /", body, **kind) == (
        200,
        {
            "title": "Title",
            "tags": ["one", "two"],
            "none": None,
            "has": True,
            "name": "a.txt",
            "type": "text/plain",
            "size": 11,
            "text": "hello world",
            "part": "hello",
            "keys": ["file", "tag", "title"],
            "values": 4,
            "items": ["title", "tag", "tag", "file"],
        },
    )
    assert (await ask(world, "POST /js", body, **kind)) == (
        200,
        {
            "title": "Title",
            "name": "a.txt",
            "type": "text/plain",
            "size": 11,
            "length": 11,
            "bytes": "hello world",
            "tags": ["one", "two"],
        },
    )
    assert (await ask(world, "POST /send")) == (
        200,
        {
            "heard": {"field": "value", "file": "m.json", "blob": "print(42)"},
            "again": ["123", "m.json", "print(42)", "text/python"],
            "third": "value",
            "refused": "Expected single item in arguments to FormData.__setitem__",
            "both": ["lorem", "ipsum"],
            "blob": ["File", "another string"],
            "left": ["blob.py", "file"],
            "modified": 1000,
            "type of both": "a/b",
            "type of list": "",
            "view": "foobarbaz",
            "js type": "a/b",
        },
    )


@program("sessions")
async def test_13_limiter_and_sessions(world) -> None:
    login = await world.fetch("/login", method="POST", json={"user": "ann"})
    cookie = login.headers["set-cookie"].split(";")[0]
    assert await ask(world, "GET /", Cookie=cookie) == (200, "you are ann")
    assert (await ask(world, "GET /"))[0] == 401
    await world.advance(seconds=50)
    assert (await ask(world, "GET /", Cookie=cookie))[0] == 200
    await world.advance(seconds=50)
    assert (await ask(world, "GET /", Cookie=cookie))[0] == 200
    await world.advance(seconds=61)
    assert await ask(world, "GET /", Cookie=cookie) == (401, "log in again")
    answers = [(await world.fetch("/")).status for _ in range(5)]
    assert answers[-1] == 429
    assert (await world.fetch("/")).headers["retry-after"] == "2" or answers.count(429) > 0


@program("todo")
async def test_14_todo(world) -> None:
    assert await ask(world, "GET /todos") == (200, {"todos": [], "ok": True, "read": True})
    json = {"content-type": "application/json"}
    made = await ask(world, "POST /todos", '{"title": "milk"}', **json)
    assert made == (201, {"id": 1, "title": "milk", "done": False})
    assert await ask(world, "POST /import", '["a", "b"]', **json) == (200, {"added": 2, "last": 3})
    assert await ask(world, "PUT /todos/1") == (200, {"changed": 1})
    assert await ask(world, "GET /js") == (
        200,
        {"titles": ["a", "b"], "count": 3, "raw": [["id", "title"]]},
    )
    assert (await ask(world, "DELETE /todos/2"))[0] == 204
    assert (await ask(world, "GET /todos"))[1]["todos"] == [
        {"id": 1, "title": "milk", "done": 1},
        {"id": 3, "title": "b", "done": 0},
    ]
    assert (await ask(world, "GET /wrong"))[1]["says"] is True
    assert await ask(world, "GET /none") == (200, None)


@program("legacy")
async def test_16_functions_of_the_module(world) -> None:
    world.on_fetch("https://api.test/", lambda request: _plain())
    assert await ask(world, "GET /") == (200, "legacy baz")
    assert await ask(world, "GET /out") == (200, "plain")
    await world.scheduled("*/5 * * * *")
    assert await ask(world, "GET /seen") == (200, "*/5 * * * *")


async def _plain():
    from perdure.sdk.response import Response

    return Response("plain")


@program("legacy-sdk")
async def test_16_the_decorator_converts(world) -> None:
    assert await ask(world, "GET /", **{"X-Custom": "a"}) == (200, "hello GET ['a']")


def test_18_django() -> None:
    """A process has one Django project, and another test's is in this one."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "django_alone.py")
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False, env=environment)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@program("flask")
async def test_flask_over_d1(world) -> None:
    json = {"content-type": "application/json"}
    assert await ask(world, "GET /") == (200, {"message": "ok"})
    assert await ask(world, "POST /todos", '{"id": "a", "title": "milk"}', **json) == (201, {"added": "a"})
    assert await ask(world, "GET /todos") == (200, [{"id": "a", "title": "milk"}])


@program("starlette")
async def test_starlette_over_objects(world) -> None:
    assert await ask(world, "POST /rooms/a/reactions/up") == (202, {"name": "up", "count": 1})
    await asyncio.gather(*(ask(world, "POST /rooms/a/reactions/up") for _ in range(4)))
    assert await ask(world, "GET /rooms/a/stats") == (200, {"up": 5})
    assert await ask(world, "GET /events") == (200, "data: 0\n\ndata: 1\n\ndata: 2\n\n")


@program("mixin")
async def test_an_adapter_as_a_mixin(world) -> None:
    assert await ask(world, "GET /missing") == (200, "True")
    assert await ask(world, "GET /") == (200, "[] False")
    made = await world.fetch("/", method="POST", body="note")
    assert (made.status, await made.text(), made.headers["x-written"]) == (201, "1", "True")
    assert made.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert await ask(world, "GET /") == (200, "[(1, 'note', 1)] True")


@pytest.mark.parametrize("suite", ["js", "objects", "pyodide", "request", "response", "workers"])
@program("surface")
async def test_every_other_name(world, suite) -> None:
    serve_outside(world)
    status, results = await ask(world, f"GET /{suite}")
    assert status == 200, results
    wrong = {name: said for name, said in results.items() if said != "passed"}
    assert not wrong, "\n" + "\n".join(f"{name}: {said}" for name, said in wrong.items())


@program("idioms")
async def test_habits_of_programs_in_public(world) -> None:
    status, results = await ask(world, "GET /")
    assert status == 200, results
    wrong = {name: said for name, said in results.items() if said != "passed"}
    assert not wrong, "\n" + "\n".join(f"{name}: {said}" for name, said in wrong.items())
