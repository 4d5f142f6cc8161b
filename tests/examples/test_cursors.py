"""cursors: what moves is seen 30 times a second and no oftener, what is still costs nothing, dots are kept."""

from __future__ import annotations

import asyncio
import json

from ..sdk.resuming.world_client import told
from .stage import ask, example


async def visitor(world):
    """A socket on the board that is welcomed, and its id."""
    socket = await world.connect("/board/x/live")
    socket.send(json.dumps({"hello": 1, "client": "c" * 8, "log": None, "cursor": None}))
    return socket, await told(socket, "you")


def frames(socket) -> list[dict]:
    found = [json.loads(text).get("data") for text in socket.received]
    return [data["moved"] for data in found if isinstance(data, dict) and "moved" in data]


@example("cursors")
async def test_movements_of_all_are_one_frame_a_tick(world) -> None:
    (ann, ann_id), (ben, ben_id) = await visitor(world), await visitor(world)
    watcher, _ = await visitor(world)
    await world.settle()

    async def move(socket, row: int) -> None:
        for step in range(60):
            socket.send(json.dumps({"data": [step, row]}))
            await asyncio.sleep(1 / 60)

    await asyncio.gather(move(ann, 1), move(ben, 2))  # a second, twice as often as a page would
    await world.advance(seconds=1)
    seen = frames(watcher)
    assert 28 <= len(seen) <= 33
    assert seen[-1].keys() <= {ann_id, ben_id}
    places = [frame[ann_id] for frame in seen if ann_id in frame]
    assert places == sorted(places)
    assert places[-1] == [59, 1]  # where it came to rest


@example("cursors")
async def test_while_all_are_still_the_board_sleeps(world) -> None:
    board = world.namespace("Board").getByName("x")
    ann, ann_id = await visitor(world)
    ann.send(json.dumps({"data": [1, 2]}))
    await world.advance(seconds=30)
    assert frames(ann) == [{ann_id: [1, 2]}]
    assert world.state(board) == "cold"
    ann.send(json.dumps({"data": [3, 4]}))
    await world.settle()
    assert frames(ann)[-1] == {ann_id: [3, 4]}  # the attachment knows who it is


@example("cursors")
async def test_dots_are_kept_and_who_leaves_is_gone(world) -> None:
    (ann, ann_id), (ben, _) = await visitor(world), await visitor(world)
    dot = json.dumps({"from": "ann", "n": 1, "data": {"dot": [5, 6]}})
    ann.send(dot)
    ann.send(dot)  # once more, as after a lost connection
    ann.send(json.dumps({"data": [10_000, 0]}))  # is no place
    await world.settle()
    assert frames(ben) == []
    late = await world.connect("/board/x/live")
    late.send(json.dumps({"hello": 1, "client": "late", "log": None, "cursor": None}))
    while "welcome" not in (found := json.loads(await late.receive())):
        pass
    assert [entry["dot"] for entry in found["entries"]] == [[5, 6]]
    ann.vanish()
    while any(one["id"] == ann_id for one in await told(ben, "here")):
        pass


@example("cursors")
async def test_doors(world) -> None:
    assert "<title>Cursors" in (await ask(world, "GET /board/x"))[1]
    assert (await ask(world, "GET /board/x/live"))[0] == 426
    assert (await ask(world, "GET /nothing"))[0] == 404
