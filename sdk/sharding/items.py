"""What a shard keeps for its keys, so that spans of them can be read, written elsewhere and erased.

What always holds: items lie in the order of their keys' positions, so a span of positions is one range of the storage; all that
belongs to a key moves together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from ...engine.errors import InvalidArgument
from ...engine.values import pack
from .positions import Span, position_of

PREFIX = "__items\0"
PART_BYTES = 4 << 20
"""More of several keys is not sent at once; what one key has must fit into a call (32 MiB)."""
_LAST = "\U0010ffff"
Item = list[object]
"""[position, key, name, value]"""


class Kept(Protocol):
    """`ctx.storage.kv`."""

    def get(self, key: str) -> object: ...
    def put(self, key: str, value: object) -> None: ...
    def delete(self, key: str) -> bool: ...
    def list(self, options: object = None) -> Iterable[object]: ...


class Items:
    """`items.put("ann", 3)`, `items.get("ann")`; a key may have several, by name: `items.put("ann", text, "0017")`."""

    def __init__(self, kept: Kept, order: str, prefix: str = PREFIX) -> None:
        self._kept = kept
        self._prefix = prefix
        self.order = order

    def _at(self, key: str, name: str) -> str:
        if "\0" in name:
            raise InvalidArgument(f"a name is a text without NUL, got {name!r}")
        return f"{self._prefix}{position_of(key, self.order)}\0{key}\0{name}"

    def get(self, key: str, name: str = "") -> object:
        """The value, None when there is none."""
        return self._kept.get(self._at(key, name))

    def put(self, key: str, value: object, name: str = "") -> None:
        """Keep a value that storage can keep."""
        self._kept.put(self._at(key, name), value)

    def delete(self, key: str, name: str = "") -> bool:
        """Whether it was there."""
        return self._kept.delete(self._at(key, name))

    def of(self, key: str, *, last: int | None = None) -> dict[str, object]:
        """All that the key has: name → value, in the order of the names. `last`: only so many, from the end."""
        options: dict[str, object] = {"prefix": self._at(key, "")}
        if last is not None:
            options |= {"limit": last, "reverse": True}
        found = [(row[2], row[3]) for row in self._rows(options)]
        return {str(name): value for name, value in (reversed(found) if last is not None else found)}

    def __iter__(self) -> Iterator[tuple[str, str, object]]:
        """(key, name, value) of all, in order."""
        for _, key, name, value in self._rows({"prefix": self._prefix}):
            yield str(key), str(name), value

    def between(self, low: str, high: str | None) -> Iterator[tuple[str, str, object]]:
        """(key, name, value) of the positions from `low` up to, not with, `high`: of a SORTED map, of the keys."""
        for _, key, name, value in self._rows(self._range((low, high))):
            yield str(key), str(name), value

    # ------------------------------------------------------------------ spans
    def read(self, span: Span) -> list[Item]:
        """All items of a span."""
        return list(self._rows(self._range(span)))

    def write(self, items: Iterable[Item]) -> None:
        for position, key, name, value in items:
            self._kept.put(f"{self._prefix}{position}\0{key}\0{name}", value)

    def erase(self, span: Span) -> None:
        for position, key, name, _ in self.read(span):
            self._kept.delete(f"{self._prefix}{position}\0{key}\0{name}")

    def top(self, span: Span, count: int) -> str:
        """Where the uppermost part of the span begins that has about `count` items and no position in part."""
        lowest = ""
        before = ""
        size = 0
        for seen, row in enumerate(self._rows({**self._range(span), "reverse": True}), 1):
            if row[0] != lowest:
                before, lowest = lowest, str(row[0])
            size += len(pack(row[3]))
            if before and (seen > count or size > PART_BYTES):
                return before
        return span[0]

    def middle(self, span: Span) -> str | None:
        """A position in the span with about as many items on both sides; None: there is none above its beginning."""
        positions = [str(row[0]) for row in self._rows(self._range(span))]
        found = positions[len(positions) // 2] if positions else span[0]
        if found > span[0] and found != positions[0]:
            return found
        return next((position for position in positions if position > max(found, span[0])), None)

    def _rows(self, options: dict[str, object]) -> Iterator[Item]:
        for pair in self._kept.list(options):
            stored, value = pair  # pyright: ignore[reportGeneralTypeIssues]
            position, key, name = str(stored)[len(self._prefix) :].split("\0", 2)
            yield [position, key, name, value]

    def _range(self, span: Span) -> dict[str, object]:
        low, high = span
        return {"start": self._prefix + low, "end": self._prefix + (_LAST if high is None else high)}
