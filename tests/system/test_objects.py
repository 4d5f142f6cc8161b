"""Operations and `perdure objects` on a real runtime."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import perdure
import pytest
from perdure.engine.errors import DeadlineExceeded, Forbidden, InvalidArgument, ObjectNotFound, OperationNotFound

from .runtime import PERDURE, Runtime, serving

pytestmark = pytest.mark.system

PROGRAM = """
import asyncio
from workers import DurableObject, Response, WorkerEntrypoint

class Room(DurableObject):
    async def add(self, n=1):
        value = (await self.ctx.storage.get("n") or 0) + n
        await self.ctx.storage.put("n", value)
        return value
    async def say(self, text):
        sql = self.ctx.storage.sql
        sql.exec("create table if not exists said(id integer primary key, text)")
        sql.exec("insert into said(text) values(?)", text)
    async def silence(self):
        self.ctx.storage.sql.exec("delete from said")
    async def said(self):
        return [row["text"] for row in self.ctx.storage.sql.exec("select text from said order by id")]

    async def wait(self):
        try:
            await asyncio.sleep(60)
        finally:
            self.ended = True
    async def has_ended(self):
        return getattr(self, "ended", False)

class Lobby(Room):
    pass
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operate")
    program = folder / "chat.py"
    program.write_text(PROGRAM)
    keys = str(folder / "keys")
    subprocess.run([PERDURE, "keys", "new", keys], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        tcp = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with serving(str(program), str(folder / "data"), "--shards", "2", "--router", tcp, "--router-keys", keys) as found:
        found.tcp, found.keys = tcp, keys
        asyncio.run(fill(found))
        yield found


async def fill(runtime: Runtime) -> None:
    async with perdure.connect(runtime.address) as client:
        for number in range(30):
            await client.namespace("Room").getByName(f"r{number:02}").add(number)
        await client.namespace("Lobby").getByName("main").say("hello")


def run(runtime: Runtime, *arguments: str, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PERDURE, "objects", *arguments, "--data", runtime.data],
        input=input,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("relay", [False, True], ids=["direct", "relayed"])
def test_operations_reach_objects_and_shards(runtime, relay) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.address, relay=relay) as client:
            assert client.shards == [0, 1]
            about = [await client.operate(shard, "about") for shard in client.shards]
            assert [each["index"] for each in about] == [0, 1]
            assert {each["data"] for each in about} == {runtime.data}
            assert {"list", "describe", "about"} <= set(about[0]["operations"])
            pages = [await client.operate(shard, "list", limit=100, class_key="chat-Room") for shard in client.shards]
            names = [[row["name"] for row in page["objects"]] for page in pages]
            assert all(found == sorted(found) and found for found in names)
            assert sorted(names[0] + names[1]) == [f"r{number:02}" for number in range(30)]
            room = client.namespace("Room").idFromName("r07")
            described = await client.operate(room.raw, "describe")
            assert (described["name"], described["class"], described["resident"]) == ("r07", "chat-Room", True)
            assert described["bytes"] >= 8192
            with pytest.raises(ObjectNotFound):
                await client.operate(client.namespace("Room").idFromName("nobody").raw, "describe")
            with pytest.raises(OperationNotFound, match="'nothing'") as caught:
                await client.operate(0, "nothing")
            assert "describe" in caught.value.hint
            with pytest.raises(InvalidArgument, match="limit must be int"):
                await client.operate(0, "list", limit="many")
            with pytest.raises(DeadlineExceeded):
                await client.operate(0, "about", deadline_s=0.0)

    asyncio.run(body())


def test_operations_from_the_network_are_refused(runtime) -> None:
    async def body() -> None:
        async with perdure.connect(runtime.tcp, keys=runtime.keys) as client:
            room = client.namespace("Room")
            assert await room.getByName("r05").add() >= 6  # the keys are good for calls
            for target, operation in ((0, "about"), (room.idFromName("r05").raw, "describe")):
                with pytest.raises(Forbidden, match="other machines"):
                    await client.operate(target, operation)

    asyncio.run(body())


def test_threads_can_operate(runtime) -> None:
    with perdure.connect_blocking(runtime.address) as client:
        assert client.classes == {"Room": "chat-Room", "Lobby": "chat-Lobby"}
        assert [client.operate(shard, "about")["index"] for shard in client.shards] == [0, 1]


def test_ctrl_c_in_a_waiting_thread_cancels_what_it_waits_for(runtime) -> None:
    with perdure.connect_blocking(runtime.address) as client:
        room = client.namespace("Room").getByName("waits")
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            room.wait()
        timer.join()
        end = time.monotonic() + 10
        while not room.has_ended():
            assert time.monotonic() < end, "the call still runs"


def test_list_and_show_from_the_command_line(runtime) -> None:
    listed = run(runtime, "list")
    assert listed.returncode == 0, listed.stderr
    lines = [line.split("\t") for line in listed.stdout.decode().splitlines()]
    assert [line[:2] for line in lines] == [["Lobby", "main"]] + [["Room", f"r{number:02}"] for number in range(30)]
    some = run(runtime, "list", "Room", "--prefix", "r1", "--limit", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in some] == ["r10", "r11", "r12"]
    shown = json.loads(run(runtime, "show", "Room/r07", "--json").stdout)
    assert shown["id"] == next(line[2] for line in lines if line[1] == "r07")
    assert json.loads(run(runtime, "show", str(shown["id"]), "--json").stdout) == shown
    refused = run(runtime, "show", "Room/nobody")
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert [line.split(":")[0] for line in refused.stderr.decode().splitlines()] == ["error", "hint"]
    found = subprocess.run(
        [PERDURE, "objects", "list", "--limit", "1"],
        env={**os.environ, "PERDURE_ADDRESS": runtime.address},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("Lobby\tmain\t")


def test_a_terminal_gets_a_table_and_no_database(runtime) -> None:
    master, slave = pty.openpty()
    try:
        command = [PERDURE, "objects", "export", "Room/r07", "--data", runtime.data]
        refused = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
        assert refused.returncode == 1
        assert "not written to a terminal" in refused.stderr
        command = [PERDURE, "objects", "list", "Lobby", "--data", runtime.data]
        env = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
        subprocess.run(command, stdout=slave, timeout=30, check=True, env=env)
        header, row = os.read(master, 4096).decode().splitlines()[:2]
        assert header.split() == ["class", "name", "id", "bytes", "active"]
        assert row.split()[:2] == ["Lobby", "main"]
    finally:
        os.close(master)
        os.close(slave)


def test_what_is_listed_survives_a_restart(tmp_path) -> None:
    program = tmp_path / "chat.py"
    program.write_text(PROGRAM)
    data = str(tmp_path / "data")
    with serving(str(program), data, "--shards", "2") as first:
        asyncio.run(fill(first))
        before = [json.loads(line) for line in run(first, "list", "--json").stdout.splitlines()]
        first.kill()
    with serving(str(program), data, "--shards", "1") as second:
        after = [json.loads(line) for line in run(second, "list", "--json").stdout.splitlines()]
        assert [row["id"] for row in after] == [row["id"] for row in before]
        assert second.stop() == 0
    with serving(str(program), data) as third:
        after = [json.loads(line) for line in run(third, "list", "--json").stdout.splitlines()]
        assert [(row["id"], row["name"]) for row in after] == [(row["id"], row["name"]) for row in before]
        shown = json.loads(run(third, "show", "Lobby/main", "--json").stdout)
        assert shown["resident"] is False
        assert (
            0 <= shown["created_ms"] <= shown["active_ms"]
        )  # 0: the log's index keeps no times, and the shard was killed


# ---------------------------------------------------------------------- when the shard has the operations
async def ask(runtime: Runtime, name: str, method: str, *arguments: object) -> object:
    async with perdure.connect(runtime.address) as client:
        return await getattr(client.namespace("Room").getByName(name), method)(*arguments)


def test_export_and_import_a_live_object(runtime, tmp_path) -> None:
    asyncio.run(ask(runtime, "exported", "say", "one"))
    asyncio.run(ask(runtime, "exported", "add", 5))
    done = run(runtime, "export", "Room/exported")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "file.sqlite"
    path.write_bytes(done.stdout)
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert connection.execute("select text from said").fetchall() == [("one",)]
    connection.close()
    assert os.listdir(f"{runtime.data}/exports") == []
    assert run(runtime, "import", str(path), "Room", "imported").returncode == 0
    assert asyncio.run(ask(runtime, "imported", "said")) == ["one"]
    assert asyncio.run(ask(runtime, "imported", "add")) == 6
    assert run(runtime, "import", str(path), "Room", "imported").returncode == 1
    assert run(runtime, "import", str(path), "Room", "imported", "--replace").returncode == 0
    assert asyncio.run(ask(runtime, "imported", "add")) == 6


def test_fork_diff_history_and_restore(runtime) -> None:
    asyncio.run(ask(runtime, "past", "say", "one"))
    bookmark = json.loads(run(runtime, "history", "Room/past", "--json").stdout.splitlines()[-1])["bookmark"]
    asyncio.run(ask(runtime, "past", "say", "two"))
    changes = [
        json.loads(line) for line in run(runtime, "diff", "Room/past", "--from", bookmark, "--json").stdout.splitlines()
    ]
    assert [(change["change"], change["after"]) for change in changes] == [("added", {"id": 2, "text": "two"})]
    assert run(runtime, "fork", "Room/past", "branch", "--at", bookmark).returncode == 0
    assert asyncio.run(ask(runtime, "branch", "said")) == ["one"]
    assert asyncio.run(ask(runtime, "past", "said")) == ["one", "two"]
    undo = run(runtime, "restore", "Room/past", "--at", bookmark).stdout.decode().strip()
    assert asyncio.run(ask(runtime, "past", "said")) == ["one"]
    assert run(runtime, "restore", "Room/past", "--at", undo).returncode == 0
    assert asyncio.run(ask(runtime, "past", "said")) == ["one", "two"]


def test_vacuum_gives_space_back_and_keeps_the_past(runtime) -> None:
    for _ in range(20):
        asyncio.run(ask(runtime, "shrinks", "say", "x" * 20_000))
    full = json.loads(run(runtime, "history", "Room/shrinks", "--json").stdout.splitlines()[-1])["bookmark"]
    asyncio.run(ask(runtime, "shrinks", "silence"))
    done = run(runtime, "vacuum", "Room/shrinks")
    assert done.returncode == 0, done.stderr
    before, after = (int(word.replace(",", "")) for word in done.stdout.decode().split() if word[0].isdigit())
    assert after < 30_000 < 400_000 < before
    assert asyncio.run(ask(runtime, "shrinks", "said")) == []
    asyncio.run(ask(runtime, "shrinks", "say", "again"))
    assert run(runtime, "restore", "Room/shrinks", "--at", full).returncode == 0
    assert len(asyncio.run(ask(runtime, "shrinks", "said"))) == 20
    assert run(runtime, "vacuum", "Room/nobody").returncode == 1


def test_shell_and_delete(runtime) -> None:
    asyncio.run(ask(runtime, "gone", "say", "seen"))
    assert b"seen" in run(runtime, "shell", "Room/gone", input=b"select text from said;\n").stdout
    assert run(runtime, "delete", "Room/gone").returncode == 1  # nobody to ask
    assert run(runtime, "delete", "Room/gone", "--yes").stdout == b"deleted chat-Room/gone\n"
    assert run(runtime, "show", "Room/gone").returncode == 1
    assert asyncio.run(ask(runtime, "gone", "add")) == 1
