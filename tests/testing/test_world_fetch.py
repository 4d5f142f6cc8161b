"""`fetch` out of objects and Workers: past the output gate, in by the input gate, counted, ended with the object."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import NetworkError, PerdureError
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.fetching import fetch
from perdure.sdk.readable_stream import ReadableStream
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.testing import World
from perdure.testing.virtual import run

URL = "https://api.test/"


class Asker(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.log = []
        self.kept = None

    async def ask(self, url=URL):
        self.log.append("asks")
        response = await fetch(url)
        self.log.append("answered")
        return await response.text()

    async def write_and_ask(self, fails=False):
        await self.ctx.storage.put("written", 1)
        asking = asyncio.ensure_future(fetch(URL))
        await asyncio.sleep(0)
        if fails:
            self.ctx.abort("as asked")
        return await (await asking).text()

    async def note(self, text):
        self.log.append(text)
        return list(self.log)

    async def abort(self):
        self.ctx.abort("as asked")

    async def ask_in_a_section(self):
        async def section():
            self.log.append("section")
            response = await fetch(URL)
            self.log.append(await response.text())

        await self.ctx.blockConcurrencyWhile(section)
        self.log.append("after")

    async def read_slowly(self):
        response = await fetch(URL)
        async for chunk in response.body:
            self.log.append(bytes(chunk).decode())
            await self.ctx.storage.put("read", chunk)
        return list(self.log)

    async def send_stream(self):
        async def body():
            for index in range(3):
                await self.ctx.storage.put("sent", index)  # only in the object's turn
                yield f"{index};".encode()

        return await (await fetch(URL, method="PUT", body=body())).text()

    async def ask_and_forget(self):
        self.kept = asyncio.ensure_future(fetch(URL))

    async def keep(self):
        self.kept = await fetch(URL)

    async def fetch(self, request):
        if request.url.endswith("/echo"):
            return Response(request.body, headers=request.headers)
        return await fetch(URL)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.url.endswith("/object"):
            return await self.env.Asker.getByName("a").fetch(request)
        if request.url.endswith("/echo"):
            sent = Request(request.url, method="POST", body=request.body)
            return await self.env.Asker.getByName("a").fetch(sent)
        return await fetch(URL)


CLASSES = [Asker, Default]


def world_test(work):
    """Run `work(world, stub)` on the world's loop."""

    async def body():
        async with World(CLASSES) as world:
            await work(world, world.namespace("Asker").getByName("a"))

    run(body())


def test_a_worker_and_an_object_ask_handlers_of_the_test() -> None:
    async def work(world, stub):
        asked = []

        async def handler(request):
            asked.append((request.method, request.url))
            await asyncio.sleep(5)
            return {"a": 1}

        world.on_fetch(URL, handler)
        assert await stub.ask(URL + "x?y=1") == '{"a": 1}'
        response = await world.fetch("/")
        assert (response.status, await response.json()) == (200, {"a": 1})
        assert asked == [("GET", URL + "x?y=1"), ("GET", URL)]
        world.on_fetch(URL + "more/", lambda request: 404)
        world.on_fetch("https://text.test", lambda request: Response("hi", headers={"x": "y"}))
        assert await stub.ask(URL + "more/1") == ""
        assert await stub.ask("https://text.test/x") == "hi"

    world_test(work)


def test_without_a_handler_it_says_so() -> None:
    async def work(world, stub):
        with pytest.raises(PerdureError, match=r"no handler of the test answers GET https://api\.test/"):
            await stub.ask()

        def fails(_request):
            raise NetworkError("as asked")

        world.on_fetch(URL, fails)
        with pytest.raises(PerdureError, match="as asked"):
            await stub.ask()

    world_test(work)


def test_other_events_run_while_it_is_awaited_and_it_comes_back_by_the_input_gate() -> None:
    async def work(world, stub):
        held = asyncio.get_running_loop().create_future()

        async def handler(_request):
            return Response(await held)

        world.on_fetch(URL, handler)
        asking = stub.ask()
        assert await stub.note("between") == ["asks", "between"]
        held.set_result("done")
        assert await asking == "done"
        assert await stub.note("end") == ["asks", "between", "answered", "end"]

    world_test(work)


def test_inside_a_section_nobody_else_runs() -> None:
    async def work(world, stub):
        async def handler(_request):
            await asyncio.sleep(1)
            return "inside"

        world.on_fetch(URL, handler)
        section = stub.ask_in_a_section()
        note = stub.note("waited")
        await section
        assert (await note)[:3] == ["section", "inside", "after"]

    world_test(work)


def test_it_leaves_after_what_was_written_before_is_durable_and_never_if_that_is_undone() -> None:
    async def work(world, stub):
        synced = []

        async def handler(_request):
            synced.append(await world.storage(stub).get("written"))
            return "ok"

        world.on_fetch(URL, handler)
        with pytest.raises(PerdureError, match="as asked"):
            await stub.write_and_ask(True)
        await world.settle()
        assert synced == []
        stub = world.namespace("Asker").getByName("a")
        assert await stub.write_and_ask() == "ok"
        assert synced == [1]

    world_test(work)


def test_a_body_is_read_in_the_object_s_turns_as_it_is_wanted() -> None:
    async def work(world, stub):
        made = []

        async def body():
            for index in range(5):
                made.append(index)
                yield f"{index}".encode()
                await asyncio.sleep(1)

        world.on_fetch(URL, lambda request: Response(body()))
        reading = stub.read_slowly()
        await world.advance(seconds=1.5)
        assert made == [0, 1]
        assert await stub.note("between") == ["0", "1", "between"]
        assert await reading == ["0", "1", "between", "2", "3", "4"]
        assert bytes(await world.storage(stub).get("read")) == b"4"

    world_test(work)


def test_a_body_that_an_object_sends_is_made_in_its_turns() -> None:
    async def work(world, stub):
        async def handler(request):
            assert request.method == "PUT"
            return await request.text()

        world.on_fetch(URL, handler)
        assert await stub.send_stream() == "0;1;2;"
        assert await world.storage(stub).get("sent") == 2
        assert world.state(stub) == "idle"
        await world.evict(stub)  # nothing of the body keeps it awake

    world_test(work)


def test_an_object_that_awaits_an_answer_does_not_sleep_and_one_that_has_it_does() -> None:
    async def work(world, stub):
        held = asyncio.get_running_loop().create_future()

        async def handler(_request):
            await held
            return "x"

        world.on_fetch(URL, handler)
        await stub.ask_and_forget()
        await world.advance(seconds=30)
        assert world.state(stub) != "cold"
        held.set_result(None)
        await world.advance(seconds=30)
        assert world.state(stub) == "cold"

    world_test(work)


def test_of_an_object_that_is_reset_nothing_goes_on() -> None:
    async def work(world, stub):
        ended = []

        async def handler(_request):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(True)

        world.on_fetch(URL, handler)
        asking = stub.ask()
        await world.settle()
        with pytest.raises(PerdureError, match="as asked"):
            await stub.abort()
        with pytest.raises(PerdureError, match="as asked"):
            await asking
        await world.settle()
        assert len(ended) == 1
        stub = world.namespace("Asker").getByName("b")
        await stub.ask_and_forget()
        await world.settle()
        await world.advance(minutes=20)  # it is evicted: what it waits for comes from nobody
        assert world.state(stub) == "cold"
        assert len(ended) == 2

    world_test(work)


def test_answers_are_passed_on_through_objects_and_workers() -> None:
    async def work(world, _stub):
        async def body():
            for index in range(3):
                yield f"{index};".encode()

        world.on_fetch(URL, lambda request: Response(body(), headers={"x": "y"}, status=201))
        response = await world.fetch("/object")
        assert (response.status, response.headers["x"], await response.text()) == (201, "y", "0;1;2;")
        response = await world.fetch("/echo", method="POST", body="hello")
        assert await response.text() == "hello"
        streamed = ReadableStream.from_([b"a", b"b"])
        response = await world.fetch("/echo", method="POST", body=streamed)
        assert await response.text() == "ab"

    world_test(work)
