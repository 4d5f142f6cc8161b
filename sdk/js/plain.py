"""A value as programs of the SDK get it from a call: what is JavaScript's becomes Python's, as the reference converts it.

What always holds: of a value without anything of JavaScript in it nothing is copied.
"""

from __future__ import annotations

from typing import cast

from ...engine.values import UNDEFINED, JsDict, JsList, key_text
from .buffers import ArrayBuffer, View
from .collections import Map, Set
from .date import Date
from .proxies import JsProxy, jsnull


def to_plain(value: object) -> object:
    """Maps and objects become dicts with attributes, buffers memoryviews, dates datetimes, null and undefined None."""
    return _plain(value, {})


def _plain(value: object, known: dict[int, object]) -> object:
    if value is UNDEFINED or value is jsnull:
        return None
    if isinstance(value, Date):
        return value.plain()
    if isinstance(value, ArrayBuffer | View):
        return memoryview(value.to_bytes())
    if isinstance(value, dict | list | set):
        return known[id(value)] if id(value) in known else _container(value, known)
    return value


def _container(value: object, known: dict[int, object]) -> object:
    """A container, copied if it is JavaScript's or if something in it is."""
    if isinstance(value, dict):
        made = known[id(value)] = JsDict()
        found = cast("dict[object, object]", value)
        made.update({key_text(key): _plain(each, known) for key, each in found.items()})
        changed = isinstance(value, Map | JsProxy) or any(
            made.get(cast("str", key)) is not each for key, each in found.items()
        )
    elif isinstance(value, list):
        items = known[id(value)] = JsList()
        given = cast("list[object]", value)
        items.extend(_plain(each, known) for each in given)
        made, changed = items, isinstance(value, JsProxy) or any(a is not b for a, b in zip(items, given, strict=True))
    else:
        members = cast("set[object]", value)
        made = known[id(value)] = {_plain(each, known) for each in members}
        changed = isinstance(value, Set) or made != members
    if not changed:
        known[id(value)] = value
    return made if changed else value
