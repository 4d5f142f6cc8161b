"""`Map` and `Set`: a real dict with any keys, and a real set, with JavaScript's methods beside Python's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from .arrays import Array
from .objects import inner_to_py
from .proxies import JsProxy, call, missing


class Map(dict[Any, Any], JsProxy):
    """Iterating gives its keys, as for a Python dict; `entries()` gives pairs."""

    __slots__ = ()

    @classmethod
    def new(cls, entries: object = None) -> Map:
        """Of pairs, or of a mapping."""
        if missing(entries):
            return cls()
        if isinstance(entries, Mapping):
            return cls(cast("Mapping[object, object]", entries))
        return cls((pair[0], pair[1]) for pair in cast("Iterable[list[object]]", entries))

    @property
    def size(self) -> int:
        return len(self)

    def set(self, key: object, value: object) -> Map:
        self[key] = value
        return self

    def has(self, key: object) -> bool:
        return key in self

    def delete(self, key: object) -> bool:
        return self.pop(key, self) is not self

    def entries(self) -> Iterator[Array]:
        return iter([Array(pair) for pair in self.items()])

    def forEach(self, function: object) -> None:
        for key, value in list(self.items()):
            call(function, value, key, self)

    def object_entries(self) -> Array:
        return Array()

    object_keys = object_values = object_entries

    def as_object_map(self) -> Map:
        return self

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> dict[object, object]:
        """A plain dict of values in Python's style, `depth` levels deep (-1: all)."""
        return {inner_to_py(key, depth): inner_to_py(value, depth) for key, value in self.items()}

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class Set(set[Any], JsProxy):
    """`add` gives the set itself, as in JavaScript."""

    @classmethod
    def new(cls, items: object = None) -> Set:
        return cls() if missing(items) else cls(cast("Iterable[object]", items))

    @property
    def size(self) -> int:
        return len(self)

    def add(self, element: object) -> Set:  # type: ignore[override]
        super().add(element)
        return self

    def has(self, item: object) -> bool:
        return item in self

    def delete(self, item: object) -> bool:
        found = item in self
        self.discard(item)
        return found

    def values(self) -> Iterator[object]:
        return iter(list(self))

    keys = values

    def entries(self) -> Iterator[Array]:
        return iter([Array((item, item)) for item in self])

    def forEach(self, function: object) -> None:
        for item in list(self):
            call(function, item, item, self)

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> set[object]:
        """A plain set."""
        return {inner_to_py(item, depth) for item in self}

    __hash__ = None  # pyright: ignore[reportAssignmentType]
