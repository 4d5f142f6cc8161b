"""Objects of one class that call one another, in virtual time: what an object calls arrives as it would over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perdure.engine.calls import RPC, Call, Extras, MadeCall
from perdure.engine.context import GatedTransport
from perdure.engine.errors import PerdureError, from_wire
from perdure.engine.limits import Limits
from perdure.engine.stubs import Namespace
from perdure.engine.values import unpack

from .shelf import Shard


class LoopClock:
    """The loop's own time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()


class Wires:
    """A Transport that brings calls to the residents a loop round later, and answers back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sent: list[Call] = []
        self.cancelled = 0

    def call(self, class_key, object_id, name, method, args, deadline_s=None, on_reset=None, extras=None):
        loop = self._world.shard.loop
        future = MadeCall(loop=loop)

        def answer(_call: Call, result: object) -> None:
            loop.call_soon(arrive, from_wire(result.to_wire()) if isinstance(result, PerdureError) else result)

        def arrive(result: object) -> None:
            if isinstance(result, PerdureError):
                if result.durableObjectReset and on_reset is not None:
                    on_reset(result)
                if not future.done():
                    future.set_exception(result)
            elif not future.done():
                future.set_result(unpack(result))

        call = Call(class_key, object_id, name, RPC, method, args, answer)
        if extras is not None:
            given = Extras.from_wire(extras.to_wire())
            call.chain, call.trail, call.key = given.chain, given.trail, given.key

        def ended(_future: object) -> None:
            if future.cancelled():
                self.cancelled += 1
                self._world.shard.residents.cancel(call)

        future.add_done_callback(ended)
        self.sent.append(call)
        loop.call_soon(self._world.shard.residents.deliver, call)
        return future


class World:
    """`stub(name)` is what a client has; objects have `self.env.stub(name)`."""

    def __init__(self, cls: type, folder: object, limits: Limits | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.shard = Shard(cls, folder, limits=limits)
        self.shard.residents.clock = LoopClock(loop)
        self.shard.residents.now_s = loop.time()
        self.wires = Wires(self)
        self._inside = Namespace(self.shard.key, GatedTransport(self.wires, loop))
        self._outside = Namespace(self.shard.key, self.wires)
        self.shard.residents._classes[self.shard.key.unique].env = self
        self.results: dict[object, object] = {}

    def stub(self, name: str):
        """For code of objects."""
        return self._inside.getByName(name)

    def outside(self, name: str):
        """For clients."""
        return self._outside.getByName(name)

    @classmethod
    @asynccontextmanager
    async def of(cls, kind: type, folder: object, limits: Limits | None = None) -> AsyncIterator[World]:
        world = cls(kind, folder, limits)
        try:
            yield world
        finally:
            world.shard.stop()
