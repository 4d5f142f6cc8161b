"""Operations on a shard: who may ask for what, how long, and with which arguments; what is listed."""

from __future__ import annotations

import asyncio
import types
from dataclasses import replace

import pytest
from perdure.engine.calls import OPERATE, Call
from perdure.engine.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ObjectNotFound,
    ObjectReset,
    OperationNotFound,
    Overloaded,
    PerdureError,
)
from perdure.engine.ids import ClassKey
from perdure.engine.turns import SCOPE
from perdure.engine.values import pack, unpack
from perdure.router.slots import group_of
from perdure.shards.catalogue import Catalogue, Row
from perdure.shards.files import Live
from perdure.shards.listing import Listing
from perdure.shards.operations import OPERATIONS_MAX, Operations

KEY = ClassKey("test-Room")
ROOM = KEY.id_from_name("a")


def call(method: str, answers: list[object], deadline_s: float | None = None, **arguments: object) -> Call:
    def answer(_call: Call, result: object) -> None:
        answers.append(unpack(result) if isinstance(result, bytes) else result)

    return Call("", ROOM, None, OPERATE, method, pack(arguments), answer, deadline_s=deadline_s)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def typed(class_key: str, object_id: bytes, at: str | int | None = None, sure: bool = False) -> dict[str, object]:
    return {"class": class_key, "id": object_id, "at": at, "sure": sure, "scope": SCOPE.get() is None}


def test_arguments_are_checked_against_the_signature() -> None:
    async def run() -> None:
        operations = Operations(asyncio.get_running_loop(), lambda *_: None)
        operations.add("typed", typed)
        found = await operations.perform("typed", ROOM, {"class_key": "test-Room", "at": 5})
        assert found == {"class": "test-Room", "id": ROOM, "at": 5, "sure": False, "scope": True}
        for arguments, said in (
            ({}, "missing a required argument: 'class_key'"),
            ({"class_key": "test-Room", "nothing": 1}, "nothing"),
            ({"class_key": 5}, "class_key must be str"),
            ({"class_key": "test-Room", "at": 1.5}, "at must be"),
            ({"class_key": "test-Room", "at": True}, "at must be"),
            ({"class_key": "test-Room", "sure": 1}, "sure must be bool"),
            ({"class_key": "test-Room", "object_id": ROOM}, "named by where the call goes"),
            ({"class_key": "test-Other"}, "not valid for this namespace"),
            ([1], "must be a dict"),
        ):
            with pytest.raises(InvalidArgument, match=said):
                await operations.perform("typed", ROOM, arguments)
        with pytest.raises(OperationNotFound, match="there is no operation 'nothing'") as caught:
            await operations.perform("nothing", ROOM, {})
        assert "typed" in caught.value.hint

    asyncio.run(run())


def test_deadline_cancellation_bound_and_end() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        said: list[tuple[object, ...]] = []
        operations = Operations(loop, lambda *line: said.append(line))
        ended: list[str] = []

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("ended")

        async def at_once() -> str:
            return "done"

        async def fail() -> None:
            raise ValueError("on purpose")

        operations.add("wait", wait)
        operations.add("fail", fail)
        answers: list[object] = []
        operations.add("at once", at_once)
        for name in ("at once", "wait"):
            operations.start(call(name, answers, deadline_s=loop.time() - 1))
            await settle()
            assert isinstance(answers.pop(), DeadlineExceeded)
        operations.start(call("wait", answers, deadline_s=loop.time() + 0.01))
        while not answers:
            await asyncio.sleep(0.001)
        assert isinstance(answers.pop(), DeadlineExceeded)
        operations.start(call("at once", answers, deadline_s=loop.time() + 5))
        await settle()
        assert answers.pop() == "done"
        operations.start(call("fail", answers))
        await settle()
        failure = answers.pop()
        assert isinstance(failure, PerdureError)
        assert "ValueError: on purpose" in failure.message
        assert said[0][1] == "operation_failed"
        given_up = call("wait", answers)
        operations.start(given_up)
        await settle()
        operations.cancel(given_up)
        await settle()
        assert isinstance(answers.pop(), ObjectReset)
        ended.clear()
        for _ in range(OPERATIONS_MAX):
            operations.start(call("wait", answers))
        operations.start(call("wait", answers))
        assert isinstance(answers.pop(), Overloaded)
        await settle()
        await operations.stop()
        assert len(ended) == OPERATIONS_MAX == len(answers)
        operations.start(call("wait", answers))
        assert "shutting down" in str(answers[-1])

    asyncio.run(run())


def listing(folder, rows: list[Row], live: dict[bytes, Live]) -> Listing:
    catalogue = Catalogue(str(folder), range(64))
    catalogue.rebuild({})
    catalogue.write(rows)
    files = types.SimpleNamespace(live=live, dead=types.SimpleNamespace(objects={}))
    residents = types.SimpleNamespace(is_resident=lambda object_id: object_id in live)
    return Listing(catalogue, files, residents)  # type: ignore[arg-type]


async def pages(found: Listing, limit: int, **options: object) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    after = None
    while True:
        page = await found.list(limit, after=after, **options)  # type: ignore[arg-type]
        assert len(page["objects"]) <= limit
        rows += page["objects"]
        after = page["next"]
        if after is None:
            return rows


def test_pages_are_sorted_and_whole_with_what_the_catalogue_does_not_know_yet(tmp_path) -> None:
    names = [f"n{number:03}" for number in range(150)]
    rows = [Row(KEY.id_from_name(name), "test-Room", name, 8192, 1_000 + at) for at, name in enumerate(names[:100])]
    other = ClassKey("test-Other")
    nameless = [
        Row(other.unique_id(lambda n, s=seed: bytes([s * 9]) * n), "test-Other", None, 4096, 5) for seed in range(20)
    ]
    live = {
        KEY.id_from_name(name): Live("test-Room", name, 1, 1, 3, 0.0, size_pages=4, time_ms=9_000)
        for name in names[90:]
    }
    live[rows[0].object_id] = Live(
        "test-Room", None, 1, 1, 7, 0.0, size_pages=9, time_ms=9_500
    )  # its name is in the catalogue

    async def run() -> None:
        found = listing(tmp_path, rows + nameless, live)
        for limit in (17, 1_000):
            rooms = await pages(found, limit, class_key="test-Room")
            assert [row["name"] for row in rooms] == names
            everything = await pages(found, limit)
            assert len({row["id"] for row in everything}) == 170 == len(everything)
            assert [row["class"] for row in everything] == ["test-Other"] * 20 + ["test-Room"] * 150
            some = await pages(found, limit, prefix="n09")
            assert [row["name"] for row in some] == names[90:100]
        assert rooms[0] == {
            "id": rows[0].object_id.hex(),
            "class": "test-Room",
            "name": "n000",
            "created_ms": 1_000,
            "active_ms": 9_500,
            "bytes": 9 * 4096,
        }
        for limit in (0, 10_001):
            with pytest.raises(InvalidArgument, match="limit must be"):
                await found.list(limit)
        with pytest.raises(InvalidArgument, match="after must be"):
            await found.list(5, after=["x"])

    asyncio.run(run())


def test_nothing_is_read_before_a_missing_catalogue_is_rebuilt(tmp_path) -> None:
    async def run() -> None:
        found = listing(tmp_path, [Row(ROOM, "test-Room", "a", 8192, 1_000)], {})
        rebuild: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        found.rebuild = rebuild
        asking = [asyncio.ensure_future(found.list(5)), asyncio.ensure_future(found.describe(ROOM))]
        given_up = asyncio.ensure_future(found.list(5))
        await settle()
        given_up.cancel()
        await settle()
        assert not any(task.done() for task in asking)
        assert not rebuild.done()
        rebuild.set_result(None)
        page, described = await asyncio.gather(*asking)
        assert page["objects"][0]["name"] == described["name"] == "a"

    asyncio.run(run())


def test_describe(tmp_path) -> None:
    async def run() -> None:
        marked = Row(ROOM, "test-Room", "a", 8192, 1_000)
        fresh = KEY.id_from_name("fresh")
        found = listing(tmp_path, [marked], {fresh: Live("test-Room", "fresh", 1, 1, 1, 0.0, size_pages=3, time_ms=7)})
        assert await found.describe(ROOM) == {
            "id": ROOM.hex(), "class": "test-Room", "name": "a", "created_ms": 1_000, "active_ms": 1_000, "bytes": 8192,
            "resident": False,
        }  # fmt: skip
        described = await found.describe(fresh)
        assert (described["name"], described["bytes"], described["resident"]) == ("fresh", 12_288, True)
        recovered = Row(KEY.id_from_name("r"), "test-Room", "r", 4096, 0)
        again = listing(tmp_path / "again", [recovered], {})
        assert (await again.describe(recovered.object_id))["created_ms"] == 0
        Catalogue(str(tmp_path / "again"), range(64)).write(
            [replace(recovered, active_ms=7), replace(recovered, active_ms=9)]
        )
        described = await again.describe(recovered.object_id)
        assert (described["created_ms"], described["active_ms"]) == (7, 9)
        with pytest.raises(ObjectNotFound):
            await found.describe(KEY.id_from_name("nobody"))
        assert 0 <= group_of(ROOM) < 64

    asyncio.run(run())
