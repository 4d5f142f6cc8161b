"""Rate limits: `await env.NAME.limit({"key": …})`, and the objects that count.

What always holds: one object counts a key, so all processes see one count; it is in memory alone, bounded, in windows of the wall
clock. A count is forgotten when its window is over, and when its object's process dies; nothing is written.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from ..engine.errors import BindingError, ConfigError
from ..engine.stubs import Namespace, Stub
from ..engine.values import UNDEFINED, JsDict
from ..sdk.config import Config
from . import sections
from .arguments import Answer, Repeat
from .surroundings import Surroundings

PERIODS_S = (10, 60)
_OPTIONS = ("key", "limit", "period")
COUNTERS: Final = 64
"""Objects of a namespace: a key's by its hash. An object a key would let whoever invents keys fill the memory with objects."""
KEYS_MAX = 20_000
"""That one object counts in a window; above it the oldest is forgotten."""


class RateCounter(DurableObject):
    """Counts the keys of one part of a namespace."""

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        super().__init__(ctx, env)
        self._windows: dict[int, tuple[int, dict[bytes, int]]] = {}
        """Period → its window, and by key how many were let through in it."""

    async def take(self, key: bytes, limit: int, period_s: int) -> bool:
        """Whether one more of the key is within the limit; it is counted then."""
        now_s = time.time()
        window = int(now_s // period_s)
        counted_window, counts = self._windows.get(period_s, (-1, {}))
        if counted_window != window:
            counts = {}
            self._windows[period_s] = (window, counts)
            # An object that nobody calls leaves memory after 10 s, and with it the counts: a timer keeps it.
            asyncio.get_running_loop().call_later((window + 1) * period_s - now_s, self._forget, period_s, window)
        count = counts.get(key, 0)
        if count >= limit:
            return False
        if not count and len(counts) >= KEYS_MAX:
            del counts[next(iter(counts))]
        counts[key] = count + 1
        return True

    def _forget(self, period_s: int, window: int) -> None:
        if self._windows.get(period_s, (-1, {}))[0] == window:
            del self._windows[period_s]


@dataclass(frozen=True, slots=True)
class _Allowed:
    limit: int
    period_s: int


class RateLimit:
    """`env.NAME`."""

    def __init__(self, counters: Namespace, ident: str, allowed: _Allowed) -> None:
        """`ident`: of the rate limit's namespace; bindings that have the same count together."""
        self._stubs: list[Stub] = [
            counters.getByName(f"{ident}/{number}")._with_retry(Repeat())  # pyright: ignore[reportPrivateUsage]
            for number in range(COUNTERS)
        ]
        self._allowed = allowed

    def limit(self, options: object = None, **more: object) -> Awaitable[JsDict]:
        """`{success}`: whether one more event of `key` is within the limit. Raises BindingError for options that are wrong."""
        given = _read(options, more)
        key = given.get("key", "")
        if not isinstance(key, str):
            raise BindingError(f"invalid key: {key}")
        limit, period_s = given.get("limit", self._allowed.limit), given.get("period", self._allowed.period_s)
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise BindingError(f"limit must be a number: {limit}")
        if period_s not in PERIODS_S:
            raise BindingError(f"unsupported period: {period_s}")
        short = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        sent = self._stubs[short[0] % COUNTERS].take(short, limit, period_s)

        async def work() -> JsDict:
            return JsDict(success=await sent)

        return Answer(work)

    def __repr__(self) -> str:
        return f"<RateLimit {self._allowed.limit} in {self._allowed.period_s} s>"


def _read(options: object, more: dict[str, object]) -> dict[str, object]:
    if options is None or options is UNDEFINED:
        found: dict[str, object] = {}
        if not more:
            raise BindingError("invalid rate limit options")
    elif isinstance(options, dict):
        found = dict(cast("dict[str, object]", options))
    elif isinstance(options, str | bytes | int | float | list | tuple | set):
        raise BindingError("invalid rate limit options")
    else:
        found = {name: getattr(options, name) for name in _OPTIONS if hasattr(options, name)}
    found.update(more)
    unknown = [str(name) for name in found if name not in _OPTIONS]
    if unknown:
        raise BindingError(f"bad rate limit options: [{','.join(unknown)}]")
    return found


class RateLimits:
    """The kind: `ratelimits` [{name, namespace_id, simple: {limit, period}}]."""

    section = "ratelimits"
    classes: Mapping[str, type[DurableObject]] = {"ratelimit": RateCounter}

    def check(self, config: Config) -> None:
        """Raises ConfigError."""
        for item in self._items(config):
            sections.text(config, self.section, item, "name")
            _ident(config, self.section, item)
            _allowed(config, self.section, item)

    def _items(self, config: Config) -> list[sections.Item]:
        return sections.items(config, self.section)

    def bind(self, config: Config, around: Surroundings) -> dict[str, object]:
        """Name → RateLimit. Raises ConfigError."""
        counters = around.namespace("ratelimit")
        return {
            sections.text(config, self.section, item, "name"): RateLimit(
                counters, _ident(config, self.section, item), _allowed(config, self.section, item)
            )
            for item in self._items(config)
        }


class UnsafeRateLimits(RateLimits):
    """The same as it was written before: `unsafe.bindings` [{type: "ratelimit", …}]."""

    section = "unsafe"
    classes: Mapping[str, type[DurableObject]] = {}

    def _items(self, config: Config) -> list[sections.Item]:
        table = config.sections.get(self.section)
        if table is None:
            return []
        if not isinstance(table, dict):
            raise ConfigError(f"{config.path}: unsafe must be a table")
        found = sections.items(config, "unsafe.bindings", cast("dict[str, object]", table).get("bindings") or [])
        for item in found:
            if item.get("type") != "ratelimit":
                raise ConfigError(
                    f"{config.path}: unsafe.bindings: a binding of type {item.get('type')!r} is not supported",
                    hint="there is `ratelimit`; other products have sections of their own",
                )
        return found


def _ident(config: Config, section: str, item: sections.Item) -> str:
    found = item.get("namespace_id")
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{config.path}: {section}: namespace_id must be a positive whole number, got {found!r}")
    return text


def _allowed(config: Config, section: str, item: sections.Item) -> _Allowed:
    simple = cast("dict[str, object]", found) if isinstance(found := item.get("simple"), dict) else {}
    limit, period_s = simple.get("limit"), simple.get("period")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ConfigError(f"{config.path}: {section}: simple.limit must be a whole number from 1, got {limit!r}")
    if not isinstance(period_s, int) or period_s not in PERIODS_S:
        raise ConfigError(f"{config.path}: {section}: simple.period must be 10 or 60 (seconds), got {period_s!r}")
    return _Allowed(limit, period_s)
