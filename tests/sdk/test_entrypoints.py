"""Workers of a program: entry classes, relaxed handlers, functions of the module before 2025-08-14 (spec: objects)."""

from __future__ import annotations

import json

import pytest
from perdure.engine.context import DurableObjectContext
from perdure.engine.durable import DurableObject
from perdure.engine.errors import ConfigError, MethodNotFound
from perdure.sdk.env import Env
from perdure.sdk.program import load
from perdure.sdk.submodules.rpc import _EnvWrapper
from perdure.testing import World

SOME = {"compatibility_date": "2026-01-01"}
OLD = {"compatibility_date": "2025-01-01"}


def program(folder, source: str, **config: object) -> str:
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "entry.py").write_text(source)
    found = {"name": "w", "main": "src/entry.py", "vars": {"NAME": "w"}, **config}
    (folder / "wrangler.json").write_text(json.dumps(found))
    return str(folder)


def test_entry_classes_are_the_public_workers_imported_ones_too(tmp_path) -> None:
    source = """
from workers import WorkerEntrypoint
from lent_worker import Lent
class Default(WorkerEntrypoint): pass
class Other(Lent): pass
class _Hidden(WorkerEntrypoint): pass
class Plain: pass
"""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lent_worker.py").write_text(
        "from workers import WorkerEntrypoint\nclass Lent(WorkerEntrypoint): pass\n"
    )
    assert load(program(tmp_path, source)).entrypoints == ["Default", "Lent", "Other"]
    assert load(program(tmp_path, source + "__all__ = ['Other']\n")).entrypoints == ["Other"]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("self", "none"),
        ("self, request", "GET"),
        ("self, request, env", "GET w"),
        ("self, request, env, ctx", "GET w ctx"),
    ],
)
def test_fetch_takes_what_it_likes(tmp_path, parameters: str, expected: str) -> None:
    body = " ".join(
        part
        for name, part in (("request", "{request.method}"), ("env", "{env.NAME}"), ("ctx", "{'ctx' if ctx else ''}"))
        if name in parameters
    )
    source = f"""
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    def fetch({parameters}):
        return Response(f"{body or "none"}")
"""
    with World(program(tmp_path, source, **SOME)) as world:
        assert world.run(world.fetch("/").text()) == expected


LEGACY = """
from workers import DurableObject, Response, handler

class Room(DurableObject):
    async def on_fetch(self, request):
        return Response("room")

@handler
async def on_fetch(request, env, ctx):
    if "room" in request.url:
        return await env.ROOM.getByName("a").fetch(request)
    ctx.waitUntil(noop())
    return Response(f"{request.method} {env.NAME}")

async def noop():
    pass

def on_scheduled(controller, env):
    seen.append((controller.cron, env.NAME))

seen = []
"""
ROOM = {"durable_objects": {"bindings": [{"name": "ROOM", "class_name": "Room"}]}}


def test_functions_of_the_module_are_handlers_of_programs_of_before(tmp_path) -> None:
    services = [{"binding": "SELF", "service": "w"}]
    with World(program(tmp_path, LEGACY, **OLD, **ROOM, services=services)) as world:
        assert world.run(world.fetch("/").text()) == "GET w"
        assert world.run(world.fetch("/room").text()) == "room"

        async def body():
            assert (await world.env.SELF.scheduled(cron="x")).outcome == "ok"
            with pytest.raises(Exception, match="does not support RPC"):
                await world.env.SELF.method()
            with pytest.raises(MethodNotFound, match=r"does not export a queue\(\) function"):
                await world.env.SELF.queue("q", [])

        world.run(body())


def test_functions_of_the_module_are_no_handlers_of_programs_of_today(tmp_path) -> None:
    with World(program(tmp_path, LEGACY, compatibility_date="2025-08-14", **ROOM)) as world:
        response = world.fetch("/")
        assert response.status == 500


def test_the_flag_asks_for_the_old_way(tmp_path) -> None:
    flags = ["disable_python_no_global_handlers"]
    with World(program(tmp_path, LEGACY, compatibility_flags=flags, **ROOM)) as world:
        assert world.run(world.fetch("/").text()) == "GET w"


def test_a_class_and_functions_are_two_default_entrypoints(tmp_path) -> None:
    source = LEGACY + "from workers import WorkerEntrypoint\nclass Default(WorkerEntrypoint): pass\n"
    with pytest.raises(ConfigError, match="Cannot define multiple default entrypoints"):
        World(program(tmp_path, source, **OLD, **ROOM)).start()


def test_handlers_of_classes_of_before_carry_on(tmp_path) -> None:
    source = """
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def on_fetch(self, request, env, ctx):
        return Response("old")
"""
    with World(program(tmp_path, source, **OLD)) as world:
        assert world.run(world.fetch("/").text()) == "old"
    with World(program(tmp_path, source)) as world:
        assert world.fetch("/").status == 500


def test_a_worker_ends_its_event(tmp_path) -> None:
    source = """
from workers import Response, WorkerEntrypoint
class Default(WorkerEntrypoint):
    async def fetch(self, request):
        try:
            self.ctx.abort("no more")
        except Exception:
            return Response("swallowed")
"""
    with World(program(tmp_path, source)) as world:
        response = world.fetch("/")
        assert response.status == 500
        assert "no more" in world.run(response.text())


WRAPPED = """
from workers import DurableObject
from workers.entrypoints import DurableObjectContext
from workers.rpc import _EnvWrapper

class Base(DurableObject):
    def __init__(self, state, bindings):
        super().__init__(state, bindings)
        self.own = DurableObjectContext(state)

class Mixin:
    def hello(self):
        return "mixin"

class Room(Mixin, Base, DurableObject):
    def __init__(self, *args):
        super().__init__(*args)

    def look(self):
        return [type(self.env) is _EnvWrapper, self.own is self.ctx, self.ctx._ctx is self.ctx,
                self.env._env is self.env, self._ctx is self.ctx, self._env is self.env]
"""


def test_ctx_and_env_are_what_they_wrap(tmp_path) -> None:
    with World(program(tmp_path, WRAPPED, **ROOM)) as world:
        room = world.namespace("Room").getByName("a")

        async def body():
            assert await room.look() == [True] * 6
            assert await room.hello() == "mixin"

        world.run(body())
    assert _EnvWrapper is Env


def test_a_program_may_keep_names_of_its_own() -> None:
    class Own(DurableObject):
        def __init__(self, ctx, env):
            super().__init__(ctx, env)
            self._ctx = "mine"

    made = Own(DurableObjectContext.__new__(DurableObjectContext, None), None)  # type: ignore[arg-type]
    assert made._ctx == "mine"
    assert made._env is None
