"""`Headers`: an `http.client.HTTPMessage` that also answers the style of the fetch standard."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from typing import cast


def as_text(value: object) -> str:
    """A header value as text, stringified the way JavaScript does: True is `true`, 123 is `123`."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    return str(value).strip()


def as_pairs(headers: object) -> list[tuple[str, str]]:
    """What programs pass as headers, as pairs. Raises TypeError for other types."""
    if headers is None:
        return []
    if isinstance(headers, http.client.HTTPMessage):
        return list(headers.items())
    if isinstance(headers, Mapping):
        items: Iterable[object] = cast("Mapping[object, object]", headers).items()
    elif isinstance(headers, list | tuple):
        items = cast("Iterable[object]", headers)
    else:
        raise TypeError(f"Received unexpected type for headers argument: {type(headers).__name__}")
    pairs: list[tuple[str, str]] = []
    for item in items:
        name, value = cast("tuple[object, object]", item)
        pairs.append((_clean(str(name)), _clean(as_text(value))))
    return pairs


def _clean(text: str) -> str:
    if "\r" in text or "\n" in text or "\0" in text:
        raise TypeError(f"Invalid header: {text!r}")
    return text


class Headers(http.client.HTTPMessage):
    """Names ignore case; a name may repeat (`get_all`), `get` gives all of them joined with `, `."""

    def __init__(self, headers: object = None) -> None:
        super().__init__()
        for name, value in as_pairs(headers):
            self.append(name, value)

    @classmethod
    def new(cls, headers: object = None) -> Headers:
        return cls(headers)

    def append(self, name: str, value: object) -> None:
        """Add a value to those that the name has."""
        super().__setitem__(name, as_text(value))

    def set(self, name: str, value: object) -> None:
        """Replace all values of the name."""
        del self[name]
        self.append(name, value)

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

    def getSetCookie(self) -> list[str]:
        """Every Set-Cookie on its own."""
        return self.get_all("set-cookie") or []

    def entries(self) -> list[tuple[str, str]]:
        return list(self.items())
