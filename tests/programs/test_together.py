"""Programs of several parts: values between Workers and objects, two Workers, a chat, pages rewritten on their way."""

from __future__ import annotations

import asyncio
import json

from .stage import PROGRAMS, ask, program, serve_outside

RPC = program("rpc", shards=2)


@RPC
async def test_10_values_cross(world) -> None:
    status, found = await ask(world, "GET /values")
    assert status == 200, found
    assert found == {
        "plain": ["t", [1, 2], {"key": 42}, 42, 1.5, False, True, None],
        "date": True,
        "dates": True,
        "set": [1, 2, 3, 4, 5],
        "bytes": [True] * 6,
        "map": "onetwo",
        "undefined": None,
        "number": 1234,
        "nested": {"a": 1, "b": None, "c": {"d": None, "list": [1, 2.5, "x"]}},
        "attribute": 2.5,
        "error": [True, "Error: message"],
        "object": 42,
        "request": True,
        "response": ["body of a response", "of js"],
        "kwargs": ["one", 2, 3],
        "normal": {"x": [1]},
    }


@RPC
async def test_10_functions_cross(world) -> None:
    status, found = await ask(world, "GET /functions")
    assert status == 200, found
    assert "object has no len()" in found.pop("length")
    assert found == {
        "called": [1, 2, "lambda"],
        "async": [0, 10, 20],
        "state": [2, 3, -2],
        "bool": True,
        "forwarded": 8,
        "stub": 3,
    }


@RPC
async def test_10_what_cannot_cross(world) -> None:
    found = (await ask(world, "GET /refused"))[1]
    assert found["tuple"] == found["nested tuple"] == found["in a dict"]
    assert found["tuple"] == "TypeError: <class 'tuple'> cannot be sent over RPC"
    assert found["bytearray"] == "TypeError: <class 'bytearray'> cannot be sent over RPC"
    assert found["regexp"] == "TypeError: RegExp cannot be sent over RPC"
    for name, kind in (("class", "Custom"), ("complex", "complex"), ("range", "range")):
        assert ": DataCloneError" in found[name], found[name]
        assert f'Could not serialize object of type "{kind}"' in found[name]


@RPC
async def test_10_objects_are_called(world) -> None:
    status, found = await ask(world, "GET /object")
    assert status == 200, found
    assert found == {
        "increments": [1, 2, 3, 4, 5, 6],
        "mixin": 1234,
        "blocking": 10,
        "own": {"a": 1, "seen": True},
        "echo": {"deep": [1, {"er": None}]},
        "section": [42, "done"],
        "name": "a",
    }


@RPC
async def test_10_errors_cross(world) -> None:
    found = (await ask(world, "GET /errors"))[1]
    assert "this one fails" in found["raised"]
    assert 'does not implement the method "nothing"' in found["unknown"]
    assert (
        '"text" is not a function' in found["attribute"] or 'does not implement the method "text"' in found["attribute"]
    )
    assert "'alarm' is a reserved method" in found["alarm"]
    assert found["private"] != "none"
    assert "TypeError" in found["arity"]
    caught = (await ask(world, "GET /exception"))[1]
    assert caught["name"] == "TypeError"
    assert caught["stack"] is True


@RPC
async def test_10_work_behind_the_response(world) -> None:
    assert (await ask(world, "GET /behind"))[1] == {"asked": True}
    await world.settle()
    assert (await ask(world, "GET /count"))[1] == 111


@RPC
async def test_10_blobs_cross(world) -> None:
    assert await ask(world, "GET /blob") == (200, ["some text", "text/x"])


@program("chat", shards=2)
async def test_15_chat(world) -> None:
    page = await world.fetch("/")
    assert page.headers["content-type"] == "text/html"
    assert "<title>Chat" in await page.text()
    assert await ask(world, "GET /room/") == (400, "Room name required")
    assert (await ask(world, "GET /elsewhere"))[0] == 404
    said = {"content-type": "application/json"}
    assert await ask(world, "POST /room/one", '{"by": "ann", "text": "hi"}', **said) == (201, {"number": 1})
    waiting = asyncio.ensure_future(ask(world, "GET /room/one?after=1"))
    await world.advance(seconds=1)
    assert not waiting.done()
    await ask(world, "POST /room/one", '{"by": "bob", "text": "ho"}', **said)
    status, heard = await waiting
    assert (status, [message["text"] for message in heard]) == (200, ["ho"])
    assert await ask(world, "GET /room/one?after=2&wait=3000") == (200, [])
    assert [message["by"] for message in (await ask(world, "GET /room/one"))[1]] == ["ann", "bob"]
    for shard in (0, 1):
        await world.crash(shard)
    assert len((await ask(world, "GET /room/one"))[1]) == 2
    both = json.loads((await ask(world, "GET /all"))[1]["rooms"][0])
    assert [message["number"] for message in both] == [1, 2]
    assert await ask(world, "GET /each") == (200, [[0, "a"], [1, "b"]])


@program("front", beside=[f"{PROGRAMS}/back"], shards=2)
async def test_17_two_programs(world) -> None:
    through = await world.fetch("/through", method="POST", body="said")
    assert (await through.text(), through.headers["x-from"]) == ("back heard POST said", "back")
    own = await world.fetch("/own")
    assert (await own.text(), own.headers["x-heard"]) == ("back heard POST own", "back")
    status, found = await ask(world, "GET /order")
    assert status == 200, found
    assert found["first"] == {"taken": 4, "left": 6}
    assert "only 6 left" in found["error"]
    assert found["minus"] == 2
    assert await ask(world, "GET /admin") == (200, {"left": 11, "direct": 10, "who": "boss"})


@program("opengraph")
async def test_a_page_is_rewritten(world) -> None:
    serve_outside(world)
    answer = await world.fetch("/")
    assert answer.headers["content-type"] == "text/html"
    assert await answer.text() == (
        '<html><head><meta property="og:title" content="ours" /><title>t</title></head><body>b</body></html>'
    )
