"""A stub whose object was reset stays broken; a new one reaches the fresh instance (spec: ids and stubs, edge cases 9 and 11)."""

from __future__ import annotations

import asyncio

import httpx
import perdure
import pytest
from perdure.engine.errors import ObjectReset, PerdureError

from .runtime import Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
from workers import DurableObject, Response, WorkerEntrypoint

class Box(DurableObject):
    async def add(self, n=1):
        value = (await self.ctx.storage.get("n") or 0) + n
        await self.ctx.storage.put("n", value)
        return value
    async def abort(self):
        await self.ctx.storage.put("n", 888)
        self.ctx.abort("test broken")
    async def fail(self):
        raise ValueError("the program's own")
    async def orphan(self):
        sql = self.ctx.storage.sql
        sql.exec("create table if not exists parent(id integer primary key)")
        sql.exec("create table if not exists child(id integer references parent(id) deferrable initially deferred)")
        sql.exec("insert into child values(1)")
    async def fetch(self, request):
        return Response(str(await self.add()))

class Caller(DurableObject):
    async def through(self, name):
        stub, told = self.env.Box.getByName(name), []
        await self.ctx.storage.put("calls leave after this is on disk", True)
        for method in ("abort", "add", "add"):
            try:
                told.append(await getattr(stub, method)())
            except Exception as error:
                told.append(f"{error.message} {error.durableObjectReset}")
        return [*told, await self.env.Box.getByName(name).add()]

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        stub = self.env.Box.getByName("web")
        for _ in range(2):
            try:
                await stub.abort()
            except Exception as error:
                said = error.message
        try:
            await stub.fetch("http://box/")
        except Exception as error:
            return Response(f"{said}, then {error.message}, then " + await (await self.env.Box.getByName("web").fetch("http://box/")).text())
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "boxes.py").write_text(PROGRAM)
    with serving(str(folder / "boxes.py"), str(folder / "data"), "--shards", "2") as found:
        yield found


def test_edge_9_a_stub_stays_broken_after_a_reset(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            space = client.namespace("Box")
            stub = space.getByName("a")
            assert await stub.add(5) == 5
            for _ in range(2):
                with pytest.raises(ObjectReset) as caught:
                    await stub.abort()
                assert (caught.value.message, caught.value.durableObjectReset) == ("test broken", True)
            with pytest.raises(ObjectReset, match="test broken"):
                await stub.add()
            assert await space.getByName("a").add() == 6, "the old value, through a new stub"
            with pytest.raises(PerdureError, match="the program's own"):
                await space.getByName("a").fail()

    asyncio.run(body())


def test_edge_11_a_failed_commit_is_repeated_by_the_stub(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            stub = client.namespace("Box").getByName("orphans")
            for _ in range(2):
                with pytest.raises(PerdureError, match="constraints were violated.*FOREIGN KEY constraint failed"):
                    await stub.orphan()
            with pytest.raises(PerdureError, match="constraints were violated"):
                await stub.add()
            assert await client.namespace("Box").getByName("orphans").add() == 1

    asyncio.run(body())


def test_the_program_s_own_exception_breaks_nothing(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            stub = client.namespace("Box").getByName("sound")
            with pytest.raises(PerdureError, match="the program's own"):
                await stub.fail()
            assert await stub.add() == 1

    asyncio.run(body())


def test_stubs_inside_objects_and_in_the_worker_too(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            caller = client.namespace("Caller").getByName("c")
            assert await caller.through("inner") == ["test broken True"] * 3 + [1]

    asyncio.run(body())
    assert httpx.get(runtime.url).text == "test broken, then test broken, then 1"
