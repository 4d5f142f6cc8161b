"""The same call to many objects, some of them at a time.

What always holds: results stand in the order of the objects; no more than `concurrency` calls are under way; when one fails the
others are cancelled and its error is raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar, cast

from ...engine.errors import InvalidArgument

T = TypeVar("T")
S = TypeVar("S")
CONCURRENCY = 16
SHARDS_MAX = 4_096


class Objects(Protocol):
    """A binding: all objects of a class."""

    def getByName(self, name: str) -> object: ...


async def spread(over: Iterable[S], work: Callable[[S], Awaitable[T]], concurrency: int = CONCURRENCY) -> list[T]:
    """`work(each)` for each; the results in order. Raises what the first failing one raises, InvalidArgument."""
    if concurrency < 1:
        raise InvalidArgument(f"concurrency is 1 or more, got {concurrency}")
    waiting = list(enumerate(over))
    results: dict[int, T] = {}
    ahead = iter(waiting)

    async def worker() -> None:
        for at, each in ahead:
            results[at] = await work(each)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(concurrency, len(waiting)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for one in workers:
            one.cancel()
    return [results[at] for at in range(len(waiting))]


def checked_count(shards: int) -> int:
    """Raises InvalidArgument."""
    if type(shards) is not int or not 1 <= shards <= SHARDS_MAX:
        raise InvalidArgument(f"the number of shards is from 1 to {SHARDS_MAX}, got {shards!r}")
    return shards


def call_of(method: str, args: tuple[object, ...]) -> Callable[[object], Awaitable[object]]:
    """What calls a method of a stub."""

    def call(stub: object) -> Awaitable[object]:
        return cast("Callable[..., Awaitable[object]]", getattr(stub, method))(*args)

    return call


class Fixed:
    """A number of objects that does not change: `<name>0` to `<name>N-1` of a namespace."""

    def __init__(self, namespace: Objects, shards: int, *, name: str = "shard-") -> None:
        """`name`: what their names begin with. Raises InvalidArgument."""
        self.names = [f"{name}{number}" for number in range(checked_count(shards))]
        self._namespace = namespace

    def stubs(self) -> list[object]:
        """A stub of each."""
        return [self._namespace.getByName(name) for name in self.names]

    async def map(self, work: Callable[[object], Awaitable[T]], *, concurrency: int = CONCURRENCY) -> list[T]:
        """`work(stub)` for each, in order. When one fails the others are cancelled, and its error is raised."""
        return await spread(self.stubs(), work, concurrency)

    async def gather(self, method: str, *args: object, concurrency: int = CONCURRENCY) -> list[object]:
        """What the method of each gives, in order."""
        return await self.map(call_of(method, args), concurrency=concurrency)
