"""A reload: the next generation of code takes over from the running one, process by process.

stand by (one new process a shard) → hand off, shard by shard → gateways. What always holds: nothing changes before every new
process has imported the program; what goes wrong before that leaves everything as it is.
"""

from __future__ import annotations

import asyncio

from ..engine.errors import PerdureError
from ..router.control import Message
from .children import Child, Phase
from .succession import Processes, Succession, Tell, failure_of

GATEWAY_S_MAX = 60.0


class Reload(Succession):
    """One reload."""

    def __init__(
        self, processes: Processes, loop: asyncio.AbstractEventLoop, tell: Tell, report: Tell, wait_s: float
    ) -> None:
        super().__init__(processes, loop, tell, report, wait_s)
        self._gateway: Child | None = None
        """The new one that is being started."""

    async def run(self) -> Message:
        """Until every process runs the new code. Raises PerdureError: ConfigError when the program cannot be imported."""
        began_s = self._loop.time()
        try:
            await self._processes.reread()
            for index in sorted(
                self._processes.shards
            ):  # one after the other: an error in the program is found by the first
                await self.stand_by(index)
            pauses = [await self.hand_off(index) for index in sorted(self._processes.shards)]
            for index in sorted(self._processes.gateways):
                await self._replace_gateway(index)
        finally:
            self.end()
        return {
            "shards": len(pauses),
            "gateways": len(self._processes.gateways),
            "pause_ms_max": round(max(pauses) * 1000),
            "seconds": round(self._loop.time() - began_s, 3),
        }

    # ------------------------------------------------------------------ what the processes say
    def deals_with(self, child: Child) -> bool:
        return super().deals_with(child) or child is self._gateway

    def on_death(self, child: Child) -> bool:
        if child is self._gateway:
            self._changed.set()
            return True
        return super().on_death(child)

    # ------------------------------------------------------------------ a gateway
    async def _replace_gateway(self, index: int) -> None:
        """The new one listens beside the old one before that stops to."""
        old = self._processes.gateways[index]
        self._processes.retire(old)  # it serves on; but if it dies, the new one is its successor
        try:
            self._processes.start_gateway(index)
        except OSError:
            self._processes.take_back(old)
            raise
        new = self._gateway = self._processes.gateways[index]
        try:
            await self._until(lambda: new.phase is not Phase.STARTING, GATEWAY_S_MAX, f"starting gateway {index}")
            if new.phase is Phase.DEAD:
                raise failure_of(new)
        except PerdureError:
            new.kill()
            if old.phase is not Phase.DEAD:
                self._processes.take_back(old)  # the objects run the new code already
            raise
        finally:
            self._gateway = None
        old.drain_gently()
        self._tell(process=f"gateway {index}", stage="serves", pid=new.pid)
