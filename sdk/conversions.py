"""`python_to_rpc` and `python_from_rpc`: what the reference converts at a boundary, here is only looked at (spec: sdk, rpc).

What always holds: a value that crosses is returned as it is; one that cannot raises what the call would.
"""

from __future__ import annotations

import re
from typing import cast

from ..engine.errors import DataCloneError
from .js.plain import to_plain
from .js.regexp import RegExp

_DEPTH_MAX = 500


def python_to_rpc(value: object) -> object:
    """The value, if it may cross. Raises TypeError for tuples, bytearrays, awaitables and patterns, DataCloneError for cycles."""
    _check(value, _DEPTH_MAX)
    return value


def python_from_rpc(value: object) -> object:
    """The value that has arrived; what of it is in JavaScript's style becomes Python's (`js.plain`)."""
    return to_plain(value)


def _check(value: object, depth: int) -> None:
    if isinstance(value, tuple | bytearray):
        raise TypeError(f"{type(cast('object', value))} cannot be sent over RPC")
    if isinstance(value, re.Pattern | RegExp):
        raise TypeError("RegExp cannot be sent over RPC")
    if isinstance(value, str | bytes | int | float | None):
        return
    if not depth:
        raise DataCloneError("Could not serialize a value that is nested too deeply or contains itself")
    if isinstance(value, dict):
        for each in cast("dict[object, object]", value).values():
            _check(each, depth - 1)
    elif isinstance(value, list | set | frozenset):
        for each in cast("list[object]", value):
            _check(each, depth - 1)
    elif hasattr(type(value), "__await__"):
        raise TypeError(f"Awaitable {type(value)} cannot be sent over RPC")
