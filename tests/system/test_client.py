"""The embedded client, its twin for threads, the router endpoint, `perdure.local`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading

import httpx
import perdure
import pytest
from perdure.engine.errors import (
    ClassNotFound,
    ConfigError,
    DeadlineExceeded,
    MethodNotFound,
    NotConnected,
    PerdureError,
    ProgramBug,
)

from .runtime import serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Room(DurableObject):
    async def add(self, n=1):
        value = (await self.ctx.storage.get("n") or 0) + n
        await self.ctx.storage.put("n", value)
        return value
    async def order(self, k):
        seen = await self.ctx.storage.get("seen") or []
        seen.append(k)
        await self.ctx.storage.put("seen", seen)
        return list(seen)
    async def slow(self, seconds):
        await asyncio.sleep(seconds)
        return "slept"
    async def cancelled(self):
        return getattr(self, "was_cancelled", False)
    async def wait(self):
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
    async def echo(self, value):
        return value
    async def fail(self):
        raise ValueError("on purpose")
    async def big(self, count):
        return "x" * count
    async def via(self, name):
        return await self.env.Room.getByName(name).add(10)
    async def fetch(self, request):
        if request.url.endswith("/stream"):
            async def body():
                for number in range(200):
                    yield bytes([number]) * 50_000
            return Response(body())
        data = await request.bytes()
        return Response(data[::-1], headers={"x-length": len(data)})

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await self.env.Room.getByName("http").fetch(request)
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    program = folder / "room.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(folder / "data"), "--shards", "2") as found:
        yield found


@pytest.fixture(params=[False, True], ids=["direct", "relayed"])
def relay(request) -> bool:
    return request.param


def test_calls_order_errors_and_bounds(runtime, relay) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address, relay=relay) as client:
            rooms = client.namespace("Room")
            prefix = f"{relay}-"
            room = rooms.getByName(prefix + "a")
            assert await room.add() == 1
            assert await room.add(4) == 5
            pending = [room.order(k) for k in range(6)]
            assert (await asyncio.gather(*pending))[-1] == list(range(6))
            assert await room.echo({"a": [1, 2.5, None, True, b"x", {3}]}) == {"a": [1, 2.5, None, True, b"x", {3}]}
            assert await room.via(prefix + "b") == 10
            with pytest.raises(PerdureError, match="on purpose") as caught:
                await room.fail()
            assert caught.value.remote
            with pytest.raises(MethodNotFound, match="does not implement"):
                await room.nothing()
            with pytest.raises(TypeError, match="tuple"):
                room.echo((1, 2))
            with pytest.raises(PerdureError, match="32"):
                await room.echo(b"x" * (33 << 20))
            with pytest.raises(PerdureError, match="32"):
                await room.big(33 << 20)
            assert len(await room.big(20 << 20)) == 20 << 20
            assert await room.add() == 6  # it lives on
            with pytest.raises(ClassNotFound, match="no class 'Nothing'"):
                client.namespace("Nothing")

    asyncio.run(run())


def test_deadlines_and_cancellation(runtime, relay) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address, relay=relay, deadline_s=0.3) as client:
            room = client.namespace("Room").getByName(f"{relay}-d")
            with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
                await room.slow(5)
            task = asyncio.ensure_future(room.wait())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)
            assert await room.cancelled() is True

    asyncio.run(run())


def test_fetch_streams_both_ways(runtime, relay) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address, relay=relay) as client:
            room = client.namespace("Room").getByName(f"{relay}-f")
            response = await room.fetch("http://object/echo", method="POST", body=b"abc")
            assert await response.bytes() == b"cba"
            assert response.headers["x-length"] == "3"
            large = os.urandom(5 << 20)
            response = await room.fetch("http://object/echo", method="POST", body=large)
            assert await response.bytes() == large[::-1]

            async def chunks():
                for number in range(30):
                    yield bytes([number]) * 100_000

            response = await room.fetch("http://object/echo", method="POST", body=chunks())
            assert len(await response.bytes()) == 3_000_000
            response = await room.fetch("http://object/stream")
            body = await response.bytes()
            assert body == b"".join(bytes([n]) * 50_000 for n in range(200))
            response = await room.fetch("http://object/stream")
            async for _ in response.body:
                break  # a reader that stops early frees the object's writer
            assert await room.add() >= 1

    asyncio.run(run())


def test_bodies_stream_through_the_gateway(runtime) -> None:
    with httpx.Client(base_url=runtime.url, timeout=30) as client:
        with client.stream("GET", "/stream") as response:
            assert "content-length" not in response.headers
            assert sum(len(chunk) for chunk in response.iter_bytes()) == 200 * 50_000
        sent = [bytes([number]) * 300_000 for number in range(40)]
        response = client.post("/upload", content=iter(sent))  # chunked, larger than any buffer between
        assert response.content == b"".join(sent)[::-1]
        with client.stream("GET", "/stream") as response:
            next(response.iter_bytes())  # and leaves
        assert client.post("/upload", content=b"abc").text == "cba"


def test_a_slow_reader_stops_its_writer(runtime) -> None:
    async def run() -> None:
        async with perdure.connect(runtime.address) as client:
            room = client.namespace("Room").getByName("slow reader")
            response = await room.fetch("http://object/stream")
            body = response.body.__aiter__()
            first = await anext(body)
            await asyncio.sleep(0.3)
            future = next(iter(client.pending.values()))
            assert future.call_incoming._buffered <= (1 << 20) + (256 << 10)
            rest = [chunk async for chunk in body]
            assert len(first) + sum(len(chunk) for chunk in rest) == 200 * 50_000

    asyncio.run(run())


def test_threads_have_a_twin(runtime) -> None:
    with perdure.connect_blocking(runtime.address) as client:
        room = client.namespace("Room").getByName("threads")
        results: list[object] = []
        threads = [threading.Thread(target=lambda: results.append(room.add())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(1, 21))
        assert room.fetch("http://object/x", method="POST", body=b"abc").text() == "cba"
        with pytest.raises(PerdureError, match="on purpose"):
            room.fail()
    with pytest.raises(NotConnected, match="closed"):
        room.add()


def test_another_loop_or_thread_gets_a_clear_error(runtime) -> None:
    async def make():
        return await perdure.connect(runtime.address)

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(make())
    room = client.namespace("Room").getByName("loops")

    async def misuse() -> None:
        with pytest.raises(ProgramBug, match="another event loop"):
            await room.add()

    asyncio.run(misuse())
    with pytest.raises(ProgramBug, match="another event loop"):
        room.add()
    loop.run_until_complete(client.close())
    loop.close()


def _in_child(client, queue) -> None:
    try:
        client.namespace("Room").getByName("forked").add()
        queue.put("no error")
    except PerdureError as error:
        queue.put(error.message)


def test_a_forked_process_gets_a_clear_error(runtime) -> None:
    with perdure.connect_blocking(runtime.address) as client:
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_in_child, args=(client, queue))
        child.start()
        assert "before the process forked" in queue.get()
        child.join(10)


def test_nobody_there_is_a_typed_error_with_a_hint(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PERDURE_ADDRESS", raising=False)

    async def run() -> None:
        with pytest.raises(NotConnected, match="no perdure is running") as caught:
            await perdure.connect()
        assert "perdure run" in caught.value.hint
        with pytest.raises(ConfigError, match="CURVE keys"):
            await perdure.connect("tcp://127.0.0.1:1")

    asyncio.run(run())


def test_the_default_data_folder_is_found(tmp_path, monkeypatch) -> None:
    program = tmp_path / "found.py"
    program.write_text(PROGRAM)
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.delenv("PERDURE_ADDRESS", raising=False)
    with serving(str(program), str(state / "perdure" / "found")), perdure.connect_blocking() as client:
        assert client.namespace("Room").getByName("x").add() == 1


def test_local_is_a_private_runtime(tmp_path) -> None:
    program = tmp_path / "app.py"
    program.write_text(PROGRAM)
    with perdure.local(str(program)) as runtime:
        assert runtime.client.namespace("Room").getByName("x").add() == 1
        data = runtime.data
    assert not os.path.exists(data)

    async def run() -> None:
        async with perdure.local(str(program)) as runtime:
            assert await runtime.client.namespace("Room").getByName("x").add() == 1

    asyncio.run(run())
    program.write_text("import nothing_like_this")
    with pytest.raises(NotConnected, match="nothing_like_this"), perdure.local(str(program)):
        pass


def test_the_client_imports_pyzmq_and_msgpack_only() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import perdure; perdure.connect; perdure.connect_blocking\n"
        "found = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "third = {n for n in found if n not in sys.stdlib_module_names}\n"
        "print(sorted(third - {'perdure', '_cffi_backend', 'cython_runtime', '_cython_3_1_4'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name for name in eval(done.stdout) if not name.startswith("_cython")}
    assert names == {"zmq", "msgpack"}
