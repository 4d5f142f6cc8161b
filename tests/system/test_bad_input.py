"""Bad input: each a typed error with a hint; the process lives on, nothing stored is harmed."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time

import httpx
import msgpack
import perdure
import pytest
import zmq
from perdure.engine.errors import ClassNotFound, InvalidArgument, PerdureError
from perdure.engine.ids import ClassKey
from perdure.engine.stubs import Namespace

from .runtime import EXAMPLES, run_failing, serving

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Thing(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        if ctx.id.name == "broken":
            raise RuntimeError("constructor on purpose")
    async def put(self, size):
        await self.ctx.storage.put(f"k{size}", b"x" * size)
    async def fail(self):
        await self.ctx.storage.put("k", 1)
        raise ValueError("secret of the program")
    async def abort(self):
        self.ctx.abort("aborted on purpose")
    async def slow(self):
        await asyncio.sleep(60)
    async def many(self):
        pass
    async def fetch(self, request):
        async def body():
            yield b"begin"
            raise ValueError("in the middle")
        return Response(body())

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = request.url.split("/", 3)[3]
        thing = self.env.Thing.getByName("a")
        if path == "fail": await thing.fail()
        if path == "abort": await thing.abort()
        if path == "broken": await self.env.Thing.getByName("broken").many()
        if path == "worker": raise KeyError("in the Worker")
        if path == "none": return None
        if path == "stream": return await thing.fetch(request)
        if path == "unknown": await thing.nothing_like_this()
        if path == "body": return Response(str(len(await request.bytes())))
        if path == "cannot": await thing.put(object())
        if path == "overload":
            await asyncio.gather(*[self.env.Thing.getByName("o").slow() for _ in range(30)])
        return Response("fine")
"""


@pytest.fixture(scope="module")
def thing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    program = folder / "thing.py"
    program.write_text(PROGRAM)
    (folder / "perdure.toml").write_text("[limits]\nmailbox_length_max = 10\n")
    with serving(
        str(program), str(folder / "data"), "--shards", "1", "--config", str(folder / "perdure.toml")
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "status", "phrase"),
    [
        ("fail", 500, "Internal Server Error"),
        ("worker", 500, "Internal Server Error"),
        ("none", 500, "Internal Server Error"),
        ("unknown", 500, "Internal Server Error"),
        ("cannot", 500, "Internal Server Error"),
        ("abort", 503, "aborted on purpose"),
        ("broken", 503, "constructor on purpose"),
        ("overload", 503, "is overloaded"),
    ],
)
def test_what_the_http_client_sees_of_errors(thing, path: str, status: int, phrase: str) -> None:
    before = len(thing.log)
    found = httpx.get(f"{thing.url}/{path}", headers={"x-request-id": f"request-{path}"})
    assert found.status_code == status, found.text
    assert phrase in found.text
    assert "secret" not in found.text
    error_id = re.search(r"error id: ([0-9a-f]{16})", found.text)
    assert error_id
    assert ("retry-after" in found.headers) == (status == 503)
    time.sleep(0.2)
    log = "\n".join(thing.log[before:])
    assert error_id.group(1) in log
    assert f"request-{path}" in log
    if path == "fail":
        assert "secret of the program" in log
        assert "Thing/a" in log
        assert "method" in log
    assert httpx.get(f"{thing.url}/").text == "fine"


def test_a_deadline_is_504(tmp_path) -> None:
    from perdure.engine.errors import DeadlineExceeded, Overloaded, ShardLost, StorageFull, ValueTooLarge
    from perdure.router.gateway_http import status_of

    assert status_of(DeadlineExceeded()) == 504
    assert status_of(Overloaded()) == 503
    assert status_of(ShardLost()) == 503
    assert status_of(StorageFull()) == 503
    assert status_of(ValueTooLarge()) == 413
    assert status_of(PerdureError(remote=True)) == 500


def test_a_body_that_breaks_off_is_not_a_whole_answer(thing) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{thing.url}/stream")


def test_oversize_bodies_are_refused_and_large_ones_pass(thing) -> None:
    command = ["curl", "-sw", "%{http_code}", "-o", "/dev/null", "-H", "Content-Length: 200000000", "-XPOST"]
    declared = subprocess.run([*command, f"{thing.url}/body"], capture_output=True, text=True, check=False)
    assert declared.stdout.startswith("413")
    assert httpx.post(f"{thing.url}/body", content=b"x" * (5 << 20)).text == str(5 << 20)


def test_an_upgrade_that_the_program_does_not_know_gets_its_response(thing) -> None:
    headers = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-key": "eA" * 11 + "==",
        "sec-websocket-version": "13",
    }
    plain = httpx.get(f"{thing.url}/")
    assert httpx.get(f"{thing.url}/", headers=headers).status_code == plain.status_code != 101
    assert httpx.get(f"{thing.url}/", headers={**headers, "sec-websocket-key": "x"}).status_code == 400


def test_tracebacks_are_in_the_body_in_development_only(tmp_path) -> None:
    program = tmp_path / "thing.py"
    program.write_text(PROGRAM)
    with serving(str(program), str(tmp_path / "data"), "--development") as runtime:
        assert "secret of the program" in httpx.get(f"{runtime.url}/fail").text


def test_a_client_that_disconnects_cancels_the_work(tmp_path) -> None:
    program = tmp_path / "watch.py"
    program.write_text(
        "import asyncio\n"
        "from workers import DurableObject, Response, WorkerEntrypoint\n"
        "class Watch(DurableObject):\n"
        "    cancelled = False\n"
        "    async def wait(self):\n"
        "        try:\n"
        "            await asyncio.sleep(30)\n"
        "        except asyncio.CancelledError:\n"
        "            Watch.cancelled = True\n"
        "            raise\n"
        "    async def was(self):\n"
        "        return Watch.cancelled\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        "        watch = self.env.Watch.getByName('a')\n"
        "        if request.url.endswith('/was'):\n"
        "            return Response(str(await watch.was()))\n"
        "        return Response(await watch.wait())\n"
    )
    with serving(str(program), str(tmp_path / "data")) as runtime:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(runtime.url, timeout=0.6)
        end = time.monotonic() + 3
        while httpx.get(f"{runtime.url}/was").text != "True":
            assert time.monotonic() < end
            time.sleep(0.05)


def test_malformed_frames_do_no_harm(thing) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 3000)

    async def endpoint() -> str:
        async with perdure.connect(thing.address) as client:
            return client._map.shards[0].endpoint

    socket.connect(asyncio.run(endpoint()))
    hello = [1, [1], "test", {}]
    bad: list[bytes] = [
        b"",
        b"\x02\x90",
        b"\x01",
        b"\x01\xc1",
        b"\x01" + msgpack.packb("text"),
        b"\x01" + msgpack.packb([1, 2]),
        b"\x01" + msgpack.packb([[3]]),
        b"\x01" + msgpack.packb([hello, [3, 1, 0]]),
        b"\x01" + msgpack.packb([hello, [3, 1, 0, "k", b"short", None, 0, "m", b"", 1, "", False]]),
        b"\x01" + msgpack.packb([[99, 1]]),
        b"\x01" + msgpack.packb([[3, 1, 0, "k", b"x" * 32, None, 1, "fetch", b"\xc1", 1, "", False]]),
        b"\x01" + msgpack.packb([[3, 1, 0, "k", b"x" * 32, None, 7, "m", b"\x90", 1, "", False]]),
    ]
    for message in bad:
        socket.send(message)
        answers = msgpack.unpackb(socket.recv()[1:])
        assert any(frame[0] == 6 or frame[0] == 2 for frame in answers), answers
    socket.close()
    context.term()
    assert httpx.get(f"{thing.url}/").text == "fine"


def test_other_versions_are_named(thing) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, 3000)
    socket.connect(thing.address)
    socket.send(b"\x01" + msgpack.packb([[1, [7, 8], "test", {}]]))
    (welcome,) = msgpack.unpackb(socket.recv()[1:])
    assert welcome[:2] == [2, 0]
    assert welcome[2]["versions"] == [1]
    socket.close()
    context.term()


def test_ids_and_classes_that_are_not_ours(thing) -> None:
    async def run() -> None:
        async with perdure.connect(thing.address) as client:
            wrong = Namespace(ClassKey("nothing-like-this"), client).getByName("a")
            with pytest.raises(ClassNotFound, match="no class with the key"):
                await wrong.many()
            with pytest.raises(InvalidArgument, match="not valid for this namespace"):
                await client.call("thing-Thing", b"\x00" * 32, None, "many", b"\x90")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("import nothing_like_this", "nothing_like_this"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "declares no class"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import os; os._exit(9)", "keeps dying before it serves"),
    ],
)
def test_programs_that_cannot_be_served_say_why(tmp_path, text: str, phrase: str) -> None:
    program = tmp_path / "bad.py"
    program.write_text(text)
    code, said = run_failing(str(program), str(tmp_path / "data"))
    assert code == 1
    assert phrase in said
    assert said.count("error:") == 1
    assert ("died" in said) == ("os._exit" in text)  # what a process has said is not told of its death once more
    assert "hint:" in said


def test_a_data_folder_without_permission_or_of_a_newer_format(tmp_path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "FORMAT").write_text('{"format": 99}')
    code, said = run_failing(COUNTER, str(newer))
    assert code == 1
    assert "has format 99" in said
    file = tmp_path / "file"
    file.write_text("")
    code, said = run_failing(COUNTER, str(file / "data"))
    assert code == 1
    assert "cannot use the data folder" in said
    assert "hint:" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_refuses_writes_answers_reads_and_comes_back(tmp_path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mount)], capture_output=True).returncode
        != 0
    ):
        pytest.skip("mounting is not allowed here")
    try:
        program = tmp_path / "thing.py"
        program.write_text(PROGRAM)
        config = tmp_path / "perdure.toml"
        config.write_text("[limits]\nsegment_bytes = 1048576\n")

        async def run(address: str) -> None:
            async with perdure.connect(address) as client:
                things = client.namespace("Thing")
                await things.getByName("kept").put(10)
                filler = mount / "filler"
                filler.write_bytes(b"")
                with open(filler, "wb") as file:
                    try:
                        while True:
                            file.write(bytes(65536))
                            file.flush()
                    except OSError:
                        pass
                refused = 0
                for number in range(60):
                    try:
                        await things.getByName("kept").put(100_000 + number)
                    except PerdureError as error:
                        refused += 1
                        assert "full" in error.message.lower(), error
                        assert error.durableObjectReset
                assert refused
                await things.getByName("kept").many()  # it lives on
                filler.unlink()
                end = time.monotonic() + 5
                while True:
                    try:
                        await things.getByName("kept").put(11)
                        break
                    except PerdureError:
                        assert time.monotonic() < end
                        await asyncio.sleep(0.1)

        with serving(str(program), str(mount / "data"), "--shards", "1", "--config", str(config)) as runtime:
            asyncio.run(run(runtime.address))
            assert runtime.stop() == 0, runtime.text()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)
