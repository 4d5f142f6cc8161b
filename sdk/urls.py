"""`URL` and `URLSearchParams` as the URL standard has them; a kept parser (ada) does the work.

What always holds: a `URL` is absolute and normalised; its `searchParams` and its `search` are the same thing: a change of one is
seen in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast
from urllib.parse import parse_qsl, quote_plus

import ada_url

from ..engine.values import JsList

_SAFE = "*-._"
"""What a form leaves as it is, beside letters and digits."""


def normalise(url: str, base: str | None = None) -> str:
    """An absolute URL as the standard writes it; `base`: what a relative one is relative to. Raises TypeError."""
    try:
        return ada_url.normalize_url(url) if base is None else ada_url.join_url(base, url)
    except ValueError:
        raise TypeError(f"Invalid URL: {url}: it must be absolute" if base is None else f"Invalid URL: {url}") from None


def parse_form(text: str) -> list[tuple[str, str]]:
    """The pairs of an `application/x-www-form-urlencoded` text; what cannot be decoded is replaced."""
    return parse_qsl(text, keep_blank_values=True, errors="replace")


def write_form(pairs: Iterable[tuple[str, str]]) -> str:
    """Pairs as an `application/x-www-form-urlencoded` text."""
    return "&".join(
        f"{quote_plus(name, _SAFE, errors='replace').replace('~', '%7E')}="
        f"{quote_plus(value, _SAFE, errors='replace').replace('~', '%7E')}"
        for name, value in pairs
    )


def _as_pairs(init: object) -> list[tuple[str, str]]:
    if init is None:
        return []
    if isinstance(init, str):
        return parse_form(init.removeprefix("?"))
    if isinstance(init, URLSearchParams):
        return list(init.entries())
    if isinstance(init, Mapping):
        items: Iterable[object] = cast("Mapping[object, object]", init).items()
    elif isinstance(init, Iterable):
        items = cast("Iterable[object]", init)
    else:
        raise TypeError(f"URLSearchParams takes a text, pairs or a dict, not {type(init).__name__}")
    pairs: list[tuple[str, str]] = []
    for item in items:
        name, value = cast("tuple[object, object]", item)
        pairs.append((str(name), str(value)))
    return pairs


class URLSearchParams:
    """The parameters of a query, in order; a name may repeat. Iterating gives pairs."""

    def __init__(self, init: object = None) -> None:
        """`init`: a query text (with or without `?`), a mapping, or pairs. Raises TypeError."""
        self._pairs = _as_pairs(init)
        self._changed: Callable[[str], None] | None = None

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(str(self))

    @property
    def size(self) -> int:
        return len(self._pairs)

    def append(self, name: str, value: object) -> None:
        """Add a pair at the end."""
        self._pairs.append((name, str(value)))
        self._tell()

    def set(self, name: str, value: object) -> None:
        """One value for the name, where its first was."""
        for index, (found, _) in enumerate(self._pairs):
            if found == name:
                rest = [pair for pair in self._pairs[index + 1 :] if pair[0] != name]
                self._pairs[index:] = [(name, str(value)), *rest]
                break
        else:
            self._pairs.append((name, str(value)))
        self._tell()

    def delete(self, name: str, value: object = None) -> None:
        """Drop the name's values, or those equal to `value`."""
        self._pairs = [
            (found, held) for found, held in self._pairs if found != name or (value is not None and held != str(value))
        ]
        self._tell()

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value, None when there is none."""
        return next((value for found, value in self._pairs if found == name), default)

    def getAll(self, name: str) -> JsList:
        """Every value of the name."""
        return JsList(value for found, value in self._pairs if found == name)

    def has(self, name: str, value: object = None) -> bool:
        return any(found == name and (value is None or held == str(value)) for found, held in self._pairs)

    def sort(self) -> None:
        """By name, keeping the order of equal ones. JavaScript compares UTF-16 units."""
        self._pairs.sort(key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass"))
        self._tell()

    def keys(self) -> Iterator[str]:
        return iter([name for name, _ in self._pairs])

    def values(self) -> Iterator[str]:
        return iter([value for _, value in self._pairs])

    def entries(self) -> Iterator[tuple[str, str]]:
        return iter(list(self._pairs))

    items = entries

    def forEach(self, callback: Callable[..., object]) -> None:
        """`callback(value, name, params)` for each pair."""
        for name, value in list(self._pairs):
            callback(value, name, self)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return self.entries()

    def __contains__(self, name: object) -> bool:
        return any(found == name for found, _ in self._pairs)

    def __getitem__(self, name: str) -> str | None:
        return self.get(name)

    def __len__(self) -> int:
        return len(self._pairs)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URLSearchParams) and other._pairs == self._pairs

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def toString(self) -> str:
        """As it stands in a URL, without `?`."""
        return write_form(self._pairs)

    def __str__(self) -> str:
        return write_form(self._pairs)

    def __repr__(self) -> str:
        return f"URLSearchParams({str(self)!r})"

    get_all = getAll
    for_each = forEach


class URL:
    """An absolute URL and its parts; the parts can be set."""

    protocol: str
    username: str
    password: str
    host: str
    hostname: str
    port: str
    pathname: str
    hash: str

    def __init__(self, url: object, base: object = None) -> None:
        """`base`: what a relative `url` is relative to. Raises TypeError `Invalid URL`."""
        self._set(normalise(str(url), None if base is None else str(base)))
        self._params: URLSearchParams | None = None

    def _set(self, href: str) -> None:
        self._url = ada_url.URL(href)

    @staticmethod
    def canParse(url: object, base: object = None) -> bool:
        return URL.parse(url, base) is not None

    @classmethod
    def parse(cls, url: object, base: object = None) -> URL | None:
        """None instead of an error."""
        try:
            return cls(url, base)
        except TypeError:
            return None

    @property
    def href(self) -> str:
        return self._url.href

    @href.setter
    def href(self, value: object) -> None:
        self._set(normalise(str(value)))
        self._search_changed()

    @property
    def search(self) -> str:
        return self._url.search

    @search.setter
    def search(self, value: object) -> None:
        self._url.search = str(value)
        self._search_changed()

    def _search_changed(self) -> None:
        if self._params is not None:
            self._params._pairs = parse_form(self.search.removeprefix("?"))  # pyright: ignore[reportPrivateUsage]

    @property
    def searchParams(self) -> URLSearchParams:
        """Live: changing it changes the URL."""
        if self._params is None:
            self._params = URLSearchParams(self.search)
            self._params._changed = self._params_changed  # pyright: ignore[reportPrivateUsage]
        return self._params

    def _params_changed(self, text: str) -> None:
        self._url.search = text

    @property
    def origin(self) -> str:
        return self._url.origin

    def toString(self) -> str:
        return self.href

    def toJSON(self) -> str:
        return self.href

    def __str__(self) -> str:
        return self.href

    def __repr__(self) -> str:
        return f"URL({self.href!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and other.href == self.href

    def __hash__(self) -> int:
        return hash(self.href)

    search_params = searchParams
    can_parse = canParse


def _part(name: str) -> property:
    """One part that can be set; what the standard does not accept changes nothing."""

    def get(self: URL) -> str:
        return cast("str", getattr(self._url, name))  # pyright: ignore[reportPrivateUsage]

    def put(self: URL, value: object) -> None:
        try:
            setattr(self._url, name, str(value))  # pyright: ignore[reportPrivateUsage]
        except ValueError:
            return

    return property(get, put)


for _name in ("protocol", "username", "password", "host", "hostname", "port", "pathname", "hash"):
    setattr(URL, _name, _part(_name))
