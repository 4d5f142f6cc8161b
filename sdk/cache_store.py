"""What a process's caches hold: responses by cache, URL and what they vary by, in memory, the least recently used gone first.

What always holds: no more than `bytes_max` is held, by the size of bodies and headers; what is over its time is not given.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from .cache_rules import Pairs, value_of

CACHE_BYTES_MAX = 64 << 20
"""Of one process: all its caches together."""
ENTRY_BYTES_MAX = CACHE_BYTES_MAX // 4
VARIANTS_MAX = 16
"""Of one URL; an older one goes."""
_ENTRY_COST = 500
_HEADER_COST = 64

Key = tuple[str, str]
"""Name of the cache, URL."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A response: `varied` is what the headers that it varies by had in its request."""

    status: int
    status_text: str
    headers: Pairs
    body: bytes | None
    stored_s: float
    until_s: float
    varied: dict[str, str | None]

    @property
    def cost(self) -> int:
        """Bytes that it counts for."""
        headers = sum(len(name) + len(value) + _HEADER_COST for name, value in self.headers)
        return _ENTRY_COST + headers + len(self.body or b"")


class CacheStore:
    """All caches of a process."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Key, list[Kept]] = OrderedDict()
        self.bytes_held = 0

    def find(self, key: Key, asked: Pairs, now_s: float) -> Kept | None:
        """The response for a request with these headers."""
        variants = self._kept.get(key)
        if variants is None:
            return None
        for kept in [each for each in variants if each.until_s <= now_s]:
            self._drop(key, kept)
        for kept in reversed(variants):
            if all(value_of(asked, name) == value for name, value in kept.varied.items()):
                self._kept.move_to_end(key)
                return kept
        return None

    def keep(self, key: Key, kept: Kept) -> bool:
        """Hold a response in the place of the one for the same request; others go for it. False: it is too large."""
        if kept.cost > min(ENTRY_BYTES_MAX, self._bytes_max):
            return False
        variants = self._kept.get(key, [])
        for other in [each for each in variants if each.varied == kept.varied]:
            self._drop(key, other)
        variants = self._kept.setdefault(key, [])
        variants.append(kept)
        self._kept.move_to_end(key)
        self.bytes_held += kept.cost
        if len(variants) > VARIANTS_MAX:
            self._drop(key, variants[0])
        while self.bytes_held > self._bytes_max:
            oldest = next(iter(self._kept))
            self._drop(oldest, self._kept[oldest][0])
        return True

    def remove(self, key: Key) -> bool:
        """Forget all responses of a URL; whether there were any."""
        variants = self._kept.get(key, [])
        there = bool(variants)
        for kept in list(variants):
            self._drop(key, kept)
        return there

    def _drop(self, key: Key, kept: Kept) -> None:
        variants = self._kept[key]
        variants.remove(kept)
        self.bytes_held -= kept.cost
        if not variants:
            del self._kept[key]
