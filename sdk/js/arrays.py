"""`Array`: a real list with JavaScript's methods beside Python's. Of a name that both have, Python's meaning holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, cast

from ...engine.errors import InvalidArgument
from ...engine.values import JsList
from .proxies import JsProxy, call, missing, to_text

Function = Callable[..., Any]


def _truth(value: object) -> bool:
    return not missing(value) and value is not False and value != 0 and value != ""


class Array(JsList, JsProxy):
    """`Array.new(3)` has room for three, `Array.new(1, 2)` and `Array.of(1, 2)` hold them."""

    __slots__ = ()

    @classmethod
    def new(cls, *items: object) -> Array:
        if len(items) == 1 and isinstance(items[0], int) and not isinstance(items[0], bool):
            return cls([None] * items[0])
        return cls(items)

    @classmethod
    def of(cls, *items: object) -> Array:
        return cls(items)

    @staticmethod
    def from_(items: object, function: object = None) -> Array:
        """An array of what can be iterated, or of an object with a `length`; each passed through `function(item, index)`."""
        if isinstance(items, Iterable):
            found = list(cast("Iterable[object]", items))
        else:
            found = [None] * int(cast("int", getattr(items, "length", 0)))
        return Array(found if missing(function) else [call(function, each, index) for index, each in enumerate(found)])

    @staticmethod
    def isArray(value: object) -> bool:
        return isinstance(value, list)

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> list[object]:  # type: ignore[override]
        """A plain list of values in Python's style, `depth` levels deep (-1: all)."""
        from .objects import inner_to_py  # which needs arrays itself

        return [inner_to_py(value, depth) for value in self]

    def object_values(self) -> Array:  # type: ignore[override]
        return Array(self)

    def push(self, *items: object) -> int:
        self.extend(items)
        return len(self)

    def shift(self) -> object:
        return self.pop(0) if self else None

    def unshift(self, *items: object) -> int:
        self[:0] = items
        return len(self)

    def slice(self, start: int = 0, end: int | None = None) -> Array:
        return Array(self[start:end])

    def splice(self, start: int, count: int | None = None, *items: object) -> Array:
        first = max(len(self) + start, 0) if start < 0 else min(start, len(self))
        end = len(self) if count is None else first + max(count, 0)
        taken = Array(self[first:end])
        self[first:end] = items
        return taken

    def concat(self, *others: object) -> Array:
        found = Array(self)
        for other in others:
            found.extend(cast("list[object]", other) if isinstance(other, list) else [other])
        return found

    def at(self, index: int) -> object:
        return self[index] if -len(self) <= index < len(self) else None

    def includes(self, value: object) -> bool:
        return value in self

    def indexOf(self, value: object, start: int = 0) -> int:
        return next((index for index in range(start, len(self)) if self[index] == value), -1)

    def lastIndexOf(self, value: object) -> int:
        return next((index for index in reversed(range(len(self))) if self[index] == value), -1)

    def join(self, separator: str = ",") -> str:
        return separator.join("" if missing(each) else to_text(each) for each in self)

    def forEach(self, function: object) -> None:
        for index, value in enumerate(list(self)):
            call(function, value, index, self)

    def map(self, function: object) -> Array:
        return Array([call(function, value, index, self) for index, value in enumerate(list(self))])

    def filter(self, function: object) -> Array:
        return Array([value for index, value in enumerate(list(self)) if _truth(call(function, value, index, self))])

    def find(self, function: object) -> object:
        return next(
            (value for index, value in enumerate(list(self)) if _truth(call(function, value, index, self))), None
        )

    def findIndex(self, function: object) -> int:
        found = (index for index, value in enumerate(list(self)) if _truth(call(function, value, index, self)))
        return next(found, -1)

    def some(self, function: object) -> bool:
        return self.findIndex(function) >= 0

    def every(self, function: object) -> bool:
        return all(_truth(call(function, value, index, self)) for index, value in enumerate(list(self)))

    def reduce(self, function: object, *initial: object) -> object:
        if not self and not initial:
            raise InvalidArgument("Reduce of empty array with no initial value")
        items = list(enumerate(self))
        value = initial[0] if initial else items.pop(0)[1]
        for index, each in items:
            value = call(function, value, each, index, self)
        return value

    def flat(self, depth: int = 1) -> Array:
        found = Array()
        for value in self:
            if isinstance(value, list) and depth > 0:
                found.extend(Array(cast("list[object]", value)).flat(depth - 1))
            else:
                found.append(value)
        return found

    def flatMap(self, function: object) -> Array:
        return self.map(function).flat()

    def fill(self, value: object, start: int = 0, end: int | None = None) -> Array:
        for index in range(*slice(start, end).indices(len(self))):
            self[index] = value
        return self

    def sort(self, compare: object = None, *, key: Function | None = None, reverse: bool = False) -> Array:  # type: ignore[override]
        """In place, and given back: by `compare(a, b)`, by Python's `key`, else as texts, as JavaScript does."""
        if key is not None or reverse:
            super().sort(key=cast("Any", key or to_text), reverse=reverse)
        elif missing(compare):
            super().sort(key=to_text)
        else:
            super().sort(key=functools.cmp_to_key(lambda a, b: int(call(compare, a, b))))
        return self

    def entries(self) -> Array:
        return Array(Array(pair) for pair in enumerate(self))

    def keys(self) -> Array:
        return Array(range(len(self)))

    def values(self) -> Array:
        return Array(self)

    def toString(self) -> str:
        return self.join()

    __hash__ = None  # pyright: ignore[reportAssignmentType]


setattr(Array, "from", Array.from_)
