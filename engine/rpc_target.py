"""What a program derives from to be passed by reference, and how a path leads from a value to a method or property of it.

What always holds: only what a class declares in public is reached; an attribute of an instance is not; what is refused says
which part of the path it was.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Sequence
from typing import cast

from .errors import InvalidArgument, MethodNotFound, PerdureError

PATH_DEPTH_MAX = 64
RESERVED_ON_TARGETS = frozenset({"dup", "constructor"})
FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    functools.partial,
)
"""What travels by reference as a function."""


class RpcTarget:
    """Instances travel by reference: who receives one gets a stub, whose calls run where the instance lives (spec: rpc)."""


def check_depth(path: Sequence[str]) -> None:
    """Raises InvalidArgument (TypeError) for a path that is too deep."""
    if len(path) > PATH_DEPTH_MAX:
        raise InvalidArgument(f"property path is too deep (max {PATH_DEPTH_MAX})")


def declared(target: object, name: str) -> bool:
    """Whether the class of `target` declares a public `name`."""
    return not name.startswith("_") and not hasattr(object, name) and _static(type(target), name) is not None


def _static(cls: type, name: str) -> object:
    return cast("object", inspect.getattr_static(cls, name, None))


def step(value: object, name: str, path: Sequence[str]) -> object:
    """What `name` leads to from `value`. `path`: up to and with the name, for messages. Raises MethodNotFound, PerdureError."""
    if isinstance(value, dict):
        found = cast("dict[object, object]", value)
        if name in found:
            return found[name]
        raise MethodNotFound(f'The RPC receiver does not implement the method "{".".join(path)}".')
    if not isinstance(value, RpcTarget):
        if value is None or isinstance(value, (bool, int, float, str, bytes, list, set, *FUNCTIONS)):
            raise PerdureError(
                f'Can\'t pipeline on RPC that did not return an object: {type(value).__name__} has no "{name}"'
            )
        raise MethodNotFound(f'The RPC receiver does not implement the method "{".".join(path)}".')
    if name in RESERVED_ON_TARGETS:
        raise MethodNotFound(f"'{name}' is a reserved method and cannot be called over RPC")
    if not declared(value, name) or name in getattr(value, "__dict__", {}):
        raise MethodNotFound(f'The RPC receiver does not implement the method "{".".join(path)}".')
    return cast("object", getattr(value, name))


def follow(value: object, path: Sequence[str], done: int = 0) -> object:
    """What the path leads to after its first `done` names, which have led to `value`.

    Raises MethodNotFound, InvalidArgument, PerdureError, and what a property raises."""
    check_depth(path)
    for index in range(done, len(path)):
        value = step(value, path[index], path[: index + 1])
    return value


def not_a_function(path: Sequence[str]) -> MethodNotFound:
    """The error for a call of something else."""
    return MethodNotFound(f'"{".".join(path)}" is not a function')
