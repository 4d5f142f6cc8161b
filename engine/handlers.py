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
    from .class_runtime import ClassRuntime
    from .instance import Instance

Method = Callable[..., object]
_ANY = 1 << 30


def find_handler(instance: Instance, name: str) -> Method | None:
    """The handler of that name of a constructed object; None: the class has none."""
    for known in _names(instance.runtime, name):
        found = getattr(instance.object, known, None)
        if callable(found):
            return found
    return None


def has_handler(runtime: ClassRuntime, name: str) -> bool:
    """Whether the class declares it: known before an object is constructed."""
    return any(callable(getattr(runtime.cls, known, None)) for known in _names(runtime, name))


def _names(runtime: ClassRuntime, name: str) -> tuple[str, ...]:
    return (f"on_{name}", name) if runtime.legacy_handler_names else (name,)


def call_relaxed(method: Method, *args: object) -> object:
    """Call it with as many of the arguments as it takes."""
    return method(*args[: call_room(method)])


def call_room(method: Method) -> int:
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
