"""`pyodide.code`: calls with as many arguments as a function takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...engine.errors import PerdureError


def relaxed_call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `func` without the arguments that it has no room for. Raises what it raises, TypeError for missing ones."""
    parameters = inspect.signature(func).parameters.values()
    if not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        room = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        args = args[: len(room)]
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        known = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        kwargs = {name: value for name, value in kwargs.items() if name in known}
    return func(*args, **kwargs)


def relaxed_wrap(func: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls it relaxed."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return relaxed_call(func, *args, **kwargs)

    return wrapped


def run_js(code: str, /) -> Any:
    """Raises PerdureError (EvalError): there is no JavaScript here."""
    raise PerdureError("run_js: there is no JavaScript engine here", name="EvalError", hint="write it in Python")
