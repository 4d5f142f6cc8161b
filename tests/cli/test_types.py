"""`perdure types`: what it writes is what a checker needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from perdure.cli.types import types

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = """
from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers import DurableObject, Response, WorkerEntrypoint

if TYPE_CHECKING:
    from worker_types import Env


@dataclass
class Line:
    text: str


class Room(DurableObject):
    env: Env

    async def add(self, amount: int = 1, *, loud: bool = False) -> int:
        return amount

    def lines(self, since: datetime.datetime | None = None) -> list[Line]:
        return []

    async def free(self, anything, *rest):
        return anything

    async def alarm(self) -> None:
        pass

    def _hidden(self) -> None:
        pass


class Mail(WorkerEntrypoint):
    async def send(self, to: str) -> dict[str, int]:
        return {}


class Default(WorkerEntrypoint):
    env: Env

    async def fetch(self, request: object) -> Response:
        room = self.env.ROOMS.getByName("a")
        count: int = await room.add(2)
        lines = await room.lines()
        text: str = lines[0].text + self.env.NAME + str(count)
        sent = (await self.env.MAIL.send("x"))["n"] + self.env.NUMBER
        GOOD
        return Response(text + str(sent))
"""


def program(folder, line: str) -> str:
    (folder / "src").mkdir()
    (folder / "src" / "entry.py").write_text(PROGRAM.replace("GOOD", line))
    found = {
        "name": "w",
        "main": "src/entry.py",
        "vars": {"NAME": "n", "NUMBER": 1, "JSON": {"a": 1}},
        "durable_objects": {"bindings": [{"name": "ROOMS", "class_name": "Room"}]},
        "kv_namespaces": [{"binding": "KV"}],
        "ratelimits": [{"name": "LIMITER", "namespace_id": "1", "simple": {"limit": 1, "period": 10}}],
        "d1_databases": [{"binding": "DB", "database_name": "db", "database_id": "1"}],
        "queues": {"producers": [{"binding": "JOBS", "queue": "jobs"}]},
        "r2_buckets": [{"binding": "FILES", "bucket_name": "files"}],
        "ai": {"binding": "AI"},
        "services": [{"binding": "MAIL", "service": "w", "entrypoint": "Mail"}],
    }
    (folder / "wrangler.json").write_text(json.dumps(found))
    done = CliRunner().invoke(types, [str(folder)])
    assert done.exit_code == 0, done.output
    assert "worker_types.py" in done.output
    return str(folder)


def check(folder: str) -> str:
    """What pyright says of it."""
    os.makedirs(f"{folder}/library")
    os.symlink(ROOT, f"{folder}/library/perdure")  # a checker does not find what is installed from a checkout
    with open(f"{folder}/pyrightconfig.json", "w") as file:
        json.dump({"include": ["src"], "extraPaths": ["src", "library"], "typeCheckingMode": "standard"}, file)
    pyright = os.path.join(os.path.dirname(sys.executable), "pyright")
    command = [pyright, "--pythonpath", sys.executable, "-p", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=55, check=False, cwd=folder).stdout


def test_what_is_written(tmp_path) -> None:
    with open(f"{program(tmp_path, 'pass')}/src/worker_types.py") as file:
        text = file.read()
    for line in (
        "    NAME: str\n    NUMBER: int\n    JSON: Any\n    ROOMS: RoomStubNamespace\n    MAIL: MailStub\n",
        "    KV: perdure.bindings.kv.KvNamespace\n",
        "    LIMITER: perdure.bindings.rate_limits.RateLimit\n",
        "    DB: perdure.bindings.d1.D1Database\n",
        "    JOBS: perdure.bindings.queues.Queue\n",
        "    FILES: perdure.bindings.r2.R2Bucket\n",
        "    AI: perdure.bindings.ai.Ai\n",
        "    import perdure.bindings.kv\n",
        "    async def add(self, amount: int = ..., *, loud: bool = ...) -> int: ...\n",
        "    async def lines(self, since: datetime.datetime | None = ...) -> list[Line]: ...\n",
        "    async def free(self, anything: Any, *rest: Any) -> Any: ...\n",
        "    async def send(self, to: str) -> dict[str, int]: ...\n",
        "    from entry import Line\n",
    ):
        assert line in text
    assert "alarm" not in text
    assert "_hidden" not in text
    sys.modules.pop("worker_types", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("pass", "0 errors"),
        ("await room.missing()", 'Cannot access attribute "missing"'),
        ("await room.add('2')", "int"),
        ("await self.env.KV.fetch('a')", 'Cannot access attribute "fetch"'),
        ("await self.env.DB.prepare(3).run()", "str"),
    ],
)
def test_a_checker_knows_the_stubs(tmp_path, line: str, phrase: str) -> None:
    said = check(program(tmp_path, line))
    assert phrase in said
    if line != "pass":
        assert "1 error" in said
