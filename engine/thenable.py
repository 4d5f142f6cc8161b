"""`then`, `catch` and `finally` of what is awaited, as programs in the style of JavaScript use them (spec: sdk, pyodide).

What always holds: nothing is paid for them until they are called; what they give is a Promise of the SDK, which is passed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .errors import ProgramBug

_make: list[Callable[[Awaitable[Any]], Any]] = []


def install(make: Callable[[Awaitable[Any]], Any]) -> None:
    """`make(work)` gives a Promise: which the engine does not know itself."""
    _make[:] = [make]


class Thenable:
    """Mixed into what the runtime gives to await."""

    __slots__ = ()

    def then(self, onfulfilled: object = None, onrejected: object = None) -> Any:
        """A promise of what the callback makes of the result, or of the error."""
        return _promise(self).then(onfulfilled, onrejected)

    def catch(self, onrejected: object) -> Any:
        """A promise of the result, or of what the callback makes of the error."""
        return _promise(self).then(None, onrejected)

    def finally_(self, onfinally: object) -> Any:
        """A promise of the result; the callback is called before, whatever came of it. Also named `finally`."""
        return _promise(self).finally_(onfinally)


setattr(Thenable, "finally", Thenable.finally_)


def _promise(work: object) -> Any:
    if not _make:
        raise ProgramBug("there are no promises in this process", hint="await the result")
    return _make[-1](work)  # type: ignore[arg-type]
