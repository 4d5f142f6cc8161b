"""Where a key stands in the space that shards divide among them, and spans of that space. Pure.

A position is a text; spans are half open, [low, high), "" is the beginning and None the end. HASHED: 16 hex digits of the key's
hash, so keys are spread evenly. SORTED: the key itself, so neighbours stay together.

What always holds: spans that `cover` another have each of its positions exactly once.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

from ...engine.errors import InvalidArgument

HASHED = "hashed"
SORTED = "sorted"
Span = tuple[str, str | None]
KEY_CHARACTERS_MAX = 512
_SPACE = 1 << 64


def checked_key(key: object) -> str:
    """Raises InvalidArgument."""
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARACTERS_MAX or "\0" in key:
        raise InvalidArgument(f"a key is a text of 1 to {KEY_CHARACTERS_MAX} characters without NUL, got {key!r}")
    return key


def position_of(key: str, order: str) -> str:
    """Raises InvalidArgument."""
    checked_key(key)
    if order == SORTED:
        return key
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def within(position: str, span: Span) -> bool:
    low, high = span
    return low <= position and (high is None or position < high)


def evenly(count: int) -> list[str]:
    """Lower bounds of `count` equal spans of hashes."""
    return ["", *(f"{_SPACE * number // count:016x}" for number in range(1, count))]


def middle(span: Span) -> str | None:
    """The middle of a span of hashes; None: it has none."""
    low = int(span[0] or "0", 16)
    high = _SPACE if span[1] is None else int(span[1], 16)
    return f"{(low + high) // 2:016x}" if high - low > 1 else None


def meet(one: Span, other: Span) -> bool:
    """Whether spans have anything together; one that is empty meets none."""
    low = max(one[0], other[0])
    highs = [high for high in (one[1], other[1]) if high is not None]
    return not highs or low < min(highs)


def cover(spans: Sequence[Span], whole: Span) -> bool:
    """Whether spans, in order, have each position of `whole` exactly once."""
    if not spans or spans[0][0] > whole[0]:
        return False
    for (_, high), (low, _) in itertools.pairwise(spans):
        if high != low:
            return False
    last = spans[-1][1]
    return last is None or (whole[1] is not None and last >= whole[1])


def index_of(position: str, lows: Sequence[str]) -> int:
    """Which of the spans that begin there (ascending, the first "") has the position."""
    first, last = 0, len(lows)
    while last - first > 1:
        between = (first + last) // 2
        if lows[between] <= position:
            first = between
        else:
            last = between
    return first
