"""`Headers`: an `http.client.HTTPMessage` that also answers the style of the fetch standard."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import cast

from ..engine.values import UNDEFINED, JsList

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SEPARATE = "set-cookie"
"""The one name whose values are never joined."""


def as_text(value: object) -> str:
    """A value as JavaScript writes it: True is `true`, 123 is `123`, 1.0 is `1`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, list):
        return ",".join("" if each is None else as_text(each) for each in cast("list[object]", value))
    return str(value)


def as_pairs(headers: object) -> list[tuple[str, str]]:
    """What programs pass as headers, as pairs. Raises TypeError for other types, bad names and bad values."""
    if headers is None or headers is UNDEFINED:
        return []
    if isinstance(headers, http.client.HTTPMessage):
        return list(headers.items())
    if isinstance(headers, Mapping):
        items: Iterable[object] = cast("Mapping[object, object]", headers).items()
    elif isinstance(headers, list | tuple):
        items = cast("Iterable[object]", headers)
    else:
        raise TypeError(f"Received unexpected type for headers argument: {type(headers).__name__}")
    return [(_name(name), _value(value)) for name, value in cast("Iterable[tuple[object, object]]", items)]


@lru_cache(1024)
def _checked(text: str) -> str:
    """A name that is one; the same ones come again and again."""
    if _TOKEN.fullmatch(text) is None:
        raise TypeError(f"Invalid header name: {text!r}")
    return text


def _name(name: object) -> str:
    return _checked(name if isinstance(name, str) else as_text(name))


def _value(value: object) -> str:
    text = (value if isinstance(value, str) else as_text(value)).strip(" \t\r\n")
    if not text.isprintable() and ("\r" in text or "\n" in text or "\0" in text):
        raise TypeError(f"Invalid header value: {text!r}")
    return text


def joined(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Equal names as one, their values joined with `, `; each Set-Cookie stays on its own."""
    places: dict[str, int] = {}
    found: list[tuple[str, str]] = []
    for name, value in pairs:
        key = name.lower()
        place = places.get(key)
        if place is None or key == _SEPARATE:
            places[key] = len(found)
            found.append((name, value.strip()))
        else:
            found[place] = (found[place][0], f"{found[place][1]}, {value.strip()}")
    return found


def value_of(pairs: list[tuple[str, str]], name: str) -> str | None:
    """The first value of a name, given in lower case."""
    for found, value in pairs:
        if found.lower() == name:
            return value
    return None


class Headers(http.client.HTTPMessage):
    """Names ignore case; a name may repeat (`get_all`), `get` gives all of them joined with `, `."""

    def __init__(self, headers: object = None) -> None:
        super().__init__()
        for name, value in as_pairs(headers):
            super().__setitem__(name, value)

    @classmethod
    def of(cls, pairs: list[tuple[str, str]]) -> Headers:
        """Of pairs that are clean already."""
        self = cls()
        for name, value in pairs:
            http.client.HTTPMessage.__setitem__(self, name, value)
        return self

    @classmethod
    def new(cls, headers: object = None) -> Headers:
        return cls(headers)

    def append(self, name: str, value: object) -> None:
        """Add a value to those that the name has. Raises TypeError for bad names and values."""
        super().__setitem__(_name(name), _value(value))

    def set(self, name: str, value: object) -> None:
        """Replace all values of the name."""
        clean, text = _name(name), _value(value)
        del self[name]
        super().__setitem__(clean, text)

    def __setitem__(self, name: str, value: object) -> None:
        self.set(name, value)

    def get(self, name: str, failobj: object = None) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = self.get_all(name)
        return failobj if found is None else ", ".join(found)

    def __getitem__(self, name: str) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.get(name)

    def has(self, name: str) -> bool:
        return name in self

    def delete(self, name: str) -> None:
        del self[name]

    def getSetCookie(self) -> JsList:
        """Every Set-Cookie on its own."""
        return JsList(self.get_all("set-cookie") or [])

    def forEach(self, callback: Callable[..., object]) -> None:
        """`callback(value, name, headers)` for each."""
        for name, value in joined(list(self.items())):
            callback(value, name.lower(), self)

    def getAll(self, name: str) -> JsList:
        """Every value of the name."""
        return JsList(self.get_all(name) or [])

    def entries(self) -> list[tuple[str, str]]:
        return list(self.items())
