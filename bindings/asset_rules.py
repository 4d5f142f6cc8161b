"""The files `_headers` and `_redirects` in a folder of assets: rules by path, read once.

What always holds: a line that is no rule is left out; rules are tried in the order in which they stand; only paths decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_REDIRECTS_MAX, _HEADERS_MAX, _LINE_MAX = 2_100, 100, 2_000
_CODES = (200, 301, 302, 303, 307, 308)
_PLACEHOLDER = re.compile(r":([A-Za-z]\w*)")


@dataclass(frozen=True, slots=True)
class Redirect:
    """`target` may name what the path's pattern matched: `:splat`, `:name`. Code 200: serve the target instead."""

    pattern: re.Pattern[str]
    target: str
    code: int


@dataclass(slots=True)
class HeaderRule:
    """Headers that are set, and names that are taken away."""

    pattern: re.Pattern[str]
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    removed: list[str] = field(default_factory=list[str])


def _pattern(path: str) -> re.Pattern[str]:
    """`*` is anything (`:splat`), `:name` is anything but a slash."""
    parts: list[str] = []
    seen: set[str] = set()
    for piece in re.split(r"(\*|:[A-Za-z]\w*)", path):
        name = "splat" if piece == "*" else piece[1:] if _PLACEHOLDER.fullmatch(piece) else ""
        inner = ".*" if piece == "*" else "[^/]+"
        if not name:
            parts.append(re.escape(piece))
        else:
            parts.append(f"(?:{inner})" if name in seen else f"(?P<{name}>{inner})")
            seen.add(name)
    return re.compile("".join(parts))


def parse_redirects(text: str) -> tuple[Redirect, ...]:
    """The rules of a `_redirects` file."""
    found: list[Redirect] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split() if line.lstrip().startswith("#") else line.split()
        if len(words) not in (2, 3) or len(line) > _LINE_MAX or len(found) >= _REDIRECTS_MAX:
            continue
        source, target = words[0], words[1]
        code = int(words[2]) if len(words) == 3 and words[2].isdigit() else 302
        whole = target.startswith(("http://", "https://"))
        if not source.startswith("/") or code not in _CODES or not (target.startswith("/") or (whole and code != 200)):
            continue
        found.append(Redirect(_pattern(source), target, code))
    return tuple(found)


def parse_headers(text: str) -> tuple[HeaderRule, ...]:
    """The rules of a `_headers` file: a path, then its headers on lines that are indented."""
    found: list[HeaderRule] = []
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#") or len(line) > _LINE_MAX:
            continue
        if not line[0].isspace() and bare.startswith("/"):
            if len(found) >= _HEADERS_MAX:
                break
            found.append(HeaderRule(_pattern(bare)))
        elif found and bare.startswith("!"):
            found[-1].removed.append(bare[1:].strip().lower())
        elif found and ":" in bare:
            name, value = bare.split(":", 1)
            found[-1].headers.append((name.strip().lower(), value.strip()))
    return tuple(found)


def redirected(rules: Sequence[Redirect], path: str) -> tuple[str, int] | None:
    """Target and code of the first rule that matches; a rule never leads a path to itself."""
    for rule in rules:
        match = rule.pattern.fullmatch(path)
        if match is not None:
            target = _filled(rule.target, match.groupdict())
            if target != path:
                return target, rule.code
    return None


def with_headers(rules: Sequence[HeaderRule], path: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a response, as the rules change them. Several rules' values of one name are joined with a comma."""
    set_here: set[str] = set()
    for rule in rules:
        match = rule.pattern.fullmatch(path)
        if match is None:
            continue
        headers = [(name, value) for name, value in headers if name not in rule.removed]
        for name, raw in rule.headers:
            value = _filled(raw, match.groupdict())
            if name in set_here:
                headers = [(known, f"{old}, {value}" if known == name else old) for known, old in headers]
            else:
                headers = [*((known, old) for known, old in headers if known != name), (name, value)]
                set_here.add(name)
    return headers


def _filled(text: str, found: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda name: found.get(name.group(1), name.group(0)), text)
