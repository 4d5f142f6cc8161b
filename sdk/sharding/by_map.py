"""The way to the shards of a ShardMap: a copy of the map, which is put right by the shards' own answers.

What always holds: a call runs once, on the shard that has its key at that moment; a map that is too old costs a second call,
never a wrong answer. `gather` sees each part of the space once, also while spans move.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

from ...engine.calls import KEY_CHARACTERS_MAX
from ...engine.errors import InvalidArgument, Overloaded, PerdureError
from .positions import Span, cover, index_of, meet, position_of
from .shard import DONE, MOVED
from .spreading import CONCURRENCY, Objects, spread

_HOPS_MAX = 32
_ROUNDS_MAX = 20
_REST_AFTER = 3
_REST_MS = 1_000
_PAUSE_S = 0.02


class ByMap:
    """`counters = ByMap(env.COUNTERS, env.MAPS.getByName("counters"))`, then `await counters.at("ann").add(1)`.

    Keep it: a new one asks for the map with its first call.
    """

    def __init__(self, namespace: Objects, shard_map: object) -> None:
        """`namespace`: of the Shard class; `shard_map`: the stub of a ShardMap object."""
        self.map = cast("Any", shard_map)
        """For `grow`, `split`, `status`."""
        self._namespace = namespace
        self._lows: list[str] = []
        self._names: list[str] = []
        self._order = ""
        self._epoch = 0

    def at(self, key: str) -> Keyed:
        """The object of the key, as a stub: its methods are called with the key first."""
        return Keyed(self, key)

    async def call(self, key: str, method: str, *args: object) -> object:
        """`method(key, *args)` of the shard that has the key. Raises what it raises, Overloaded, InvalidArgument."""
        return await self._call(key, method, [list(args)])

    async def _call(self, key: str, method: str, given: list[object]) -> object:
        """`given`: the arguments, and the idempotency key if there is one."""
        if not self._lows:
            await self._refresh()
        position = position_of(key, self._order)
        name, direct = self._shard_of(position), True
        for _ in range(_HOPS_MAX):
            answer = await cast("Any", self._namespace.getByName(name)).shard_call(key, method, *given)
            if answer[0] == DONE:
                await self._tell(name, moved=not direct, hot=len(answer) > 2)
                return answer[1]
            direct = False
            if answer[0] == MOVED:
                name = answer[1]
            else:  # of a map that was restored, or made anew
                await self._refresh()
                name = self._shard_of(position)
        raise Overloaded(f"the shard of {key!r} was not found: the map changes too fast", hint="call again")

    async def _tell(self, shard: str, *, moved: bool, hot: bool) -> None:
        """What the answer of a call says beside its value. The call has run: whatever fails here is told with a later call."""
        with contextlib.suppress(PerdureError):
            if moved:
                await self._refresh()
            if hot:
                await self.map.hot(shard)

    def _shard_of(self, position: str) -> str:
        return self._names[index_of(position, self._lows)]

    async def _refresh(self) -> list[str]:
        """Ask for the map; shards that are being filled."""
        found = await self.map.current()
        if found["epoch"] >= self._epoch or not self._lows:
            self._epoch, self._order = found["epoch"], found["order"]
            self._lows = [low for low, _ in found["rows"]]
            self._names = [name for _, name in found["rows"]]
        return list(found["targets"])

    async def gather(self, method: str, *args: object, concurrency: int = CONCURRENCY) -> list[object]:
        """What `method(*args)` of each shard gives, in the order of their spans. Raises Overloaded."""
        return await self._over(("", None), method, args, concurrency)

    async def _over(self, span: Span, method: str, args: tuple[object, ...], concurrency: int) -> list[object]:
        async def ask(name: str) -> list[Any]:
            return await cast("Any", self._namespace.getByName(name)).shard_gather(method, list(args))

        for tried in range(_ROUNDS_MAX):
            targets = await self._refresh()
            names = [name for name in self._names if self._meets(name, span)]
            answers = await spread(dict.fromkeys([*names, *targets]), ask, concurrency)
            had = sorted((answer for answer in answers if answer[0] is not None), key=lambda answer: answer[0][0])
            met = [answer for answer in had if meet((answer[0][0], answer[0][1]), span)]
            if cover([(low, high) for (low, high), _ in met], span):
                return [value for _, value in met]
            if tried >= _REST_AFTER:
                await self.map.rest(_REST_MS)
            await asyncio.sleep(_PAUSE_S)
        raise Overloaded("spans move so fast that no picture of all was had", hint="ask again when the map has grown")

    def _meets(self, name: str, span: Span) -> bool:
        at = self._names.index(name)
        return meet((self._lows[at], self._lows[at + 1] if at + 1 < len(self._lows) else None), span)


class ByRange(ByMap):
    """`ByMap` for a map whose order is SORTED: neighbouring keys are asked for together."""

    async def over(
        self, low: str, high: str | None, method: str, *args: object, concurrency: int = CONCURRENCY
    ) -> list[object]:
        """What `method(low, high, *args)` gives of each shard that has any key from `low` up to, not with, `high`; in order."""
        return await self._over((low, high), method, (low, high, *args), concurrency)


class Keyed:
    """A key's object."""

    def __init__(self, shards: ByMap, key: str, once: str | None = None) -> None:
        self._shards = shards
        self._key = key
        self._once = once

    def _with_key(self, once: str) -> Keyed:
        """`perdure.with_key`."""
        if not isinstance(once, str) or not 0 < len(once) <= KEY_CHARACTERS_MAX:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgument(f"an idempotency key is a text of 1 to {KEY_CHARACTERS_MAX} characters, got {once!r}")
        return Keyed(self._shards, self._key, once)

    def __getattr__(self, method: str) -> Callable[..., Awaitable[object]]:
        if method.startswith("_"):
            raise AttributeError(method)
        shards, key = self._shards, self._key
        once: list[object] = [] if self._once is None else [self._once]

        def call(*args: object) -> Awaitable[object]:
            return shards._call(key, method, [list(args), *once])  # pyright: ignore[reportPrivateUsage]

        return call
