"""Requests, responses, streams and the rest as arguments and results of calls (spec: rpc, what crosses)."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import PerdureError
from perdure.sdk.blob import Blob, File
from perdure.sdk.form_data import FormData
from perdure.sdk.headers import Headers
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.sdk.streams import FixedLengthStream, ReadableStream, TransformStream, WritableStream
from perdure.sdk.urls import URLSearchParams
from perdure.testing import World
from perdure.testing.virtual import run


class Mirror(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.log = []

    async def echo(self, value):
        return value

    async def kind(self, value):
        return type(value).__name__

    async def through(self, value):
        return await self.env.Mirror.getByName("other").echo(value)

    async def read(self, stream):
        return b"".join([bytes(chunk) async for chunk in stream])

    async def read_one(self, stream):
        reader = stream.getReader()
        first = await reader.read()
        await reader.cancel("enough")
        return first.value

    async def text(self, message):
        return await message.text()

    async def numbers(self, count):
        async def body():
            try:
                for index in range(count):
                    await self.ctx.storage.put("made", index + 1)
                    self.log.append(index)
                    yield f"{index};".encode()
            finally:
                self.log.append("ended")

        return ReadableStream.from_(body())

    async def answer(self, count):
        return Response(await self.numbers(count), status=201, headers={"x": "y"})

    async def told(self):
        return list(self.log)

    async def fill(self, sink, count):
        writer = sink.getWriter()
        for index in range(count):
            await writer.write(f"{index};".encode())
        await writer.close()
        return "filled"

    async def fill_later(self, sink):
        async def later():
            await asyncio.sleep(5)
            writer = sink.getWriter()
            await writer.write(b"late")
            await writer.close()

        self.ctx.waitUntil(later())

    async def give_up(self, sink):
        await sink.getWriter().abort("enough")

    async def begin(self, sink, how):
        """Writes once, and then has it, or not."""
        writer = sink.getWriter()
        await writer.write(b"begun;")
        if how == "keep":
            self.kept = writer

    async def sink(self):
        return WritableStream(
            write=lambda chunk: self.log.append(bytes(chunk)), close=lambda: self.log.append("closed")
        )

    async def store(self, value):
        await self.ctx.storage.put("value", value)

    async def abort(self):
        self.ctx.abort("as asked")


def in_world(work):
    async def body():
        async with World([Mirror]) as world:
            await work(world, world.namespace("Mirror").getByName("a"))

    run(body())


@pytest.mark.parametrize("way", ["echo", "through"])
def test_messages_and_what_they_are_made_of(way: str) -> None:
    async def work(_world, stub):
        send = getattr(stub, way)
        request = await send(
            Request("http://a/b", method="PUT", body="hi", headers={"X": "1"}, cf={"a": 1}, redirect="error")
        )
        assert isinstance(request, Request)
        assert (request.method, request.url, request.headers["x"], request.redirect) == (
            "PUT",
            "http://a/b",
            "1",
            "error",
        )
        assert (request.cf.a, await request.text()) == (1, "hi")
        response = await send(
            Response(b"x", status=418, status_text="Pot", headers=[("Set-Cookie", "a"), ("Set-Cookie", "b")])
        )
        assert (response.status, response.status_text, response.headers.get_all("set-cookie")) == (
            418,
            "Pot",
            ["a", "b"],
        )
        assert (await response.bytes(), (await send(Response(None, status=204))).body) == (b"x", None)
        headers = await send(Headers([("a", "1"), ("A", "2")]))
        assert (type(headers), headers.get("a")) == (Headers, "1, 2")
        blob = await send(Blob("ü", content_type="a/b"))
        assert (type(blob), blob.content_type, await blob.text()) == (Blob, "a/b", "ü")
        file = await send(File("x", "n", "a/b", last_modified=5))
        assert (type(file), file.name, file.last_modified, await file.bytes()) == (File, "n", 5, b"x")
        form = FormData({"a": "1"})
        form.append("f", Blob("x"), "n.txt")
        found = await send(form)
        assert (found["a"], found["f"].name, await found["f"].text()) == ("1", "n.txt", "x")
        assert str(await send(URLSearchParams("a=1&a=2"))) == "a=1&a=2"
        nested = await send({"list": [Blob("in")], "response": Response("deep")})
        assert (await nested["list"][0].text(), await nested["response"].text()) == ("in", "deep")

    in_world(work)


@pytest.mark.parametrize("way", ["echo", "through"])
def test_streams_cross_chunk_by_chunk(way: str) -> None:
    async def work(_world, stub):
        made = []

        async def chunks():
            for index in range(200):
                made.append(index)
                yield f"{index};".encode()

        stream = await getattr(stub, way)(ReadableStream.from_(chunks()))
        assert isinstance(stream, ReadableStream)
        assert len(made) < 100
        text = b"".join([bytes(chunk) async for chunk in stream]).decode()
        assert text == "".join(f"{index};" for index in range(200))
        values = await getattr(stub, way)(ReadableStream.from_([1, {"a": None}, bytearray(b"x"), "text"]))
        assert [value async for value in values] == [1, {"a": None}, b"x", "text"]
        assert await stub.text(Response(ReadableStream.from_([b"a", b"b"]))) == "ab"
        assert await stub.text(Request("http://a", method="POST", body=ReadableStream.from_([b"a", b"b"]))) == "ab"
        fixed = FixedLengthStream(5)
        assert (await stub.echo(fixed.readable)).expected_length == 5

    in_world(work)


def test_a_stream_of_an_object_is_made_in_its_turns_as_it_is_read() -> None:
    async def work(world, stub):
        response = await stub.answer(1000)
        assert (response.status, response.headers["x"]) == (201, "y")
        reader = response.body.getReader()
        assert (await reader.read()).value == b"0;"
        await world.settle()
        assert len(await stub.told()) < 200
        await reader.cancel()
        await world.settle()
        assert (await stub.told())[-1] == "ended"
        assert await (await stub.answer(3)).text() == "0;1;2;"
        assert await world.storage(stub).get("made") == 3

    in_world(work)


def test_a_reader_that_stops_tells_the_source() -> None:
    async def work(world, stub):
        told = []
        stream = ReadableStream(
            pull=lambda controller: controller.enqueue(b"x"), cancel=told.append, strategy={"highWaterMark": 0}
        )
        assert await stub.read_one(stream) == b"x"
        await world.settle()
        assert len(told) == 1
        with pytest.raises(TypeError, match="cannot be sent"):
            stub.echo(stream)

    in_world(work)


def test_a_stream_whose_object_dies_fails() -> None:
    async def work(_world, stub):
        stream = await stub.numbers(1000)
        reader = stream.getReader()
        await reader.read()
        with pytest.raises(PerdureError, match="as asked"):
            await stub.abort()
        with pytest.raises(PerdureError, match="received over RPC disconnected prematurely"):
            while not (await reader.read()).done:
                continue

    in_world(work)


def test_a_sink_is_written_from_elsewhere_with_back_pressure() -> None:
    async def work(_world, stub):
        taken = []
        ended = []

        async def write(chunk):
            await asyncio.sleep(0.1)
            taken.append(bytes(chunk))

        sink = WritableStream(write=write, close=lambda: ended.append("closed"), abort=ended.append)
        assert await stub.fill(sink, 3) == "filled"
        assert (taken, ended) == ([b"0;", b"1;", b"2;"], ["closed"])
        assert sink.locked
        ended.clear()
        await stub.give_up(WritableStream(abort=ended.append))
        assert [str(reason) for reason in ended] == ["enough"]
        pair = TransformStream()
        filling = stub.fill(pair.writable, 3)
        assert b"".join([bytes(chunk) async for chunk in pair.readable]) == b"0;1;2;"
        await filling

    in_world(work)


def test_a_sink_outlives_the_call_that_brought_it() -> None:
    async def work(world, stub):
        taken = []
        await stub.fill_later(WritableStream(write=lambda chunk: taken.append(bytes(chunk))))
        await world.advance(seconds=6)
        assert taken == [b"late"]

    in_world(work)


def test_a_sink_of_an_object_and_its_end() -> None:
    async def work(_world, stub):
        writer = (await stub.sink()).getWriter()
        await writer.write(b"a")
        assert await stub.told() == [b"a"]
        with pytest.raises(PerdureError, match="as asked"):
            await stub.abort()
        with pytest.raises(PerdureError, match="remote execution context has ended"):
            await writer.write(b"b")

    in_world(work)


def test_storage_takes_none_of_them() -> None:
    async def work(_world, stub):
        for value in (Response("x"), Blob("x"), ReadableStream()):
            with pytest.raises(PerdureError, match="DataCloneError"):
                await stub.store(value)

    in_world(work)


def test_a_client_that_has_not_loaded_the_sdk_knows_them_when_they_come() -> None:
    program = (
        "import sys, json\n"
        "import perdure.router.client\n"
        "from perdure.engine.value_types import made_of\n"
        "before = [name for name in sys.modules if name.startswith('perdure.sdk')]\n"
        "blob = made_of(19, [b'x', 'a/b'], None)\n"
        "print(json.dumps([before, type(blob).__name__, blob.content_type]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], "Blob", "a/b"]


@pytest.mark.parametrize("how", ["keep", "let go"])
def test_a_sink_whose_writer_is_gone_breaks_and_its_reader_is_told(how: str) -> None:
    """A reset, or a writer that nobody has any more: who reads the other end does not wait for ever."""

    async def work(world, stub):
        pair = TransformStream()
        reader = pair.readable.getReader()
        begun = stub.begin(pair.writable, how)
        assert bytes((await reader.read()).value) == b"begun;"
        await begun
        reading = asyncio.ensure_future(reader.read())
        if how == "keep":
            await asyncio.sleep(5)
            assert not reading.done()
            with pytest.raises(PerdureError, match="as asked"):
                await stub.abort()
        await asyncio.sleep(1)
        gc.collect()
        with pytest.raises(PerdureError, match="WritableStream received over RPC was disconnected"):
            await asyncio.wait_for(reading, 60)

    in_world(work)
