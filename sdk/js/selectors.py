"""Selectors of `HTMLRewriter`: which of the open elements one matches.

What always holds: a selector is decided by an element and those that are open around it, so nothing is looked at twice.

Known: types, `*`, `#id`, `.class`, attributes with all operators and `i`, `:not(…)`, `:first-child`, `:nth-child(an+b)`,
`:first-of-type`, `:nth-of-type(an+b)`; descendants and children; lists with commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ...engine.errors import PerdureError

_NAME = r"[\w\-\u0080-\U0010ffff]+"
_PART = re.compile(
    rf"""(?P<type>\*|{_NAME}) | \#(?P<id>{_NAME}) | \.(?P<cls>{_NAME})
    | \[\s*(?P<attr>{_NAME})\s*(?:(?P<op>[~|^$*]?=)\s*(?:"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\]\s]+))
      \s*(?P<flag>[iIsS])?\s*)?\]
    | :not\((?P<inner>[^)]*)\) | :(?P<nth>nth-child|nth-of-type)\((?P<formula>[^)]*)\) | :(?P<first>first-child|first-of-type)""",
    re.VERBOSE,
)
_FORMULA = re.compile(r"\s*(?:(odd)|(even)|([+-]?\d*)n\s*(?:([+-])\s*(\d+))?|([+-]?\d+))\s*$", re.IGNORECASE)


@dataclass(slots=True)
class Open:
    """An element of the document that is open: what selectors may ask of it."""

    tag: str
    attributes: dict[str, str]
    number: int = 1
    """Which child of its parent it is."""
    number_of_type: int = 1
    children: int = 0
    types: dict[str, int] = field(default_factory=dict)

    def child(self, tag: str, attributes: dict[str, str]) -> Open:
        """The next element in it."""
        self.children += 1
        self.types[tag] = self.types.get(tag, 0) + 1
        return Open(tag, attributes, self.children, self.types[tag])


Test = Callable[[Open], bool]


@dataclass(frozen=True, slots=True)
class _Step:
    tests: tuple[Test, ...]
    child: bool
    """It must be a child of what the step before matches, not only somewhere in it."""

    def fits(self, element: Open) -> bool:
        return all(test(element) for test in self.tests)


class Selector:
    """`Selector("div > a[href^='http'], p")`. Raises PerdureError (TypeError) for what cannot be read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._choices = [self._read(choice) for choice in _split(text)]

    def _read(self, text: str) -> list[_Step]:
        steps: list[_Step] = []
        place, child = 0, False
        text = text.strip()
        while place < len(text):
            if text[place] in " \t\n>":
                gap = re.match(r"[\s>]+", text[place:])
                assert gap is not None
                child = ">" in gap.group()
                place += gap.end()
                if not steps or gap.group().count(">") > 1:
                    raise self._unreadable()
                continue
            tests, place = self._compound(text, place)
            steps.append(_Step(tuple(tests), child))
            child = False
        if not steps or child:
            raise self._unreadable()
        return steps

    def _compound(self, text: str, place: int) -> tuple[list[Test], int]:
        tests: list[Test] = []
        while place < len(text) and text[place] not in " \t\n>":
            found = _PART.match(text, place)
            if found is None or (found["type"] and tests):
                raise self._unreadable()
            tests.append(self._test(found))
            place = found.end()
        return tests, place

    def _test(self, found: re.Match[str]) -> Test:
        if found["type"]:
            tag = found["type"].lower()
            return lambda element: tag in ("*", element.tag)
        if found["id"]:
            return lambda element: element.attributes.get("id") == found["id"]
        if found["cls"]:
            return lambda element: found["cls"] in element.attributes.get("class", "").split()
        if found["attr"]:
            return _attribute(found)
        if found["inner"] is not None:
            inner = Selector(found["inner"])
            return lambda element: not inner.matches([element])
        of_type = (found["nth"] or found["first"]).endswith("of-type")
        step, offset = (0, 1) if found["first"] else self._formula(found["formula"])

        def counted(element: Open) -> bool:
            rest = (element.number_of_type if of_type else element.number) - offset
            return rest == 0 if step == 0 else rest % step == 0 and rest // step >= 0

        return counted

    def _formula(self, text: str) -> tuple[int, int]:
        found = _FORMULA.match(text)
        if found is None:
            raise self._unreadable()
        odd, even, step, sign, offset, alone = found.groups()
        if odd or even:
            return 2, 1 if odd else 0
        if alone is not None:
            return 0, int(alone)
        return int(step + "1" if step in ("", "+", "-") else step), int(f"{sign}{offset}") if offset else 0

    def _unreadable(self) -> PerdureError:
        return PerdureError(f"Parser error: the selector {self._text!r} cannot be used", name="TypeError")

    def matches(self, path: list[Open]) -> bool:
        """Whether the last of the open elements (the outermost first) is matched."""
        return any(_matches(steps, len(steps) - 1, path, len(path) - 1) for steps in self._choices)


def _split(text: str) -> list[str]:
    """At commas outside of brackets and quotes."""
    return re.findall(r"""(?:[^,("'\[]|\([^)]*\)|"[^"]*"|'[^']*'|\[[^\]]*\])+""", text) or [text]


def _matches(steps: list[_Step], step: int, path: list[Open], place: int) -> bool:
    if not steps[step].fits(path[place]):
        return False
    if step == 0:
        return True
    if steps[step].child:
        return place > 0 and _matches(steps, step - 1, path, place - 1)
    return any(_matches(steps, step - 1, path, above) for above in range(place - 1, -1, -1))


def _attribute(found: re.Match[str]) -> Test:
    name, operator = found["attr"].lower(), found["op"]
    wanted = next((each for each in (found["quoted"], found["single"], found["bare"]) if each is not None), "")
    folded = (found["flag"] or "").lower() == "i"
    if folded:
        wanted = wanted.lower()

    def test(element: Open) -> bool:
        value = element.attributes.get(name)
        if value is None or operator is None:
            return value is not None
        value = value.lower() if folded else value
        if operator == "=":
            return value == wanted
        if operator == "|=":
            return value == wanted or value.startswith(f"{wanted}-")
        if not wanted:
            return False
        if operator == "~=":
            return wanted in value.split()
        if operator == "^=":
            return value.startswith(wanted)
        return value.endswith(wanted) if operator == "$=" else wanted in value

    return test
