"""Worlds for other runners: where no loop runs, on another loop, under unittest, in a run of pytest."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import unittest

import pytest
from perdure.engine.durable import DurableObject
from perdure.engine.errors import InvalidArgument
from perdure.sdk.entrypoints import WorkerEntrypoint
from perdure.sdk.response import Response
from perdure.testing import World, simulate


class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value

    async def fetch(self, request):
        return Response("fetched")


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return Response("worked")


def test_where_no_loop_runs_each_call_is_done_at_once():
    with World([Counter, Default]) as world:
        a = world.namespace("Counter").getByName("a")
        assert a.increment() == 1
        assert world.storage(a).get("value") == 1
        world.crash(a)
        assert a.increment() == 2
        world.advance(hours=1)
        assert world.state(a) == "cold"
        assert a.fetch("http://object/").status == 200
        assert world.fetch("/").status == 200
        assert world.run(two(world)) == [3, 4]


async def two(world: World) -> list[object]:
    a = world.namespace("Counter").getByName("a")
    return list(await asyncio.gather(a.increment(), a.increment()))


def test_code_on_another_loop_awaits_what_the_worlds_loop_does():
    async def body() -> None:
        async with World([Counter, Default]) as world:
            a = world.namespace("Counter").getByName("a")
            assert await a.increment() == 1
            assert await world.storage(a).get("value") == 1
            assert await asyncio.gather(a.increment(), a.increment()) == [2, 3]
            await world.crash(a)
            assert await a.increment() == 4
            await world.advance(hours=1)
            assert (await world.fetch("/")).status == 200
            assert (await a.fetch("http://object/")).status == 200

    asyncio.run(body())


def test_under_unittest():
    class Case(unittest.IsolatedAsyncioTestCase):
        async def test_counts(self) -> None:
            async with World([Counter]) as world:
                assert await world.namespace("Counter").getByName("a").increment() == 1

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.wasSuccessful(), result.errors + result.failures


# ---------------------------------------------------------------------- the plugin
PROGRAM = """
from workers import DurableObject
class Counter(DurableObject):
    async def increment(self):
        value = (await self.ctx.storage.get("value") or 0) + 1
        await self.ctx.storage.put("value", value)
        return value
"""
TESTS = """
from perdure.testing import simulate

async def test_world(world):
    assert await world.namespace("Counter").getByName("a").increment() == 1

def test_sync(world):
    assert world.namespace("Counter").getByName("a").increment() == 1

@simulate(seeds=20, crashes=False, program=PROGRAM)
async def test_fails_when_late(world, tmp_path):
    await world.namespace("Counter").getByName("a").increment()
    assert world.loop.time() < 0.02, "it took long"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM)
    (tmp_path / "wrangler.jsonc").write_text(
        '{"name": "app", "main": "app.py", "compatibility_date": "2026-01-01",'
        ' "durable_objects": {"bindings": [{"name": "COUNTER", "class_name": "Counter"}]},'
        ' "migrations": [{"tag": "v1", "new_sqlite_classes": ["Counter"]}]}'
    )
    (tmp_path / "test_app.py").write_text(TESTS.replace("PROGRAM", repr(str(tmp_path))))
    return tmp_path


def pytest_in(folder, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_plugin_needs_no_configuration_and_repeats_a_seed(folder):
    said = pytest_in(folder)
    assert "1 failed, 2 passed" in said, said
    assert "it took long" in said
    seed = next(line for line in said.splitlines() if "rerun with --perdure-seed=" in line).split("=")[-1]
    story = [line for line in said.splitlines() if "Counter/a method=increment" in line]
    again = pytest_in(folder, f"--perdure-seed={seed}")
    assert [line for line in again.splitlines() if "Counter/a method=increment" in line] == story
    assert "1 failed, 2 passed" in again
    assert "3 passed" in pytest_in(folder, "--perdure-seeds=1")
    assert "perdure/testing/" not in said  # whose frames are no news to who wrote the test
    assert "base_events.py" not in said


WRONG = """
import pytest
from perdure.testing import simulate

@pytest.mark.perdure("broken.py")
async def test_program(world):
    pass
"""


@pytest.mark.slow
def test_a_program_that_cannot_be_imported_is_told_without_the_runtimes_frames(folder):
    (folder / "broken.py").write_text("import no_such_thing")
    (folder / "test_app.py").write_text(WRONG)
    said = pytest_in(folder)
    assert "ModuleNotFoundError: No module named 'no_such_thing'" in said
    assert "hint: fix the program" in said
    assert len(said.splitlines()) < 15, said


def test_a_simulation_of_a_plain_function_is_refused():
    with pytest.raises(InvalidArgument, match="is for `async def`, and plain is none"):

        @simulate
        def plain(world):
            pass
