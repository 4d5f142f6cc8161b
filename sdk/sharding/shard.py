"""One of the objects that share a space of keys: serves what it has, gives spans of it away, takes spans over.

What always holds: each key is served by one shard; while a span is on its way its calls wait; a call runs on the data that all
calls before it have left, wherever these ran. Each step of a move may be asked for again: it is done once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from ...engine.context import DurableObjectContext
from ...engine.durable import DurableObject
from ...engine.errors import MethodNotFound, Overloaded, ProgramBug
from ...engine.rpc_target import declared
from ...engine.stubs import RESERVED_METHODS
from .hot import Counted
from .items import Item, Items
from .kept_answers import KeptAnswers
from .positions import HASHED, Span, position_of, within

OWN = "__shard"
DONE, MOVED, UNKNOWN = "done", "moved", "unknown"
"""First of what `shard_call` gives. MOVED: nothing has run, the named shard has the key. UNKNOWN: it is part of no map."""
BUSY = "busy"
_ENDS_S = 5.0
"""How long a move waits for the calls that run on what is to move."""
_TRIES = 5


class Shard(DurableObject):
    """Derive from it. Methods that a client calls with `ByMap` take the key first; what belongs to it is in `self.items`.

    A method must have written what it writes when it returns. To keep data elsewhere (in tables), override `span_top`,
    `read_span`, `write_span` and `erase_span`. `storage.deleteAll()` would forget which keys it has.
    """

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._kept = ctx.storage.kv
        self._own: dict[str, Any] = cast("dict[str, Any]", self._kept.get(OWN) or {})
        """span, order, hot; gone: [[low, high, target], …]; out, taken: see `shard_give`, `shard_take`."""
        self.items = Items(cast("Any", self._kept), self._own.get("order", HASHED))
        self._answers = KeptAnswers(cast("Any", self._kept), self.items.order)
        self._running: dict[str, int] = {}
        self._closing: Span | None = None
        """Is about to leave: no call begins on it."""
        self._moves = 0
        self._changed = asyncio.Event()
        self._counted = Counted()

    # ------------------------------------------------------------------ to override
    def span_top(self, span: Span, count: int) -> str:
        """Where the uppermost part of a span begins that has about `count` items."""
        return self.items.top(span, count)

    def read_span(self, span: Span) -> list[Item]:
        """All that keys in the span have; values that can be sent."""
        return self.items.read(span)

    def write_span(self, items: Iterable[Item]) -> None:
        """Keep what another shard has read. It may be asked for again with the same items."""
        self.items.write(items)

    def erase_span(self, span: Span) -> None:
        """Another shard has it."""
        self.items.erase(span)

    # ------------------------------------------------------------------ state
    def _save(self, **changed: object) -> None:
        """First to storage: what memory says must not be more than what is kept."""
        own: dict[str, Any] = {**self._own, **changed}
        self._kept.put(OWN, own)
        self._own = own
        self._moves += 1
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def span(self) -> Span | None:
        """The positions that it has, from the first up to, not with, the second (None: the end). None: it has none yet."""
        found = self._own.get("span")
        return None if found is None else (found[0], found[1])

    def _leaves(self) -> Span | None:
        """What is on its way, or about to be."""
        out = self._own.get("out")
        return (out["low"], out["high"]) if out and "low" in out else self._closing

    async def shard_own(self, low: str, high: str | None, order: str, hot: float) -> None:
        """It has the span, as part of a new map. Once."""
        if not self._own:
            self._save(span=[low, high], order=order, hot=hot)
            self.items.order = self._answers.items.order = order

    # ------------------------------------------------------------------ calls
    async def shard_call(self, key: str, method: str, args: list[object], once: str | None = None) -> list[object]:
        """Run `method(key, *args)` if it has the key: [DONE, value], True too if called too often; else MOVED or UNKNOWN.

        `once`: an idempotency key: a repeat gets what the first call got.
        """
        if not self._own:
            return [UNKNOWN]
        position = position_of(key, self.items.order)
        while True:
            span = self.span
            if span is None or not within(position, span):
                return self._elsewhere(position)
            leaves = self._leaves()
            if leaves is None or not within(position, leaves):
                break
            await self._changed.wait()
        call = self._method(method)
        self._running[position] = self._running.get(position, 0) + 1
        try:
            if once is None:
                value = await _result(call(key, *args))
            else:
                value = await self._answers.once(key, once, [method, args], lambda: _result(call(key, *args)))
        finally:
            self._ended(position)
        return [DONE, value, True] if self._is_hot(position) else [DONE, value]

    def _elsewhere(self, position: str) -> list[object]:
        for low, high, target in self._own.get("gone", ()):
            if within(position, (low, high)):
                return [MOVED, target]
        return [UNKNOWN]

    def _method(self, name: str) -> Callable[..., object]:
        known = not name.startswith("shard_") and name not in RESERVED_METHODS and declared(self, name)
        if not known or hasattr(Shard, name):
            raise MethodNotFound(f'The shard does not implement the method "{name}".')
        return getattr(self, name)

    def _ended(self, position: str) -> None:
        left = self._running[position] - 1
        if left:
            self._running[position] = left
        else:
            del self._running[position]
        if self._closing is not None:
            self._changed.set()
            self._changed = asyncio.Event()

    async def shard_gather(self, method: str, args: list[object]) -> list[object]:
        """`method(*args)` over all that it has: [span, value]; [None, None]: it has nothing yet. Raises Overloaded."""
        for _ in range(_TRIES):
            while self._leaves() is not None:
                await self._changed.wait()
            span, moves = self.span, self._moves
            if span is None:
                return [None, None]
            value = await _result(self._method(method)(*args))
            if moves == self._moves and self._leaves() is None:
                return [list(span), value]
        raise Overloaded(f"{method}() takes longer than the shard keeps still", hint="ask again when the map has grown")

    # ------------------------------------------------------------------ load
    def _is_hot(self, position: str) -> bool:
        second = int(time.time())
        limit = cast("float", self._own.get("hot", 0))
        return self._counted.call(position, second) and 0 < limit < self._counted.per_s(second)

    async def shard_load(self) -> list[object]:
        """[calls a second, where to split by calls, where to split by items]; None: nowhere."""
        span = self.span
        if span is None:
            return [0.0, None, None]
        middle = self._counted.middle(span[0])
        middle = middle if middle is not None and within(middle, span) else None
        return [self._counted.per_s(int(time.time())), middle, self.items.middle(span)]

    # ------------------------------------------------------------------ moves
    async def shard_give(self, split: str, at: str, target: str, count: int) -> object:
        """The next part of what is above `at`, from the top: [number, low, high, items]; its calls wait from now on.

        The same part again until `shard_drop` was called. None: all is given. BUSY: calls that run on it do not end.
        """
        out = self._own.get("out")
        if out is not None and "low" in out:
            if out["split"] != split:
                return BUSY
            return [out["number"], out["low"], out["high"], self._read((out["low"], out["high"]))]
        span = self.span
        if span is None or (span[1] is not None and at >= span[1]):
            return None
        if self._closing is not None:
            return BUSY
        low = max(self.span_top((at, span[1]), count), self._answers.items.top((at, span[1]), count))
        part: Span = (low, span[1])
        if not await self._emptied(part):
            return BUSY
        number = out["number"] + 1 if out is not None and out["split"] == split else 1
        try:
            self._save(out={"split": split, "number": number, "low": part[0], "high": part[1], "target": target})
        finally:
            self._reopen()
        return [number, part[0], part[1], self._read(part)]

    def _read(self, part: Span) -> list[Item]:
        """All that moves with a part."""
        return [*self.read_span(part), *self._answers.read(part)]

    async def _emptied(self, part: Span) -> bool:
        """Keep calls out of the part, and wait for those that run in it. False: they go on for too long."""
        self._closing = part
        kept = False
        try:
            async with asyncio.timeout(_ENDS_S):
                while any(within(position, part) for position in self._running):
                    await self._changed.wait()
            kept = True
        except TimeoutError:
            return False
        finally:
            if not kept:
                self._reopen()
        return True

    def _reopen(self) -> None:
        self._closing = None
        self._changed.set()
        self._changed = asyncio.Event()

    async def shard_take(
        self, split: str, number: int, low: str, high: str | None, items: list[Item], order: str, hot: float
    ) -> None:
        """Take over a part: parts come from the top down, each once."""
        taken = self._own.get("taken")
        if taken is not None and (taken[0] != split or number <= taken[1]):
            return
        if not self._own:
            self.write_span(self._answers.write(items))
            self._save(span=[low, high], order=order, hot=hot, taken=[split, number])
            self.items.order = self._answers.items.order = order
            return
        if taken is None or self._own["span"][0] != high:
            raise ProgramBug(f"part {number} of {split} ends at {high!r}, where {self._own['span']} does not begin")
        self.write_span(self._answers.write(items))
        self._save(span=[low, self._own["span"][1]], taken=[split, number])

    async def shard_drop(self, split: str, number: int) -> None:
        """The other shard has the part: forget it, and tell callers who has it."""
        out = self._own.get("out")
        if out is None or out["split"] != split or out["number"] != number or "low" not in out:
            return
        low, high, target = out["low"], out["high"], out["target"]
        gone = [list(span) for span in self._own.get("gone", ())]
        if gone and gone[-1][2] == target and gone[-1][0] == high:
            gone[-1][0] = low
        else:
            gone.append([low, high, target])
        self.erase_span((low, high))
        self._answers.erase((low, high))
        self._save(span=[self._own["span"][0], low], gone=gone, out={"split": split, "number": number})


async def _result(value: object) -> object:
    return await cast("Awaitable[object]", value) if hasattr(value, "__await__") else value
