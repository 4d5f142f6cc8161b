"""What `workers` exports, and the modules beside it (spec: sdk)."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from perdure.engine.errors import DataCloneError, PerdureError
from perdure.sdk import aliases
from perdure.testing import World

NAMES = [
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "Context",
    "DurableObject",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "Headers",
    "JSBody",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
]


@pytest.fixture(autouse=True)
def installed():
    aliases.install()


def test_every_name_is_there() -> None:
    workers = importlib.import_module("workers")
    for name in NAMES:
        assert getattr(workers, name) is not None or name == "env"
        assert name in workers.__all__
    with pytest.raises(AttributeError, match="module 'workers' has no attribute 'x'"):
        _ = workers.x


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("workers.entrypoints", "DurableObjectContext DurableObject WorkerEntrypoint WorkflowEntrypoint"),
        ("workers.rpc", "_EnvWrapper _BindingWrapper _FetcherWrapper _RpcStubWrapper python_to_rpc python_from_rpc"),
        ("workers.utils", "_to_js_headers"),
        ("workers.workflows", "NonRetryableError"),
        ("cloudflare.workers", "DurableObject Response"),
    ],
)
def test_modules_beside_it(module: str, names: str) -> None:
    found = importlib.import_module(module)
    for name in names.split():
        assert getattr(found, name) is not None


def test_modules_of_the_javascript_runtime() -> None:
    workers = importlib.import_module("workers")
    found = workers.import_from_javascript("cloudflare:workers")
    assert found.DurableObject is workers.DurableObject
    assert callable(found.waitUntil)
    with pytest.raises(PerdureError, match="not implemented"):
        workers.import_from_javascript("cloudflare:sockets").connect("host:1")
    with pytest.raises(ImportError, match="Failed to import 'node:fs'"):
        workers.import_from_javascript("node:fs")


def test_workflows_can_be_mentioned_not_made() -> None:
    workers = importlib.import_module("workers")

    class Mine(workers.WorkflowEntrypoint):
        pass

    with pytest.raises(PerdureError, match="Workflows are not implemented"):
        Mine(None, None)


async def later() -> None:
    pass


@pytest.mark.parametrize("value", [(1,), [(1, 2, 3)], {"t": (1, 2)}, bytearray(b"x"), re.compile("x")])
def test_what_may_not_cross(value: object) -> None:
    workers = importlib.import_module("workers")
    with pytest.raises(TypeError, match="cannot be sent over RPC"):
        workers.python_to_rpc(value)


def test_what_may_cross_stays_as_it_is() -> None:
    workers = importlib.import_module("workers")
    value: list[object] = [{"a": 1}, {1, 2}, b"x", None]
    assert workers.python_to_rpc(value) is value
    assert workers.python_from_rpc(value) is value
    coroutine = later()
    with pytest.raises(TypeError, match="Awaitable .* cannot be sent over RPC"):
        workers.python_to_rpc(coroutine)
    coroutine.close()
    value.append(value)
    with pytest.raises(DataCloneError):
        workers.python_to_rpc(value)


ENV = """
import workers
from workers import DurableObject, Response, WorkerEntrypoint, env, patch_env

AT_IMPORT = env.NAME

class Room(DurableObject):
    async def names(self):
        with patch_env({"NAME": "patched"}, MORE=1):
            inside = [env.NAME, workers.env.MORE, "MORE" in env, self.env.NAME]
        return [AT_IMPORT, env.NAME, *inside, "MORE" in env, list(env) == list(self.env)]

    async def missing(self):
        return env.NOTHING

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response(f"{env.NAME} {env.DEEP.a} {env.ROOM.getByName('a').id == self.env.ROOM.getByName('a').id}")
"""


def test_env_is_that_of_whatever_runs(tmp_path) -> None:
    (tmp_path / "entry.py").write_text(ENV)
    (tmp_path / "wrangler.toml").write_text(
        'name = "w"\nmain = "entry.py"\n[vars]\nNAME = "n"\nDEEP = {a = 1}\n'
        '[[durable_objects.bindings]]\nname = "ROOM"\nclass_name = "Room"\n'
    )
    with World(str(tmp_path)) as world:
        room = world.namespace("Room").getByName("a")
        assert world.run(world.fetch("/").text()) == "n 1 True"

        async def body():
            assert await room.names() == ["n", "n", "patched", 1, True, "n", False, True]
            with pytest.raises(PerdureError, match="no binding or variable 'NOTHING'"):
                await room.missing()

        world.run(body())
    with pytest.raises(RuntimeError, match="in events"):
        _ = importlib.import_module("workers").env.NAME


def test_a_process_that_only_imports_perdure_has_none_of_them() -> None:
    code = "import sys, perdure, perdure.sdk.workers; assert not {'workers', 'js', 'asgi', 'cloudflare'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
