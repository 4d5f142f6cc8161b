"""Handlers: methods that the runtime calls by itself, found by their names and given as many arguments as they take.

What always holds: a handler may leave out what it does not need (spec: objects, "relaxed" call); remote methods are called
strictly. Names are camelCase; programs of before 2025-08-14 have `on_` in front of them.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .instance import Instance

Method = Callable[..., object]
_ANY = 1 << 30


def find_handler(instance: Instance, name: str) -> Method | None:
    """The handler of that name; None: the class has none."""
    target = instance.object
    names = (f"on_{name}", name) if instance.runtime.legacy_handler_names else (name,)
    for known in names:
        found = getattr(target, known, None)
        if callable(found):
            return found
    return None


def call_relaxed(method: Method, *args: object) -> object:
    """Call it with as many of the arguments as it takes."""
    return method(*args[: _room(method)])


def _room(method: Method) -> int:
    """How many positional arguments it takes."""
    code = getattr(method, "__code__", None)
    if isinstance(code, types.CodeType) and inspect.ismethod(method):
        return _ANY if code.co_flags & inspect.CO_VARARGS else code.co_argcount - 1
    count = 0
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return _ANY
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    return count
