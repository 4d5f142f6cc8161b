"""perdure.testing: programs are tested in this process, on the real engine, in virtual time, over crashes and lost power.

async def test_counts(world):
    counter = world.namespace("Counter").getByName("a")
    assert await counter.increment() == 1
    await world.crash(counter)
    assert await counter.increment() == 2
"""

from .world import LogRecord, World

__all__ = ["LogRecord", "World"]
