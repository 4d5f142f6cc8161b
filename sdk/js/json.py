"""`JSON`: texts as JavaScript writes them, with no spaces unless asked for."""

from __future__ import annotations

import datetime
import json as json_module
import math
from collections.abc import Mapping
from typing import Any, cast

from ...engine.errors import InvalidArgument, PerdureError
from ...engine.values import UNDEFINED, StandIn, key_text
from .arrays import Array
from .buffers import TypedArray
from .collections import Map, Set
from .date import Date
from .objects import JsObject
from .proxies import call, jsnull, missing, number_text

_DEPTH_MAX = 5_000
_SPACE_MAX = 10


class _Writer:
    """One text."""

    def __init__(self, replacer: object, space: object) -> None:
        self._replacer = replacer if callable(replacer) else None
        self._only = [str(name) for name in cast("list[object]", replacer)] if isinstance(replacer, list) else None
        gap = " " * min(int(space), _SPACE_MAX) if isinstance(space, int | float) else str(space)[:_SPACE_MAX]
        self._gap = "" if missing(space) else gap
        self._open: list[int] = []

    def write(self, value: object, key: str, indent: str) -> str | None:
        """None: JavaScript leaves it out."""
        to_json = getattr(type(value), "toJSON", None)
        if to_json is not None:
            value = to_json(value)
        if self._replacer is not None:
            value = call(self._replacer, key, value)
        if value is UNDEFINED or callable(value):
            return None
        if value is None or value is jsnull:
            return "null"
        if isinstance(value, str):
            return json_module.dumps(str(value), ensure_ascii=False)
        if isinstance(value, int | float):
            return number_text(value) if math.isfinite(value) else "null"
        if isinstance(value, datetime.datetime):
            return f'"{Date(value).toISOString()}"'
        return self._container(value, indent)

    def _container(self, value: object, indent: str) -> str:
        if id(value) in self._open:
            raise InvalidArgument("Converting circular structure to JSON")
        if len(self._open) > _DEPTH_MAX:
            raise PerdureError("Maximum call stack size exceeded", name="RangeError")
        self._open.append(id(value))
        inner = f"{indent}{self._gap}"
        if isinstance(value, list | tuple):
            items = [
                self.write(each, str(index), inner) or "null" for index, each in enumerate(cast("list[object]", value))
            ]
            text = self._joined("[", items, "]", indent)
        else:
            colon = ": " if self._gap else ":"
            items = []
            for name, each in _keys(value):
                written = None if self._only is not None and name not in self._only else self.write(each, name, inner)
                if written is not None:
                    items.append(f"{json_module.dumps(name, ensure_ascii=False)}{colon}{written}")
            text = self._joined("{", items, "}", indent)
        self._open.pop()
        return text

    def _joined(self, begin: str, items: list[str], end: str, indent: str) -> str:
        if not self._gap or not items:
            return f"{begin}{','.join(items)}{end}"
        separator = f",\n{indent}{self._gap}"
        return f"{begin}\n{indent}{self._gap}{separator.join(items)}\n{indent}{end}"


def _keys(value: object) -> list[tuple[str, object]]:
    """What JavaScript finds in an object. A Map and a Set have no keys of their own."""
    if isinstance(value, Map | Set | set | frozenset):
        return []
    if isinstance(value, TypedArray):
        return [(str(index), number) for index, number in enumerate(value)]
    if isinstance(value, Mapping):
        return [(key_text(key), each) for key, each in cast("Mapping[object, object]", value).items()]
    if isinstance(value, bytes | bytearray | memoryview | StandIn):
        return []
    fields = cast("dict[str, object]", getattr(value, "__dict__", {}))
    return [(name, each) for name, each in fields.items() if not name.startswith("_")]


class JSON:
    """`stringify` and `parse`."""

    @staticmethod
    def stringify(value: object = UNDEFINED, replacer: object = None, space: object = None) -> str | None:
        """The text; None (undefined) for a function or undefined. Raises InvalidArgument (TypeError) for a circle."""
        try:
            return _Writer(replacer, space).write(value, "", "")
        except RecursionError:
            raise PerdureError("Maximum call stack size exceeded", name="RangeError") from None

    @staticmethod
    def parse(text: object, reviver: object = None) -> object:
        """Objects and arrays in JavaScript's style; null is None. Raises PerdureError (SyntaxError)."""
        source = text if isinstance(text, str) else str(text)
        try:
            value = json_module.loads(
                source, object_pairs_hook=JsObject, parse_constant=_refuse, parse_float=_float, parse_int=_int
            )
        except (ValueError, RecursionError) as error:
            raise PerdureError(f"{error} in JSON", name="SyntaxError") from None
        value = _styled(value)
        return value if missing(reviver) else _revived(reviver, "", value)


def _refuse(word: str) -> object:
    raise ValueError(f"Unexpected token {word}")


def _float(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _int(text: str) -> int:
    return int(text)


def _styled(value: object) -> object:
    if isinstance(value, list):
        return Array([_styled(each) for each in cast("list[object]", value)])
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        for key, each in found.items():
            if isinstance(each, list | dict):
                found[key] = _styled(each)
    return value


def _revived(reviver: object, key: str, value: object) -> Any:
    if isinstance(value, list):
        items = cast("list[object]", value)
        items[:] = [_revived(reviver, str(index), each) for index, each in enumerate(items)]
    elif isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        for name, each in list(fields.items()):
            new = _revived(reviver, name, each)
            if new is UNDEFINED:
                del fields[name]
            else:
                fields[name] = new
    return call(reviver, key, value)
