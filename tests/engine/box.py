"""An object that runs what a test hands it: scripts get the object's `ctx` and may keep what they see.

`async with Box.on(folder) as box: await box.do(script, ...)`. What a script returns comes back as it is, not as a copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from perdure.engine.durable import DurableObject
from perdure.engine.limits import Limits

from .shelf import Shard

SCRIPTS: dict[int, tuple[Callable[..., object], tuple[object, ...]]] = {}
RESULTS: dict[int, object] = {}


class Plain(DurableObject):
    """Without an alarm handler."""

    async def do(self, number):
        script, args = SCRIPTS.pop(number)
        result = script(self.ctx, *args)
        if hasattr(result, "__await__"):
            result = await result
        RESULTS[number] = result


class Alarmed(Plain):
    async def alarm(self):
        raise AssertionError("alarms do not fire here")


class Box:
    """Objects of one class on one shelf."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self._made = 0

    @classmethod
    @asynccontextmanager
    async def on(
        cls,
        folder: object,
        kind: type = Alarmed,
        *,
        auto: bool = True,
        limits: Limits | None = None,
        sql: bool = True,
    ) -> AsyncIterator[Box]:
        shard = Shard(kind, folder, auto=auto, limits=limits, sql=sql)
        try:
            yield cls(shard)
        finally:
            shard.stop()

    def send(self, script: Callable[..., object], *args: object, name: str = "a"):
        """Run a script as an event; a future of nothing, `result` has what it returned."""
        self._made += 1
        number = id(self) + self._made
        SCRIPTS[number] = (script, args)
        future = self.shard.send(name, "do", number)
        future.number = number  # type: ignore[attr-defined]
        return future

    async def do(self, script: Callable[..., object], *args: object, name: str = "a"):
        """Run a script as an event; what it returned."""
        future = self.send(script, *args, name=name)
        await future
        return RESULTS.pop(future.number)

    def instance(self, name: str = "a"):
        return self.shard.instance(name)

    def storage(self, name: str = "a"):
        """The machine behind the object's `ctx.storage`."""
        return self.instance(name).storage

    def meters(self, name: str = "a"):
        return self.instance(name).meters
