"""The classes that are served, name → key, as they are told with slot maps.

What always holds: what came with a newer map replaces what came with older ones, so names that a reload has taken away go; of
one map's tellers each may know a part.
"""

from __future__ import annotations

from collections.abc import Mapping


class ClassNames:
    """`names` is always the same dict."""

    __slots__ = ("_epoch", "names")

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._epoch = 0

    def follow(self, epoch: int, told: Mapping[str, str]) -> None:
        """What somebody tells with the map of that epoch; nothing when it is empty: not everybody knows them."""
        if not told or epoch < self._epoch:
            return
        if epoch > self._epoch:
            self.names.clear()
            self._epoch = epoch
        self.names.update(told)
