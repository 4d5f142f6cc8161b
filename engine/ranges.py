"""Which keys a `list` is asked for: its options as one range of texts (spec: storage-kv, list options).

What always holds: the range is [lower, upper) in the order of UTF-8 bytes, which is Python's own order of texts (by code
point), so that both bounds can be looked up in the primary key and nothing outside of them is ever read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from .entries import check_key
from .errors import InvalidArgument
from .values import UNDEFINED

_LAST_POINT = 0x10FFFF
_SURROGATES_FIRST, _SURROGATES_END = 0xD800, 0xE000
_LIMIT_MAX = (1 << 63) - 1
_OPTIONS = (
    "start",
    "startAfter",
    "end",
    "prefix",
    "reverse",
    "limit",
    "allowConcurrency",
    "allowUnconfirmed",
    "noCache",
    "retryAlarm",
)
_ALIASES = {
    "start_after": "startAfter",
    "allow_concurrency": "allowConcurrency",
    "allow_unconfirmed": "allowUnconfirmed",
    "no_cache": "noCache",
    "retry_alarm": "retryAlarm",
}


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys from `lower` (included) to `upper` (excluded; None: to the end), `limit` of them, in one direction."""

    lower: str = ""
    upper: str | None = None
    reverse: bool = False
    limit: int = _LIMIT_MAX

    @property
    def empty(self) -> bool:
        """Whether no key can be in it."""
        return self.upper is not None and self.lower >= self.upper


def read_options(given: object, more: dict[str, object]) -> dict[str, object]:
    """Options by their names: a dict, an object with attributes, or keyword arguments. Raises InvalidArgument."""
    if given is None or given is UNDEFINED:
        found = more
    elif isinstance(given, dict):
        found = {**cast("dict[str, object]", given), **more}
    elif isinstance(given, str | bytes | int | float | list | tuple | set):
        raise InvalidArgument(f"options must be an object, got {type(cast('object', given)).__name__}")
    else:
        found = {name: getattr(given, name) for name in (*_OPTIONS, *_ALIASES) if hasattr(given, name)} | more
    for alias, name in _ALIASES.items():
        if alias in found:
            found = {**found, name: found[alias]}
    return found


def key_range(options: dict[str, object]) -> KeyRange:
    """The range that `list` options mean. Raises InvalidArgument with the spec's phrases."""
    start, after, end, prefix = (_text(options, name) for name in ("start", "startAfter", "end", "prefix"))
    if start is not None and after is not None:
        raise InvalidArgument("list() cannot be called with both start and startAfter values.")
    lower = start or ""
    if after is not None:
        lower = after + "\0"
    upper = end
    if prefix:
        lower = max(lower, prefix)
        following = after_prefix(prefix)
        if following is not None:
            upper = following if upper is None else min(upper, following)
    return KeyRange(lower, upper, bool(options.get("reverse")), _limit(options.get("limit")))


def _text(options: dict[str, object], name: str) -> str | None:
    value = options.get(name)
    return None if value is None or value is UNDEFINED else check_key(value, "list")


def _limit(limit: object) -> int:
    if limit is None or limit is UNDEFINED:
        return _LIMIT_MAX
    if isinstance(limit, str):  # of a query, as a rule
        try:
            limit = float(limit)
        except ValueError:
            limit = 0
    if not isinstance(limit, int | float):
        raise InvalidArgument(f"List limit must be a number, got {type(limit).__name__}")
    if not math.isfinite(limit) or int(limit) <= 0:
        raise InvalidArgument("List limit must be positive.")
    return min(int(limit), _LIMIT_MAX)


def after_prefix(prefix: str) -> str | None:
    """The first text after all that begin with `prefix`; None when there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[index]) + 1
        if point == _SURROGATES_FIRST:  # halves of surrogate pairs are no text
            point = _SURROGATES_END
        if point <= _LAST_POINT:
            return prefix[:index] + chr(point)
    return None
