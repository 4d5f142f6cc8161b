"""One row of the table: the same small piece of program in JavaScript and in Python, and what may differ between their outcomes.

What always holds: a row runs on a fresh object of its own name; a known difference states both outcomes, so that a change of
either side fails the test; every allowance says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Where = Literal["object", "caller"]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Text:
    """The same code twice. Without `python` it is valid in both languages."""

    js: str
    python: str = ""

    @property
    def own(self) -> str:
        return self.python or self.js


@dataclass(frozen=True, slots=True)
class Wording:
    """Messages need only share `phrase`, which callers match on; the rest of ours is in our words."""

    phrase: str
    why: str = "the words around the phrase are ours"


@dataclass(frozen=True, slots=True)
class PythonRaised:
    """An exception of the program's: ours arrives as the traceback that Python prints, theirs as the bare text."""

    why: str = "the reference's Python programs get the traceback too; the twin is JavaScript, which has none"


@dataclass(frozen=True, slots=True)
class Differs:
    """A known difference, a `differs` row of docs/compatibility.md: what each side says exactly."""

    ours: Json
    theirs: Json
    why: str


Allowance = Wording | PythonRaised | Differs


@dataclass(frozen=True, slots=True)
class Operation:
    """`where`: the code runs inside the object, or in the Worker that has a stub of it.

    Names that the code finds: `storage sql kv ctx env self` inside the object, also `info` in a part called `alarm`, `request` in
    one called `fetch`; `env ns stub` and `again() other(suffix) inside(part, argument)` in the Worker,
    also `until(part)`, which runs the part until it gives something (machines may be slow, so no row counts on a time);
    `now() sleep(ms) null undefined true false` everywhere. `parts`: further code, run inside the object by its name.
    `legacy`: the class with the key-value backend.
    """

    name: str
    code: Text
    where: Where = "object"
    parts: Mapping[str, Text] = field(default_factory=dict[str, Text])
    allow: Allowance | None = None
    legacy: bool = False


def inside(name: str, js: str, python: str = "", *, allow: Allowance | None = None, legacy: bool = False) -> Operation:
    """A row that runs inside a fresh object."""
    return Operation(name, Text(js, python), allow=allow, legacy=legacy)


def outside(
    name: str,
    js: str,
    python: str = "",
    *,
    parts: Mapping[str, Text] | None = None,
    allow: Allowance | None = None,
    legacy: bool = False,
) -> Operation:
    """A row that runs in the Worker, with a stub of a fresh object."""
    return Operation(name, Text(js, python), "caller", parts or {}, allow, legacy)
