"""Classes of the key-value backend that got SQL later: `perdure objects upgrade CLASS`.

Both backends keep their data in the same tables, so nothing is converted: the class is noted in Meta, by the supervisor, and an
object has SQL from its next start on. What always holds: once noted, a class never loses SQL again, whatever its
migrations say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ..engine.class_runtime import ClassRuntime
from ..engine.errors import ClassNotFound, ObjectReset
from ..engine.residents import Residents


class Upgrades:
    """Of one shard. `ask(class_key)` tells the supervisor; `adopt` is its answer, to every shard."""

    def __init__(self, runtimes: Mapping[str, ClassRuntime], residents: Residents, ask: Callable[[str], None]) -> None:
        self._runtimes = runtimes
        self._residents = residents
        self._ask = ask
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def adopt(self, class_keys: Iterable[str]) -> None:
        """These classes have SQL."""
        for class_key in class_keys:
            runtime = self._runtimes.get(class_key)
            if runtime is not None:
                runtime.sqlite = True
            for future in self._waiting.pop(class_key, ()):
                if not future.done():
                    future.set_result(None)

    async def upgrade_class(self, class_key: str, now: bool = False) -> dict[str, object]:
        """Give SQL to a class's objects, each on its next start; how many of this shard are in memory.

        `now`: those in memory begin anew at once; whoever waits for them gets a retryable error.
        """
        runtime = self._runtimes.get(class_key)
        if runtime is None:
            raise ClassNotFound(f"There is no class with the key '{class_key}' in this program")
        upgraded = not runtime.sqlite
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(class_key, []).append(future)
        self._ask(class_key)
        await future
        error = ObjectReset("The Durable Object's class was given SQL", retryable=True) if now else None
        return {"upgraded": upgraded, "objects": self._residents.begin_anew(class_key, error)}
