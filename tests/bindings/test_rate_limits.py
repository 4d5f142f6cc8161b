"""Rate limits: each row of docs/bindings.md."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest
from perdure.bindings.rate_limits import KEYS_MAX, RateCounter
from perdure.engine.errors import BindingError, ConfigError
from perdure.testing import World
from perdure.testing.virtual import run

from .programs import WITH_OBJECT, folder

LIMITS = {
    "ratelimits": [
        {"name": "FEW", "namespace_id": "1001", "simple": {"limit": 3, "period": 60}},
        {"name": "SAME", "namespace_id": "1001", "simple": {"limit": 5, "period": 60}},
        {"name": "SHORT", "namespace_id": "1002", "simple": {"limit": 1, "period": 10}},
    ],
    "unsafe": {
        "bindings": [
            {"name": "OLD", "type": "ratelimit", "namespace_id": 1003, "simple": {"limit": 2, "period": 10}},
        ]
    },
}
SOURCE = """
from workers import DurableObject, Response, WorkerEntrypoint


class Room(DurableObject):
    pass


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        outcome = await self.env.FEW.limit({"key": request.url})
        if not outcome.success:
            return Response("429 Failure", status=429)
        return Response("Success!")
"""


@pytest.fixture
def limits_world(tmp_path):
    path = folder(tmp_path / "app", SOURCE, **LIMITS, **WITH_OBJECT)

    def with_world(test):
        async def inside():
            async with World(path, shards=2) as world:
                await test(world, world.env)

        run(inside())

    return with_world


async def _taken(limit, times, key="k"):
    return sum([(await limit.limit(key=key)).success for _ in range(times)])


def test_the_example_of_the_public_documentation(limits_world):
    async def test(world, _env):
        assert [(await world.fetch("/a")).status for _ in range(4)] == [200, 200, 200, 429]
        assert (await world.fetch("/b")).status == 200

    limits_world(test)


def test_a_window_and_the_next(limits_world):
    async def test(world, env):
        assert await _taken(env.FEW, 5) == 3
        for _ in range(5):  # nobody calls for longer than an idle object stays in memory
            await world.advance(seconds=11)
            assert await _taken(env.FEW, 1) == 0
        await world.advance(seconds=5)
        assert await _taken(env.FEW, 5) == 3
        assert await _taken(env.SHORT, 2) == 1
        await world.advance(seconds=10)
        assert await _taken(env.SHORT, 2) == 1

    limits_world(test)


def test_keys_and_namespaces(limits_world):
    async def test(_world, env):
        assert await _taken(env.FEW, 4) == 3
        assert await _taken(env.FEW, 4, key="another") == 3
        assert await _taken(env.SAME, 4) == 2  # the same namespace: the same count, against a limit of its own
        assert await _taken(env.OLD, 3) == 2
        long = "x" * 5_000
        assert await _taken(env.FEW, 4, key=long) == 3
        assert await _taken(env.FEW, 1, key=long + "y") == 1

    limits_world(test)


def test_at_once(limits_world):
    async def test(_world, env):
        outcomes = await asyncio.gather(*(env.FEW.limit({"key": "k"}) for _ in range(20)))
        assert sum(outcome["success"] for outcome in outcomes) == 3

    limits_world(test)


def test_nothing_is_written_and_a_crash_forgets(limits_world):
    async def test(world, env):
        assert await _taken(env.FEW, 4) == 3
        files = [os.path.join(place, name) for place, _, names in os.walk(world._folder) for name in names]
        assert [file for file in files if "/log/" not in file] == []  # no object has a database
        await world.crash(0)
        await world.crash(1)
        assert await _taken(env.FEW, 4) == 3

    limits_world(test)


OPTIONS = {
    "a dict": (lambda limit: limit.limit({"key": "k"}), None),
    "an object with attributes": (lambda limit: limit.limit(SimpleNamespace(key="k")), None),
    "keyword arguments": (lambda limit: limit.limit(key="k"), None),
    "no key": (lambda limit: limit.limit({}), None),
    "nothing": (lambda limit: limit.limit(), "invalid rate limit options"),
    "a text": (lambda limit: limit.limit("k"), "invalid rate limit options"),
    "an unknown option": (lambda limit: limit.limit(key="k", ip="x"), "bad rate limit options: [ip]"),
    "a key that is no text": (lambda limit: limit.limit(key=1), "invalid key: 1"),
    "another period": (lambda limit: limit.limit(key="k", period=20), "unsupported period: 20"),
    "a limit that is no number": (lambda limit: limit.limit(key="k", limit="x"), "limit must be a number: x"),
}


@pytest.mark.parametrize("row", OPTIONS)
def test_options(limits_world, row):
    call, refused = OPTIONS[row]

    async def test(_world, env):
        if refused is None:
            assert (await call(env.FEW)).success is True
            return
        with pytest.raises(BindingError) as caught:
            await call(env.FEW)
        assert refused in str(caught.value)

    limits_world(test)


MISTAKES = {
    "a period of 30": {"ratelimits": [{"name": "X", "namespace_id": "1", "simple": {"limit": 1, "period": 30}}]},
    "no limit": {"ratelimits": [{"name": "X", "namespace_id": "1", "simple": {"period": 10}}]},
    "a namespace that is no number": {
        "ratelimits": [{"name": "X", "namespace_id": "a", "simple": {"limit": 1, "period": 10}}]
    },
    "no name": {"ratelimits": [{"namespace_id": "1", "simple": {"limit": 1, "period": 10}}]},
    "another unsafe binding": {"unsafe": {"bindings": [{"name": "X", "type": "vector"}]}},
}


@pytest.mark.parametrize("row", MISTAKES)
def test_configuration_mistakes(tmp_path, row):
    path = folder(tmp_path / "app", SOURCE, **MISTAKES[row], **WITH_OBJECT)
    with pytest.raises(ConfigError, match="ratelimits|unsafe"):
        World(path).start()


def test_the_memory_of_a_counter_is_bounded():
    async def inside():
        counter = RateCounter(None, None)
        for number in range(KEYS_MAX + 10):
            assert await counter.take(str(number).encode(), 1, 60)
        assert await counter.take(b"0", 1, 60)  # forgotten
        assert not await counter.take(str(KEYS_MAX).encode(), 1, 60)
        [(_, counts)] = counter._windows.values()
        assert len(counts) == KEYS_MAX

    run(inside())
