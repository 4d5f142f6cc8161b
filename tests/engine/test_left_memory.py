"""What objects that have left leave in the process is looked for, and given back: in virtual time."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest
from perdure.engine import residents
from perdure.engine.durable import DurableObject
from perdure.testing.virtual import Inline, run

from .shelf import LoopClock, Shard


class Thing(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.itself = self  # only a collection takes it away

    async def touch(self):
        await self.ctx.storage.put("touched", True)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was done about memory, in order; nothing is collected unasked."""
    done: list[str] = []

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2:
            done.append("collected")

    monkeypatch.setattr(residents, "give_back", lambda: done.append("gave back"))
    gc.disable()
    gc.callbacks.append(collected)
    yield done
    gc.callbacks.remove(collected)
    gc.enable()


async def touched(shard: Shard, count: int) -> list[weakref.ref[object]]:
    found: list[weakref.ref[object]] = []
    for number in range(count):
        await shard.call(f"o{number}", "touch")
        found.append(weakref.ref(shard.instance(f"o{number}").object))
    return found


def test_the_last_garbage_goes_when_the_log_has_forgotten_the_objects(tmp_path, seen, monkeypatch) -> None:
    monkeypatch.setattr(residents, "_SHRINK_FROM", 5)

    async def body() -> None:
        shard = Shard(Thing, tmp_path, clock=LoopClock())
        shard.residents.threads = Inline()  # virtual time does not wait for a thread
        left = await touched(shard, 10)
        await asyncio.sleep(15)
        assert shard.residents.count == 0
        assert all(found() is not None for found in left), "too few to be worth a collection by themselves"
        assert seen == ["gave back"]
        await asyncio.sleep(40)
        assert not any(found() is not None for found in left)
        assert seen == ["gave back", "collected", "gave back"]
        await asyncio.sleep(200)
        assert len(seen) == 3, "an idle process does nothing more"
        shard.stop()

    run(body())


def test_the_name_of_a_method_is_one_string(tmp_path) -> None:
    """Each call brings its own; the interpreter's cache of attributes would hold thousands of them for good."""

    async def body() -> None:
        shard = Shard(Thing, tmp_path, clock=LoopClock())
        name = "".join(["to", "uch"])
        assert name is not sys.intern("touch")
        await shard.call("a", name)
        (kept,) = shard.instance("a").handler._methods
        assert kept is sys.intern("touch")
        shard.stop()

    run(body())
