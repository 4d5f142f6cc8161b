"""`Object`: an object of keys, a real dict whose keys are also attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from ...engine.errors import InvalidArgument
from ...engine.values import JsDict
from .arrays import Array
from .proxies import JsProxy, missing, options, to_text


class JsObject(JsDict, JsProxy):
    """Keys are texts. Real dict methods win over a key of the same name."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to_py(self, *, depth: int = -1, default_converter: object = None) -> dict[str, object]:  # type: ignore[override]
        """A plain dict of values in Python's style, `depth` levels deep (-1: all)."""
        return {key: inner_to_py(value, depth) for key, value in self.items()}

    def hasOwnProperty(self, name: object) -> bool:
        return to_text(name) in self

    def toString(self) -> str:
        return "[object Object]"

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def inner_to_py(value: object, depth: int) -> object:
    """What lies in a container that is made a Python value."""
    if depth == 0 or depth == 1:
        return value
    if isinstance(value, JsProxy):
        return value.to_py() if depth < 0 else value.to_py(depth=depth - 1)
    return value


def _pairs(entries: object) -> Iterable[tuple[object, object]]:
    given = cast("Mapping[object, object]", entries).items() if hasattr(entries, "items") else entries
    if not isinstance(given, Iterable):
        raise InvalidArgument(f"{to_text(entries)} is not iterable")
    for entry in cast("Iterable[object]", given):
        if isinstance(entry, str | bytes) or not hasattr(entry, "__getitem__"):
            raise InvalidArgument(f"Iterator value {to_text(entry)} is not an entry object")
        pair = cast("list[object]", entry)
        yield pair[0], pair[1]


def _own(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return {to_text(key): inner for key, inner in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | str):
        return {str(index): inner for index, inner in enumerate(cast("list[object]", value))}
    if missing(value):
        raise InvalidArgument("Cannot convert undefined or null to object")
    fields = cast("object", getattr(value, "__dict__", None))
    return dict(cast("dict[str, object]", fields)) if fields else {}


class Object:
    """JavaScript's `Object`: what makes objects and takes them apart."""

    @staticmethod
    def new(value: object = None, /, **keys: object) -> object:
        """An object of the keys; of another object: that one."""
        if not missing(value) and not keys:
            return value
        return JsObject(options(value, keys))

    def __new__(cls, value: object = None, /, **keys: object) -> object:
        return cls.new(value, **keys)

    @staticmethod
    def fromEntries(entries: object) -> JsObject:
        """An object of pairs. Raises InvalidArgument (TypeError) for what has none."""
        return JsObject((to_text(key), value) for key, value in _pairs(entries))

    @staticmethod
    def entries(value: object) -> Array:
        return Array(Array(pair) for pair in _own(value).items())

    @staticmethod
    def keys(value: object) -> Array:
        return Array(_own(value).keys())

    @staticmethod
    def values(value: object) -> Array:
        return Array(_own(value).values())

    getOwnPropertyNames = keys

    @staticmethod
    def assign(target: object, *sources: object) -> object:
        """Set the keys of `sources` on `target`, and give it back."""
        for source in sources:
            for key, value in ({} if missing(source) else _own(source)).items():
                if isinstance(target, dict):
                    cast("dict[str, object]", target)[key] = value
                else:
                    setattr(target, key, value)
        return target

    @staticmethod
    def hasOwn(value: object, name: object) -> bool:
        return to_text(name) in _own(value)

    @staticmethod
    def create(_prototype: object = None) -> JsObject:
        return JsObject()

    @staticmethod
    def freeze(value: object) -> object:
        """The same object: nothing is frozen."""
        return value

    seal = preventExtensions = freeze

    @staticmethod
    def is_(one: object, other: object) -> bool:
        return one is other or (type(one) is type(other) and one == other)
