"""fastapi-notes: FastAPI as the Worker and inside an object."""

from __future__ import annotations

import asyncio

from .stage import ask, example


async def add(world, text: str, *tags: str, name: str = "a"):
    response = await world.fetch(f"/notebooks/{name}/notes", json={"text": text, "tags": list(tags)})
    return response.status, await response.json()


@example("fastapi-notes")
async def test_notes_are_kept(world) -> None:
    assert await add(world, "buy milk", "home") == (201, {"id": 1})
    assert await add(world, "write tests") == (201, {"id": 2})
    assert await ask(world, "GET /notebooks/a/notes?tag=home") == (200, [{"id": 1, "text": "buy milk"}])
    assert await ask(world, "GET /notebooks/b/notes") == (200, [])
    for shard in (0, 1):
        await world.crash(shard)
    assert len((await ask(world, "GET /notebooks/a/notes"))[1]) == 2
    assert await ask(world, "GET /notebooks/a/export") == (200, "- buy milk\n- write tests\n")


@example("fastapi-notes")
async def test_words_are_counted_behind_the_response(world) -> None:
    await add(world, "three words here")
    await world.settle()
    assert await ask(world, "GET /notebooks/a/words") == (200, {"notebook": "a", "words": 3})


@example("fastapi-notes", NOTES_MAX=5)
async def test_many_at_once_do_not_go_past_the_bound(world) -> None:
    made = await asyncio.gather(*(add(world, f"note {number}") for number in range(9)))
    assert sorted(status for status, _ in made) == [201] * 5 + [507] * 4
    assert sorted(found["id"] for status, found in made if status == 201) == [1, 2, 3, 4, 5]


@example("fastapi-notes")
async def test_what_is_wrong_is_said(world) -> None:
    assert (await add(world, ""))[0] == 422
    assert (await ask(world, "GET /nowhere"))[0] == 404
    assert (await ask(world, "GET /"))[1] == {"message": "POST a note to /notebooks/NAME/notes"}
    assert (await ask(world, "GET /openapi.json"))[1]["info"]["title"] == "Notebooks"
