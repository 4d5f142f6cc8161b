"""perdure.testing: programs are tested in this process, on the real engine, in virtual time, over crashes and lost power.

async def test_counts(world):
    counter = world.namespace("Counter").getByName("a")
    assert await counter.increment() == 1
    await world.crash(counter)
    assert await counter.increment() == 2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clients import Client, ConnectionEnded, ConnectionRefused
    from .simulation import Run, Simulation, simulate
    from .story import Happening
    from .virtual import NothingHappens
    from .world import LogRecord, World

__all__ = [
    "Client",
    "ConnectionEnded",
    "ConnectionRefused",
    "Happening",
    "LogRecord",
    "NothingHappens",
    "Run",
    "Simulation",
    "World",
    "simulate",
]
_FROM = {
    "Client": "clients",
    "ConnectionEnded": "clients",
    "ConnectionRefused": "clients",
    "Happening": "story",
    "LogRecord": "world",
    "NothingHappens": "virtual",
    "Run": "simulation",
    "Simulation": "simulation",
    "World": "world",
    "simulate": "simulation",
}


def __getattr__(name: str) -> object:
    """Imported when first used: pytest loads this package for each of its runs."""
    module = _FROM.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{module}", __name__), name)
