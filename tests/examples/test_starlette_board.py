"""starlette-board: templates, sessions, static files, server-sent events."""

from __future__ import annotations

from .stage import ask, example

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def say(world, body: str, **headers: str):
    return await world.fetch("/boards/tea%20room", method="POST", body=body, headers={**FORM, **headers})


@example("starlette-board")
async def test_what_is_said_is_on_the_page(world) -> None:
    said = await say(world, "who=ann&text=%3Chello%3E")
    assert (said.status, said.headers["location"]) == (303, "http://localhost/boards/tea%20room")
    status, page = await ask(world, "GET /boards/tea%20room")
    assert (status, "<li><b>ann</b> &lt;hello&gt;</li>" in page) == (200, True)
    assert "<h1>tea room</h1>" in page
    assert "<li>" not in (await ask(world, "GET /boards/other"))[1]


@example("starlette-board")
async def test_the_session_knows_who_said_it(world) -> None:
    first = await say(world, "who=ann&text=a")
    cookie = first.headers["set-cookie"].split(";")[0]
    await say(world, "text=b", Cookie=cookie)
    await say(world, "text=c", Cookie=cookie.replace("=", "=x"))
    page = (await ask(world, "GET /boards/tea%20room"))[1]
    assert "<b>ann</b> b" in page
    assert "<b>somebody</b> c" in page


@example("starlette-board")
async def test_readers_are_told_at_once_and_forgotten_when_they_go(world) -> None:
    board = world.namespace("Board").getByName("tea room")
    bodies = [(await board.fetch("http://board/live")).to_wire().body for _ in range(2)]
    for body in bodies:
        assert await anext(body) == b"retry: 1000\n\n"
        await world.settle()
    await say(world, "who=ann&text=a")
    for body in bodies:
        assert await anext(body) == b'data: {"who": "ann", "text": "a"}\n\n'
    await bodies[0].aclose()
    await world.settle()
    assert len(world.object(board).readers) == 1
    await world.advance(minutes=5)
    assert world.state(board) != "cold"
    await bodies[1].aclose()
    await world.advance(seconds=15)
    assert world.state(board) == "cold"


@example("starlette-board")
async def test_static_files(world) -> None:
    status, text = await ask(world, "GET /static/board.css")
    assert (status, text[:4]) == (200, "body")
    assert (await ask(world, "GET /static/../entry.py"))[0] == 404
