"""The main job, as the README tells it: a counter over HTTP, across restarts, with clean signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import httpx
import pytest

from .runtime import EXAMPLES, children, is_alive, run_failing, serving, title, wait_gone

pytestmark = pytest.mark.system
COUNTER = f"{EXAMPLES}/counter"


def test_counts_up_across_a_restart_of_the_whole_thing(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data) as runtime:
        base = f"{runtime.url}/counter/a"
        assert httpx.post(f"{base}/increment").text == "1\n"
        assert httpx.post(f"{base}/increment?amount=4").text == "5\n"
        assert httpx.post(f"{base}/sql-increment").text == "1\n"
        assert httpx.get(f"{base}/echo").text == "1\n"
        assert httpx.post(f"{base}/fetch/increment?amount=2").text == "7\n"
        assert httpx.get(f"{base}/fetch/value").text == "7\n"
        assert runtime.stop() == 0, runtime.text()
    with serving(COUNTER, data) as runtime:
        assert httpx.get(f"{runtime.url}/counter/a").text == "7\n"
        assert httpx.post(f"{runtime.url}/counter/a/sql-increment").text == "2\n"
        assert runtime.stop() == 0
        assert "recovering" in runtime.text() or "objects=0" in runtime.text()


def test_another_number_of_shards_just_works(tmp_path) -> None:
    data = str(tmp_path / "data")
    names = [f"n{number}" for number in range(40)]
    for round_number, shards in enumerate(("3", "2", "5"), start=1):
        with serving(COUNTER, data, "--shards", shards) as runtime:
            with httpx.Client(base_url=runtime.url) as client:
                assert [client.post(f"/counter/{name}/increment").text for name in names] == [f"{round_number}\n"] * 40
            if shards == "2":  # a kill between two re-deals: frames of one object in several logs
                runtime.kill()
            else:
                assert runtime.stop() == 0


def test_a_refused_request_wakes_no_object(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data, "--shards", "1") as runtime:
        assert httpx.post(f"{runtime.url}/counter/a/increment?amount=x").status_code == 400
        assert httpx.get(f"{runtime.url}/counter/").status_code == 404
        assert runtime.stop() == 0
    assert [name for _, _, names in os.walk(f"{data}/objects") for name in names] == []


def test_processes_name_themselves_and_end_with_their_supervisor(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data, "--shards", "2", "--gateways", "2") as runtime:
        pids = children(runtime.process.pid)
        assert sorted(title(pid) for pid in pids) == [
            "perdure gateway 0",
            "perdure gateway 1",
            "perdure router",
            "perdure shard 0",
            "perdure shard 1",
        ]
        runtime.process.send_signal(signal.SIGKILL)
        runtime.process.wait()
        wait_gone(pids, 5.0)
    with serving(COUNTER, data) as runtime:  # and the lock is free
        assert runtime.stop() == 0


def test_c9_refused_until_the_old_processes_are_gone(tmp_path) -> None:
    """The supervisor killed alone while a shard is stopped: nobody may start until that shard has ended."""
    data = str(tmp_path / "data")
    with serving(COUNTER, data, "--shards", "2") as runtime:
        httpx.post(f"{runtime.url}/counter/a/increment")
        (stopped,) = runtime.pids("shard 0")
        os.kill(stopped, signal.SIGSTOP)
        try:
            runtime.process.send_signal(signal.SIGKILL)
            runtime.process.wait()
            code, text = run_failing(COUNTER, data)
            assert code == 1
            assert "is in use by another perdure" in text
            assert "hint:" in text
        finally:
            os.kill(stopped, signal.SIGCONT)
        wait_gone([stopped], 5.0)
    with serving(COUNTER, data) as runtime:
        assert httpx.post(f"{runtime.url}/counter/a/increment").text == "2\n"


def test_a_second_supervisor_is_refused_by_name(tmp_path) -> None:
    data = str(tmp_path / "data")
    with serving(COUNTER, data) as runtime:
        code, text = run_failing(COUNTER, data)
        assert code == 1
        assert str(runtime.process.pid) in text
        assert data in text


def test_sigterm_answers_what_was_accepted(tmp_path) -> None:
    program = tmp_path / "slow.py"
    program.write_text(
        "import asyncio\n"
        "from workers import DurableObject, Response, WorkerEntrypoint\n"
        "class Slow(DurableObject):\n"
        "    async def work(self):\n"
        "        await self.ctx.storage.put('began', 1)\n"
        "        await asyncio.sleep(1.0)\n"
        "        await self.ctx.storage.put('ended', 1)\n"
        "        return 'done'\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        "        return Response(await self.env.Slow.getByName('a').work())\n"
    )
    with serving(str(program), str(tmp_path / "data")) as runtime:
        curl = subprocess.Popen(["curl", "-s", runtime.url], stdout=subprocess.PIPE, text=True)
        time.sleep(0.4)
        assert runtime.stop() == 0, runtime.text()
        out, _ = curl.communicate(timeout=10)
        assert out == "done"


def test_a_second_signal_forces(tmp_path) -> None:
    program = tmp_path / "stuck.py"
    program.write_text(
        "import asyncio\n"
        "from workers import DurableObject, Response, WorkerEntrypoint\n"
        "class Stuck(DurableObject):\n"
        "    async def work(self):\n"
        "        await asyncio.sleep(60)\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        "        return Response(await self.env.Stuck.getByName('a').work())\n"
    )
    with serving(str(program), str(tmp_path / "data")) as runtime:
        curl = subprocess.Popen(["curl", "-s", "-m", "20", runtime.url])
        time.sleep(0.4)
        pids = children(runtime.process.pid)
        runtime.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert runtime.process.poll() is None
        runtime.process.send_signal(signal.SIGTERM)
        assert runtime.process.wait(5) == 130
        assert not any(is_alive(pid) for pid in pids)
        curl.wait(10)


def test_the_program_may_be_one_file(tmp_path) -> None:
    program = tmp_path / "app.py"
    program.write_text(
        "from workers import DurableObject, Response, WorkerEntrypoint\n"
        "class Greeter(DurableObject):\n"
        "    async def greet(self): return f'hello {self.ctx.id.name}'\n"
        "class Default(WorkerEntrypoint):\n"
        "    async def fetch(self, request):\n"
        "        return Response(await self.env.Greeter.getByName('you').greet())\n"
    )
    with serving(str(program), str(tmp_path / "data")) as runtime:
        assert httpx.get(runtime.url).text == "hello you"
        assert "Greeter" in runtime.text()
