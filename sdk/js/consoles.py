"""`console`: lines in the program's log, with their level and the object whose code writes them.

What always holds: nothing that a program logs can fail it; a line is bounded.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Mapping
from typing import cast

from ...engine.errors import PerdureError
from ...engine.turns import SCOPE
from ..entrypoints import CURRENT
from .proxies import missing, number_text, to_number, to_text, whole

LINE_MAX = 16 << 10
"""Characters; the rest of a longer line is cut off."""
_INDENT = "  "


def write(level: str, text: str) -> None:
    """A line of the program: `level` is debug, info, warning or error."""
    if len(text) > LINE_MAX:
        text = f"{text[:LINE_MAX]} [… {len(text) - LINE_MAX} characters]"
    scope, worker = SCOPE.get(), CURRENT.get()
    if scope is not None:
        instance = scope.instance
        fields: dict[str, object] = {"object": str(instance), "id": instance.object_id.hex(), "text": text}
        instance.shelf.report(level, "console", fields)
        return
    report = None if worker is None else worker._report
    if report is None:
        print(text, file=sys.stderr)
    else:
        report(level, "console", {"text": text})


def complain(error: BaseException) -> None:
    """An exception that nobody else will see."""
    write("error", f"Uncaught {''.join(traceback.format_exception(error)).strip()}")


def shown(value: object) -> str:
    """A value as `console.log` writes it: texts as they are, the rest so that one sees what it is."""
    if isinstance(value, str):
        return value
    try:
        if isinstance(value, bool | int | float):
            return number_text(value)
        if missing(value):
            return to_text(value)
        if isinstance(value, PerdureError):
            return str(value)
        if isinstance(value, BaseException):
            return "".join(traceback.format_exception(value)).strip()
        if isinstance(value, Mapping):
            return repr(dict(cast("Mapping[object, object]", value)))
        if isinstance(value, list):
            return repr(list(cast("list[object]", value)))
        return repr(value)
    except Exception as error:  # what a program logs may have any __repr__
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _formatted(values: tuple[object, ...]) -> str:
    """With `%s`, `%d`, `%i`, `%f`, `%j`, `%o`, `%O` of a text that comes first replaced by what follows it."""
    rest = list(values)
    if not rest or not isinstance(rest[0], str) or len(rest) == 1 or "%" not in rest[0]:
        return " ".join(shown(value) for value in rest)
    pattern, parts, index = cast("str", rest.pop(0)), [], 0
    while (found := pattern.find("%", index)) >= 0 and found + 1 < len(pattern):
        parts.append(pattern[index:found])
        letter, index = pattern[found + 1], found + 2
        if letter == "%":
            parts.append("%")
        elif letter in "sdifjoO" and rest:
            parts.append(_replaced(letter, rest.pop(0)))
        else:
            parts.append(f"%{letter}")
    return " ".join(["".join(parts) + pattern[index:], *(shown(value) for value in rest)])


def _replaced(letter: str, value: object) -> str:
    if letter in "di":
        number = to_number(value)
        return number_text(whole(float(int(number))) if number == number and abs(number) != float("inf") else number)
    return number_text(to_number(value)) if letter == "f" else shown(value)


class Console:
    """The one `console`."""

    def __init__(self) -> None:
        self._depth = 0
        self._counts: dict[str, int] = {}
        self._began: dict[str, float] = {}

    def _line(self, level: str, values: tuple[object, ...]) -> None:
        write(level, f"{_INDENT * self._depth}{_formatted(values)}")

    def log(self, *values: object) -> None:
        self._line("info", values)

    info = log

    def debug(self, *values: object) -> None:
        self._line("debug", values)

    def warn(self, *values: object) -> None:
        self._line("warning", values)

    def error(self, *values: object) -> None:
        self._line("error", values)

    def trace(self, *values: object) -> None:
        """With the stack."""
        stack = "".join(traceback.format_stack(sys._getframe(1)))
        self._line("debug", (f"Trace: {_formatted(values)}\n{stack}",))

    def assert_(self, condition: object = False, *values: object) -> None:
        if not condition:
            self._line("error", ("Assertion failed" + (": " if values else "") + _formatted(values),))

    def dir(self, value: object = None, *_options: object) -> None:
        self._line("info", (shown(value),))

    dirxml = table = dir

    def group(self, *values: object) -> None:
        """What follows is indented, until `groupEnd`."""
        if values:
            self.log(*values)
        self._depth += 1

    groupCollapsed = group

    def groupEnd(self) -> None:
        self._depth = max(self._depth - 1, 0)

    def count(self, label: str = "default") -> None:
        self._counts[label] = self._counts.get(label, 0) + 1
        self.log(f"{label}: {self._counts[label]}")

    def countReset(self, label: str = "default") -> None:
        self._counts.pop(label, None)

    def time(self, label: str = "default") -> None:
        self._began[label] = time.perf_counter()

    def timeLog(self, label: str = "default", *values: object) -> None:
        began = self._began.get(label)
        if began is not None:
            self.log(f"{label}: {(time.perf_counter() - began) * 1000:.3f}ms", *values)

    def timeEnd(self, label: str = "default") -> None:
        self.timeLog(label)
        self._began.pop(label, None)


console = Console()
