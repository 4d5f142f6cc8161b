"""Objects that sleep, callers that go away and orderly ends, with real processes (spec: objects, lifecycle)."""

from __future__ import annotations

import asyncio
import time

import httpx
import perdure
import pytest
from perdure.engine.errors import PerdureError

from .runtime import Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio, workers
from workers import DurableObject, Response, WorkerEntrypoint

class Failure(Exception):
    pass

class Thing(DurableObject):
    made = 0
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        Thing.made += 1
    async def add(self, key="n"):
        value = (await self.ctx.storage.get(key) or 0) + 1
        await self.ctx.storage.put(key, value)
        return value
    async def get(self, key):
        return await self.ctx.storage.get(key)
    async def wait(self):
        await self.add("begun")
        try:
            await asyncio.sleep(25)
        except asyncio.CancelledError:
            await self.ctx.storage.put("cancelled", True)
            raise
    async def background(self):
        async def work():
            await asyncio.sleep(0.1)
            await self.ctx.storage.put("background", True)
        workers.waitUntil(work())
    async def made_so_far(self):
        return Thing.made
    async def abort(self):
        self.ctx.abort("the inner one")
    async def through(self, name):
        return await self.env.Thing.getByName(name).abort()
    async def fail(self):
        error = Failure("x")
        error.abc = 123
        raise error
    async def fail_through(self, name):
        return await self.env.Thing.getByName(name).fail()
    async def exit(self):
        raise SystemExit(3)
    async def preShutdown(self, info):
        await self.ctx.storage.put("ended", info.reason)
    async def fetch(self, request):
        raise Failure("in fetch")

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name = request.url.rsplit("/", 1)[1]
        stub = self.env.Thing.getByName(name)
        if name == "background":
            async def work():
                await asyncio.sleep(0.1)
                await stub.add("by the worker")
            workers.wait_until(work())
            return Response("soon")
        if name == "fetched":
            try:
                await stub.fetch("http://thing/")
            except Exception as error:
                return Response(error.message)
        if name == "failing":
            return await stub.fetch("http://thing/")
        await stub.wait()
        return Response("done")
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("life")
    (folder / "things.py").write_text(PROGRAM)
    (folder / "perdure.toml").write_text("[limits]\nidle_hibernate_ms = 1000\n")
    flags = ("--shards", "2", "--config", str(folder / "perdure.toml"))
    with serving(str(folder / "things.py"), str(folder / "data"), *flags) as found:
        yield found


async def eventually(look, wanted, seconds: float = 8.0):
    end = time.monotonic() + seconds
    while (found := await look()) != wanted:
        assert time.monotonic() < end, f"still {found!r}"
        await asyncio.sleep(0.05)


def test_the_http_client_that_goes_away_cancels_the_object_s_event(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            thing = client.namespace("Thing").getByName("http")
            async with httpx.AsyncClient() as http:
                request = asyncio.ensure_future(http.get(f"{runtime.url}/http", timeout=30))
                await eventually(lambda: thing.get("begun"), 1)
                await asyncio.sleep(0.6)  # the gateway watches requests that take longer than a moment
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
            await eventually(lambda: thing.get("cancelled"), True)

    asyncio.run(body())


@pytest.mark.parametrize("how", ["cancels", "closes", "deadline"])
def test_the_embedded_client_that_gives_up_cancels_the_event(runtime: Runtime, how: str) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            thing = client.namespace("Thing").getByName(how)
            other = await perdure.connect(runtime.address, deadline_s=1 if how == "deadline" else 30)
            call = asyncio.ensure_future(other.namespace("Thing").getByName(how).wait())
            await eventually(lambda: thing.get("begun"), 1)
            if how == "cancels":
                call.cancel()
            elif how == "closes":
                await other.close()
            await asyncio.gather(call, return_exceptions=True)
            await eventually(lambda: thing.get("cancelled"), True)
            assert await thing.get("begun") == 1, "what was committed stays"
            await other.close()

    asyncio.run(body())


def test_edge_37_wait_until_in_objects_and_in_the_worker(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            thing = client.namespace("Thing").getByName("background")
            await thing.background()
            assert (await asyncio.to_thread(httpx.get, f"{runtime.url}/background")).text == "soon"
            await eventually(lambda: thing.get("background"), True)
            await eventually(lambda: thing.get("by the worker"), 1)

    asyncio.run(body())


def test_an_idle_object_is_constructed_again(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            thing = client.namespace("Thing").getByName("sleeps")
            first = await thing.made_so_far()
            assert await thing.made_so_far() == first
            await asyncio.sleep(3.5)
            assert await thing.made_so_far() > first

    asyncio.run(body())


def test_exceptions_over_the_wire(runtime: Runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address) as client:
            things = client.namespace("Thing")
            for call in (things.getByName("e").fail(), things.getByName("f").fail_through("e")):
                with pytest.raises(PerdureError) as caught:
                    await call
                assert caught.value.message.endswith("Failure: x\n")
                assert (caught.value.abc, caught.value.remote) == (123, True)
            with pytest.raises(PerdureError, match="SystemExit: 3"):
                await things.getByName("e").exit()
            outer = things.getByName("outer")
            for _ in range(2):  # the stub of the outer one is whole: the inner one was reset
                with pytest.raises(PerdureError) as caught:
                    await outer.through("inner")
                assert (caught.value.message, caught.value.remote) == ("the inner one", True)
            assert await outer.add() == 1

    asyncio.run(body())
    assert "in fetch" in httpx.get(f"{runtime.url}/fetched").text
    assert httpx.get(f"{runtime.url}/failing").status_code == 500


def test_pre_shutdown_runs_when_the_runtime_is_stopped(tmp_path) -> None:
    (tmp_path / "things.py").write_text(PROGRAM)

    async def call(runtime: Runtime, method: str, *args: object) -> object:
        async with perdure.connect(runtime.address) as client:
            return await getattr(client.namespace("Thing").getByName("a"), method)(*args)

    with serving(str(tmp_path / "things.py"), str(tmp_path / "data"), "--shards", "1") as runtime:
        assert asyncio.run(call(runtime, "add")) == 1
        assert runtime.stop() == 0
    with serving(str(tmp_path / "things.py"), str(tmp_path / "data"), "--shards", "1") as runtime:
        assert asyncio.run(call(runtime, "get", "ended")) == "inactive"
