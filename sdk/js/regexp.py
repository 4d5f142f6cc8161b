"""`RegExp` over Python's `re`: what both write alike, flags, `exec` and `test` with their `lastIndex`."""

from __future__ import annotations

import re
from typing import Any, cast

from ...engine.errors import PerdureError
from ...engine.values import StandIn
from .arrays import Array
from .objects import JsObject
from .proxies import JsProxy, missing, to_text

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}


class Match(Array):
    """What was found, and the groups; `index` is where, `input` in what, `groups` those with names."""

    __slots__ = ("groups", "index", "input")


class RegExp(StandIn, JsProxy):
    """`RegExp.new("a+", "gi")`. Raises PerdureError (SyntaxError) for a pattern that cannot be read."""

    __slots__ = ("_pattern", "flags", "lastIndex", "source")

    def __init__(self, pattern: object, flags: object = "") -> None:
        if isinstance(pattern, RegExp):
            source, given = pattern.source, pattern.flags if missing(flags) or not flags else to_text(flags)
        else:
            source = pattern.pattern if isinstance(pattern, re.Pattern) else to_text(pattern)
            given = "" if missing(flags) else to_text(flags)
        self.source = cast("str", source)
        self.flags = "".join(sorted(given))
        self.lastIndex = 0
        bits = 0 if "u" in given or "v" in given else re.ASCII
        for letter in given:
            bits |= _FLAGS.get(letter, 0)
        text = re.sub(r"\(\?<(?![=!])", "(?P<", self.source)
        text = re.sub(r"\\k<(\w+)>", r"(?P=\1)", text)
        text = re.sub(r"\\u\{([0-9a-fA-F]+)\}", lambda found: re.escape(chr(int(found[1], 16))), text)
        if "m" not in given:
            text = re.sub(r"(?<!\\)\$(?=$|[)|])", r"\\Z", text)
        try:
            self._pattern = re.compile(text, bits)
        except re.error as error:
            raise PerdureError(f"Invalid regular expression: /{source}/: {error}", name="SyntaxError") from None

    @classmethod
    def new(cls, pattern: object = "(?:)", flags: object = "") -> RegExp:
        return cls(pattern, flags)

    def plain(self) -> re.Pattern[str]:
        """It is refused wherever a value travels, as the reference does."""
        return self._pattern

    @property
    def ignoreCase(self) -> bool:
        return "i" in self.flags

    @property
    def multiline(self) -> bool:
        return "m" in self.flags

    @property
    def sticky(self) -> bool:
        return "y" in self.flags

    def exec(self, text: object) -> Match | None:
        """The next match; None. With the flag `g` or `y` it goes on from `lastIndex`."""
        given = to_text(text)
        moves = "g" in self.flags or self.sticky
        start = self.lastIndex if moves else 0
        if start > len(given):
            found = None
        else:
            found = self._pattern.match(given, start) if self.sticky else self._pattern.search(given, start)
        if found is None:
            self.lastIndex = 0
            return None
        if moves:
            self.lastIndex = found.end()
        match = Match([found.group(), *found.groups()])
        match.index, match.input = cast("Any", found.start()), given
        match.groups = JsObject(cast("dict[str, object]", found.groupdict())) if found.groupdict() else None
        return match

    def test(self, text: object) -> bool:
        return self.exec(text) is not None

    def toString(self) -> str:
        return f"/{self.source}/{self.flags}"

    def __repr__(self) -> str:
        return self.toString()
