"""flask-guestbook: blueprints, templates, sessions, flashed messages, errors, streams."""

from __future__ import annotations

import asyncio

from .stage import ask, example

FORM = {"content-type": "application/x-www-form-urlencoded"}


async def sign(world, body: str, name: str = "a", **headers: str):
    return await world.fetch(f"/books/{name}", method="POST", body=body, headers={**FORM, **headers})


def cookie_of(response) -> str:
    return response.headers["set-cookie"].split(";")[0]


@example("flask-guestbook")
async def test_entries_are_kept_and_shown(world) -> None:
    signed = await sign(world, "who=ann&text=%3Chello%3E")
    assert (signed.status, signed.headers["location"]) == (303, "/books/a")
    for shard in (0, 1):
        await world.crash(shard)
    page = (await ask(world, "GET /books/a", Cookie=cookie_of(signed)))[1]
    assert "<li><b>ann</b> &lt;hello&gt;</li>" in page
    assert '<p class="flash">thank you</p>' in page
    assert 'value="ann"' in page
    assert await ask(world, "GET /books/a/export") == (200, "ann: <hello>\n")


@example("flask-guestbook")
async def test_who_signs_is_remembered(world) -> None:
    cookie = cookie_of(await sign(world, "who=ann&text=a"))
    assert (await sign(world, "text=b", Cookie=cookie)).status == 303
    assert await ask(world, "GET /books/a/export") == (200, "ann: a\nann: b\n")


@example("flask-guestbook")
async def test_many_at_once(world) -> None:
    """Requests wait for objects inside plain functions; each keeps its own request and session meanwhile."""
    signed = await asyncio.gather(*(sign(world, f"who=guest{n}&text=t{n}", f"book{n % 3}") for n in range(30)))
    assert {response.status for response in signed} == {303}
    lines = [(await ask(world, f"GET /books/book{n}/export"))[1].splitlines() for n in range(3)]
    assert sorted(line for found in lines for line in found) == sorted(f"guest{n}: t{n}" for n in range(30))


@example("flask-guestbook")
async def test_errors(world) -> None:
    assert await ask(world, "POST /books/a", "text=x", **FORM) == (400, {"error": "who are you?"})
    assert (await ask(world, "POST /books/a", "who=ann", **FORM))[0] == 400
    assert (await ask(world, "GET /nowhere"))[0] == 404
    assert (await ask(world, "DELETE /books/a"))[0] == 405
