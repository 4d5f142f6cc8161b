"""What a shared cache may keep of a response, how long, and what it answers of it: pure decisions (RFC 9111, the parts that the
reference's Cache API documents).

What always holds: nothing here reads a clock or holds anything; times are seconds, header names are in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

Pairs = list[tuple[str, str]]

DEFAULT_S: Final[Mapping[int, int]] = {
    200: 7_200,
    301: 7_200,
    302: 1_200,
    303: 1_200,
    404: 180,
    410: 180,
}
"""How long a response without a word about it is kept, by status; others are not."""
_NOT_KEPT = frozenset({"no-store", "no-cache", "private"})


def value_of(pairs: Pairs, name: str) -> str | None:
    """A header's values in one text; `name` in lower case."""
    found = [value for each, value in pairs if each.lower() == name]
    return ", ".join(found) if found else None


def directives(pairs: Pairs) -> dict[str, str]:
    """What Cache-Control says: names in lower case, values without quotes."""
    found: dict[str, str] = {}
    for part in _split(value_of(pairs, "cache-control") or ""):
        name, _, value = part.partition("=")
        found[name.strip().lower()] = value.strip().strip('"')
    return found


def _split(text: str) -> list[str]:
    """At commas that are not in quotes."""
    parts, quoted, begin = [], False, 0
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append(text[begin:at])
            begin = at + 1
    return [part for part in [*parts, text[begin:]] if part.strip()]


def lifetime_s(status: int, pairs: Pairs, now_s: float) -> float:
    """How long a response may be given out; 0 or less: it must not be kept."""
    said = directives(pairs)
    if any(name in said and not said[name] for name in _NOT_KEPT):
        return 0
    if value_of(pairs, "set-cookie") is not None and "set-cookie" not in said.get("private", "").lower():
        return 0
    for name in ("s-maxage", "max-age"):
        if name in said:
            return float(said[name]) if said[name].isdigit() else 0
    expires = value_of(pairs, "expires")
    if expires is not None:
        until_s = seconds(expires)
        return 0 if until_s is None else until_s - now_s
    return DEFAULT_S.get(status, 0)


def kept_headers(pairs: Pairs) -> Pairs:
    """The headers to give out: those that Cache-Control names as private stay with their first receiver."""
    private = {name.strip().lower() for name in directives(pairs).get("private", "").split(",")}
    return [(name, value) for name, value in pairs if name.lower() not in private]


def seconds(date: str) -> float | None:
    """An HTTP date as seconds since the epoch; None: it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def varies(pairs: Pairs) -> list[str]:
    """Names of the request's headers that the response depends on, in lower case."""
    return sorted({name.strip().lower() for name in (value_of(pairs, "vary") or "").split(",") if name.strip()})


def not_modified(asked: Pairs, kept: Pairs) -> bool:
    """Whether the request's conditions say that its sender has the response already."""
    etags = value_of(asked, "if-none-match")
    if etags is not None:
        own = value_of(kept, "etag")
        given = [tag.strip().removeprefix("W/") for tag in etags.split(",")]
        return own is not None and ("*" in given or own.removeprefix("W/") in given)
    since = value_of(asked, "if-modified-since")
    modified = value_of(kept, "last-modified")
    if since is None or modified is None:
        return False
    since_s, modified_s = seconds(since), seconds(modified)
    return since_s is not None and modified_s is not None and modified_s <= since_s


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for: first, and one after the last. None: not one range, or nothing to give.

    Raises ValueError when no byte of it is there.
    """
    unit, _, rest = text.partition("=")
    first, dash, last = rest.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in rest:
        return None
    first, last = first.strip(), last.strip()
    if not (first.isdigit() or first == "") or not (last.isdigit() or last == "") or first == last == "":
        return None
    if first == "":
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < begin:
            return None
    if begin >= end:
        raise ValueError(text)
    return begin, end
