"""A list over all buckets of a KV namespace: their pages merged, in the order of keys.

What always holds: each bucket gives its keys in order, so the least of the buckets' next keys is the next of all; a bucket is
asked again only when all that it gave was taken, and it may have more.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

from ..engine.values import JsDict, JsList

Entry = tuple[bytes, int | None, str | None]
"""Key, the second from which it is gone, metadata as JSON."""
Page = Callable[[int, bytes, int], Awaitable[list[Entry]]]
"""Bucket, last key taken, at most so many → the next ones of that bucket."""
_SPARE = 8
"""Keys that a bucket is asked for beyond its share: hashes are not dealt evenly."""


@dataclass(slots=True)
class _Bucket:
    number: int
    last: bytes
    """The last key that it gave."""
    waiting: list[Entry] = field(default_factory=list[Entry])
    """Not taken yet, the next one at the end."""
    exhausted: bool = False


async def merge(page: Page, buckets: int, after: bytes, limit: int) -> tuple[list[Entry], bool]:
    """The next `limit` entries after a key, and whether these are all."""
    share = min(limit + 1, limit // buckets + _SPARE)
    all_of_them = [_Bucket(number, after) for number in range(buckets)]

    async def fill(bucket: _Bucket) -> None:
        given = await page(bucket.number, bucket.last, share)
        bucket.exhausted = len(given) < share
        if given:
            bucket.last = given[-1][0]
        bucket.waiting = given[::-1]

    found: list[Entry] = []
    heads: list[tuple[bytes, int]] = []  # a heap: the next key of each bucket that has one waiting
    empty = all_of_them
    while True:
        await asyncio.gather(*map(fill, empty))
        for bucket in empty:
            if bucket.waiting:
                heapq.heappush(heads, (bucket.waiting[-1][0], bucket.number))
        empty = []
        while heads and len(found) < limit and not empty:
            bucket = all_of_them[heads[0][1]]
            found.append(bucket.waiting.pop())
            if bucket.waiting:
                heapq.heapreplace(heads, (bucket.waiting[-1][0], bucket.number))
            else:
                heapq.heappop(heads)
                empty = [] if bucket.exhausted else [bucket]
        if not empty:
            return found, not heads


class _Keys(JsList):
    """The listed keys; called, what `dict.keys` gives, since the reference's result has them under the name of that method."""

    __slots__ = ("_of",)

    def __call__(self) -> object:
        return dict.keys(cast("dict[str, object]", self._of))


class KvKeys(JsDict):
    """The result of a list: a dict whose `keys` is the list of keys, as an attribute too."""

    __slots__ = ()

    @property
    def keys(self) -> _Keys:  # pyright: ignore[reportIncompatibleMethodOverride] - it can be called
        found = _Keys(cast("list[object]", self["keys"]))
        found._of = self
        return found
