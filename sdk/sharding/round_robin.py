"""Writes that may go anywhere: each to the next object in turn.

What always holds: N calls in a row through one RoundRobin go to N objects; where the turn begins is left to chance, so that many
callers do not begin with the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from .spreading import Fixed, Objects


class RoundRobin(Fixed):
    """`RoundRobin(env.COUNTERS, shards=8).next().add(1)`; what they have together: `sum(await spread.gather("total"))`.

    It may be made anew for each request. More shards later: those that were there keep what they have.
    """

    def __init__(
        self, namespace: Objects, shards: int, *, name: str = "shard-", rng: Callable[[], float] = random.random
    ) -> None:
        """`rng`: numbers from 0 up to 1. Raises InvalidArgument."""
        super().__init__(namespace, shards, name=name)
        self._at = int(rng() * len(self.names))

    def next(self) -> object:
        """The stub of the next object."""
        name = self.names[self._at % len(self.names)]
        self._at += 1
        return self._namespace.getByName(name)
