"""What a caller gets for an exception of the callee (spec: objects, exceptions crossing fetch and RPC).

What always holds: whatever the program raises becomes an error that can travel, marked `remote`; making it runs no code of
the program that could raise in its turn unnoticed; its size is bounded.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Mapping
from typing import cast

from .errors import SURVIVING_NAMES, DurableObjectAbort, PerdureError, from_wire
from .values import pack

TEXT_MAX = 64 << 10
"""Characters of a message: the end of a longer one is kept, for it says what was raised."""
CAUSES_MAX = 8
"""Causes of causes that travel."""
CAUSE_TEXT_MAX = 4 << 10
PROPERTIES_MAX = 64
PROPERTIES_BYTES_MAX = 64 << 10
_HERE = os.path.dirname(__file__)
_OWN = frozenset(vars(PerdureError()))


def as_remote(error: BaseException, *, with_properties: bool = True, object_id: bytes | None = None) -> PerdureError:
    """The error that travels. `with_properties`: the exception's own further attributes go with it, as far as they can.

    `object_id`: of the object that raised it, which the error names unless it names another already.
    """
    if isinstance(error, PerdureError):
        made = _same(error)
    elif isinstance(error, asyncio.CancelledError):
        made = PerdureError("The call was cancelled")
    elif isinstance(error, DurableObjectAbort):
        made = PerdureError(error.reason, reset=True)
    else:
        made = PerdureError(f"PythonError: {_traceback(error)}")
    made.remote = True
    if made.durableObjectId is None and object_id is not None:
        made.durableObjectId = object_id.hex()
    made.message = _bounded(made.message)
    made.args = (made.message,)
    made.cause = _causes(error, 0, set())
    if with_properties:
        made.set_extra(_properties(error))
    return made


def _causes(error: BaseException, depth: int, seen: set[int]) -> PerdureError | None:
    """The chain of what led to an exception, each with its name and message; bounded."""
    given: object = vars(error).get("cause")
    cause = error.__cause__ or (given if isinstance(given, BaseException) else None)
    if cause is None or depth >= CAUSES_MAX or id(cause) in seen:
        return None
    seen.add(id(cause))
    if isinstance(cause, PerdureError):
        made = _same(cause)
    else:
        made = PerdureError("".join(traceback.format_exception_only(cause)).strip())
    made.message = _bounded(made.message, CAUSE_TEXT_MAX)
    made.args = (made.message,)
    made.remote = True
    made.cause = _causes(cause, depth + 1, seen)
    return made


def _same(error: PerdureError) -> PerdureError:
    """A copy in the class of our own that it belongs to; names that do not survive go into the message."""
    try:
        fields = error.to_wire()
        made = from_wire({**fields, "extra": b"", "stack": "", "cause": None})
    except Exception:  # a class of the program's that is not what it says
        return PerdureError(f"PythonError: {_traceback(error)}")
    if made.name not in SURVIVING_NAMES:
        made.message, made.name = f"{made.name}: {made.message}", "Error"
    return made


def _traceback(error: BaseException) -> str:
    """As Python prints it, from the program's first frame on."""
    frames = error.__traceback__
    while frames is not None and os.path.dirname(frames.tb_frame.f_code.co_filename) == _HERE:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception as failure:
        text = f"{type(error).__name__}: <it cannot be shown: {type(failure).__name__}>\n"
    if not text.startswith("Traceback"):
        text = f"Traceback (most recent call last):\n{text}"
    return text


def _bounded(text: str, most: int = TEXT_MAX) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair cannot travel
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[… {len(text) - most} characters …]\n{text[-half:]}"


def _properties(error: BaseException) -> dict[str, object]:
    """Its own attributes that are public and can travel; of the rest nothing is said."""
    found: dict[str, object] = {}
    size = 0
    try:
        given = cast("Mapping[object, object]", vars(error))
        for name, value in list(given.items()):
            if not isinstance(name, str) or name.startswith("_") or name in _OWN or len(found) >= PROPERTIES_MAX:
                continue
            try:
                size += len(pack({name: value}))
            except Exception:  # it cannot be copied
                continue
            if size > PROPERTIES_BYTES_MAX:
                break
            found[name] = value
    except Exception:  # a class with a `__dict__` of its own making
        return {}
    return found
