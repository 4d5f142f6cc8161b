"""The object that knows which shard has which keys, and makes more shards of one while they are used.

What always holds: the map's spans tile the space of keys; its epoch grows with each change; a split that was begun is driven to
its end by the alarm, whatever was killed meanwhile. All that it asks of shards may be asked twice.
"""

from __future__ import annotations

import time
from typing import Any, cast

from ...engine.context import DurableObjectContext
from ...engine.durable import DurableObject
from ...engine.errors import InvalidArgument, PerdureError
from .hot import Load, SplitPolicy
from .positions import HASHED, Span, evenly, middle, within
from .shard import BUSY
from .spreading import SHARDS_MAX, Objects, checked_count, spread

MAP = "__map"
_SPLITS_AT_ONCE = 4
_RUN_S = 2.0
"""How long one alarm works: the next one follows at once."""
_AGAIN_MS = 5_000
"""A run that is killed goes on after that at the latest."""
_FAILED_MS = 250
REST_MS_MAX = 5_000


class ShardMap(DurableObject):
    """Derive from it, and say which binding has the shards:

        class Map(ShardMap):
            shards = "COUNTERS"
            count = 4

    One program may have several maps: each object of the class is one, with shards of its own.
    """

    shards = "SHARDS"
    """The binding of a class that derives from Shard."""
    count = 4
    """How many there are at first."""
    order = HASHED
    """SORTED: keys that are neighbours stay together."""
    bounds: tuple[str, ...] = ()
    """SORTED: where the shards begin at first, but for the first one; then `count` is not asked."""
    policy: SplitPolicy | None = None
    """None: it grows only when it is told to."""
    items_at_once = 128
    """How many items are moved in a step: their calls wait meanwhile."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._kept = ctx.storage.kv
        self._map = cast("dict[str, Any]", self._kept.get(MAP) or self._first())
        """epoch; rows: [[low, shard, since ms], …]; splits: [[number, source, at, target], …]; made; next; rest_ms."""

    def _first(self) -> dict[str, Any]:
        lows = ["", *sorted(self.bounds)] if self.bounds else [""]
        if self.order == HASHED:
            lows = evenly(checked_count(self.count))
        rows = [[low, self._name(number), 0] for number, low in enumerate(lows)]
        return {"epoch": 1, "rows": rows, "splits": [], "made": False, "next": len(rows), "rest_ms": 0}

    def _name(self, number: int) -> str:
        return f"{self.ctx.id.name or self.ctx.id}:{number}"

    def _save(self) -> None:
        self._kept.put(MAP, self._map)

    def _stub(self, name: str) -> Any:
        return cast("Objects", getattr(self.env, self.shards)).getByName(name)

    def _hot(self) -> float:
        return 0.0 if self.policy is None else self.policy.calls_per_s_max

    # ------------------------------------------------------------------ what clients ask
    async def current(self) -> dict[str, Any]:
        """{"epoch", "order", "rows": [[low, shard], …], "targets": shards that are being filled}."""
        if not self._map["made"]:
            await spread(self._spans(), self._make)
            self._map["made"] = True
            self._save()
        if self._map["splits"] and await self.ctx.storage.getAlarm() is None:
            await self._wake(0)
        rows = [[low, name] for low, name, _ in self._map["rows"]]
        targets = [target for _, _, _, target in self._map["splits"]]
        return {"epoch": self._map["epoch"], "order": self.order, "rows": rows, "targets": targets}

    def _spans(self) -> list[tuple[str, Span]]:
        rows = self._map["rows"]
        highs = [*(row[0] for row in rows[1:]), None]
        return [(row[1], (row[0], high)) for row, high in zip(rows, highs, strict=True)]

    async def _make(self, shard: tuple[str, Span]) -> None:
        name, (low, high) = shard
        await self._stub(name).shard_own(low, high, self.order, self._hot())

    async def grow(self, to: int | None = None) -> int:
        """Split until there are `to` shards (None: twice as many); how many there will be. It goes on by itself.

        Raises InvalidArgument for fewer than there are.
        """
        await self.current()
        now = len(self._map["rows"]) + len(self._map["splits"])
        wanted = checked_count(now * 2 if to is None else to)
        if wanted < now:
            raise InvalidArgument(f"there are {now} shards already: they do not grow to {wanted}")
        busy = {source for _, source, _, _ in self._map["splits"]}
        spans = [(name, span) for name, span in self._spans() if name not in busy]
        if self.order == HASHED:
            spans.sort(key=lambda shard: -_width(shard[1]))
        for name, _ in spans[: wanted - now]:
            await self._begin(name, None)
        return len(self._map["rows"]) + len(self._map["splits"])

    async def split(self, shard: str, at: str | None = None) -> str | None:
        """Split one shard at a position (None: in its middle); the new one's name, None: it has no middle.

        A shard that is being split already is let be. Raises InvalidArgument.
        """
        await self.current()
        return await self._begin(shard, at)

    async def _begin(self, source: str, at: str | None) -> str | None:
        span = dict(self._spans()).get(source)
        if span is None:
            raise InvalidArgument(f"the map has no shard {source!r}")
        if at is None:
            at = middle(span) if self.order == HASHED else (await self._stub(source).shard_load())[2]
        running = [target for _, name, _, target in self._map["splits"] if name == source]
        if at is None or running:
            return running[0] if running else None
        if at <= span[0] or not within(at, span):
            raise InvalidArgument(f"{source} has {span}: it cannot be split at {at!r}")
        if self._map["next"] >= SHARDS_MAX:
            raise InvalidArgument(f"a map has at most {SHARDS_MAX} shards")
        number = self._map["next"]
        self._map["next"] = number + 1
        self._map["splits"].append([number, source, at, self._name(number)])
        self._save()
        await self._wake(0)
        return self._name(number)

    async def rest(self, ms: int) -> None:
        """Move nothing for so long (at most 5 s)."""
        self._map["rest_ms"] = int(time.time() * 1000) + min(ms, REST_MS_MAX)
        self._save()

    async def status(self) -> dict[str, Any]:
        """{"epoch", "shards": [{"name", "low", "calls_per_s"}, …], "splits": [{"from", "at", "to"}, …]}."""
        await self.current()
        loads = await spread(self._spans(), self._load)
        shards = [
            {"name": load.name, "low": span[0], "calls_per_s": load.calls_per_s}
            for load, (_, span) in zip(loads, self._spans(), strict=False)
        ]
        splits = [{"from": source, "at": at, "to": target} for _, source, at, target in self._map["splits"]]
        return {"epoch": self._map["epoch"], "shards": shards, "splits": splits}

    async def _load(self, shard: tuple[str, Span]) -> Load:
        calls_per_s, by_calls, _ = await self._stub(shard[0]).shard_load()
        return Load(shard[0], calls_per_s, by_calls)

    async def hot(self, shard: str) -> str | None:
        """A client was told that a shard is called too often: split it, if the policy says so. The new one's name."""
        row = next((row for row in self._map["rows"] if row[1] == shard), None)
        if self.policy is None or row is None or any(shard in split[1:4:2] for split in self._map["splits"]):
            return None
        load = await self._load((shard, ("", None)))
        since_s = time.time() - row[2] / 1000
        at = self.policy.where(load, len(self._map["rows"]) + len(self._map["splits"]), since_s)
        span = dict(self._spans()).get(shard)
        if at is None or span is None or not within(at, span) or at <= span[0]:
            return None
        return await self._begin(shard, at)

    # ------------------------------------------------------------------ splits
    async def _wake(self, after_ms: int) -> None:
        await self.ctx.storage.setAlarm(int(time.time() * 1000) + after_ms)

    async def alarm(self, info: object = None) -> None:
        """Go on with all splits."""
        await self._wake(_AGAIN_MS)
        until_s = time.time() + _RUN_S
        calm = True

        async def drive(split: list[Any]) -> None:
            nonlocal calm
            try:
                while time.time() < until_s and not self._rests() and await self._step(split):
                    pass
            except PerdureError:  # a shard is not there, or too busy: it will be
                calm = False

        await spread([list(split) for split in self._map["splits"]], drive, _SPLITS_AT_ONCE)
        if not self._map["splits"]:
            await self.ctx.storage.deleteAlarm()
        elif self._rests():
            await self._wake(max(self._map["rest_ms"] - int(time.time() * 1000), 1))
        else:
            await self._wake(0 if calm else _FAILED_MS)

    def _rests(self) -> bool:
        return time.time() * 1000 < self._map["rest_ms"]

    async def _step(self, split: list[Any]) -> bool:
        """Move one part; False: there is nothing more to do now."""
        number, source, at, target = split
        part = await self._stub(source).shard_give(str(number), at, target, self.items_at_once)
        if part == BUSY:
            return False
        if part is None:
            self._finish(split)
            return False
        count, low, high, items = part
        await self._stub(target).shard_take(str(number), count, low, high, items, self.order, self._hot())
        await self._stub(source).shard_drop(str(number), count)
        return True

    def _finish(self, split: list[Any]) -> None:
        """The new shard has all: say so to whoever asks for the map."""
        if split not in self._map["splits"]:
            return
        _, source, at, target = split
        self._map["splits"].remove(split)
        now_ms = int(time.time() * 1000)
        for row in self._map["rows"]:
            if row[1] == source:
                row[2] = now_ms
        self._map["rows"] = sorted([*self._map["rows"], [at, target, now_ms]])
        self._map["epoch"] += 1
        self._save()


def _width(span: Span) -> int:
    low, high = span
    return (1 << 64 if high is None else int(high, 16)) - int(low or "0", 16)
