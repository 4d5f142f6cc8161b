"""What all of these objects do: write down a value, and when to look again."""

import time

from workers import DurableObject

AGAIN_MS = 2_000
"""An alarm that is set before the work: whatever dies meanwhile, the work goes on then."""


class Kept(DurableObject):
    async def read(self, name, default=None):
        found = await self.ctx.storage.get(name)
        return default if found is None else found

    async def write(self, **values):
        """All of them in one commit, as they are written without waiting for anything but storage."""
        await self.ctx.storage.put(values)

    async def wake(self, after_ms):
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + after_ms)
