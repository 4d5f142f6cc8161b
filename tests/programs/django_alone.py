"""The Django program, in a process of its own: `test_examples.py` runs this file."""

from __future__ import annotations

from .stage import ask, program


@program("django")
async def test_18_django(world) -> None:
    assert await ask(world, "GET /") == (200, {"message": "Hello from Django", "method": "GET"})
    assert await ask(world, "GET /hello/ann?a=1") == (200, {"hello": "ann", "query": {"a": "1"}})
    json = {"content-type": "application/json"}
    assert await ask(world, "POST /echo", '{"n": [1]}', **json) == (
        201,
        {"heard": {"n": [1]}, "type": "application/json"},
    )
    assert await ask(world, "GET /visit") == (200, "visit 1")
    answer = await world.fetch("/visit")
    assert await answer.text() == "visit 2"
    assert [cookie.split(";")[0] for cookie in answer.headers.get_all("set-cookie")] == ["seen=2", "other=x"]
    assert await ask(world, "GET /stream") == (200, "line 0\nline 1\nline 2\n")
    assert (await ask(world, "GET /missing"))[0] == 404
