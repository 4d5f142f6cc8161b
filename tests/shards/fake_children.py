"""A real supervisor in virtual time over processes that are none: tests say when they serve, die, or cannot be started."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perdure.engine.errors import PerdureError
from perdure.router.control import Message
from perdure.shards import supervisor as module
from perdure.shards.children import Phase
from perdure.shards.commands import Progress
from perdure.shards.setups import Setup
from perdure.shards.supervisor import SHARD, Supervisor


class FakePulse:
    def last(self) -> None:
        return None

    def running(self) -> None:
        return None


class FakeChild:
    """Stands in for `Child`."""

    all: list[FakeChild]
    fails: list[BaseException]
    """What the next starts raise, one each."""
    pid_last = 0

    def __init__(self, loop, module, name, start, keep_fds, on_message, on_death) -> None:
        if FakeChild.fails:
            raise FakeChild.fails.pop(0)
        FakeChild.pid_last += 1
        self.pid = FakeChild.pid_last
        self.name, self.module, self.start = name, module, start
        self.phase = Phase.STARTING
        self.served = self.killed_as_stuck = self.buried = False
        self.failure = self.returncode = None
        self.pulse = FakePulse()
        self.sent: list[Message] = []
        self._dead_silently: int | None = None
        self._loop, self._on_message, self._on_death = loop, on_message, on_death
        FakeChild.all.append(self)

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def begin(self, message: Message) -> None:
        self.start = {**self.start, **message}
        self.send({"type": "begin", **message})

    def drain_gently(self) -> None:
        self.phase = Phase.DRAINING

    def drain(self, seconds: float) -> None:
        self.phase = Phase.DRAINING
        self._loop.call_soon(self.die, 0)

    def kill(self) -> None:
        self._loop.call_soon(self.die, -9)

    def look(self) -> None:
        if self._dead_silently is not None:
            self.die(self._dead_silently)

    # ------------------------------------------------------------------ what tests do
    def say(self, kind: str, **fields: object) -> None:
        if kind == "ready":
            self.phase, self.served = Phase.SERVING, True
            fields = {"endpoint": f"ipc://{self.pid}", "classes": {}, **fields}
        self._on_message(self, {"type": kind, **fields})

    def die(self, code: int = -9) -> None:
        """As the loop calls it: what it raises is only told."""
        if self.phase is Phase.DEAD:
            return
        self.phase, self.returncode, self._dead_silently = Phase.DEAD, code, None
        self._on_death(self)

    def die_unheard(self, code: int = -9) -> None:
        """The kernel knows, the loop is not told."""
        self._dead_silently = code


class Stage:
    """The supervisor, and what its places hold."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    def shard(self, index: int) -> FakeChild:
        return self.supervisor.shards[index]  # type: ignore[return-value]

    def gateway(self, index: int) -> FakeChild:
        return self.supervisor.gateways[index]  # type: ignore[return-value]

    def standby(self) -> FakeChild:
        """The one that was started last."""
        return [child for child in FakeChild.all if child.start.get("standby")][-1]

    async def until(self, done) -> None:
        """In virtual time: at most a minute."""
        for _ in range(6_000):
            if done():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not happen within a minute")

    def reload(self) -> asyncio.Task[Message]:
        return asyncio.ensure_future(self.supervisor.reload(Progress(lambda _: None)))


@contextlib.asynccontextmanager
async def supervising(tmp_path: Path, patch: pytest.MonkeyPatch, shards: int = 1) -> AsyncIterator[Stage]:
    """Everything serves."""
    FakeChild.all, FakeChild.fails = [], []
    patch.setattr(module, "Child", FakeChild)
    program = tmp_path / "program.py"
    program.write_text("")
    ready = asyncio.Event()
    setup = Setup(str(program), str(tmp_path / "data"), port=0, shards=shards, gateways=1)
    supervisor = Supervisor(setup, lambda *_: ready.set())
    running = asyncio.ensure_future(supervisor.run())
    stage = Stage(supervisor)
    await stage.until(lambda: len(supervisor.shards) == shards)
    for index in range(shards):
        stage.shard(index).say("ready")
    stage.gateway(0).say("ready")
    next(child for child in FakeChild.all if child.name == "router").say("ready")
    await asyncio.wait_for(ready.wait(), 1)
    try:
        yield stage
    finally:
        supervisor._on_signal()
        with contextlib.suppress(PerdureError):
            await running


__all__ = ["SHARD", "FakeChild", "Stage", "supervising"]
