"""Where code of a program may be interrupted from outside, and what is raised in it.

What always holds: nothing is raised while the runtime's own code runs, not even under the program's (a storage call): a commit
would lose its capture. There the object is only condemned: its next storage call raises, and so does the next look.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = tuple(f"{_ROOT}/{name}/" for name in ("bindings", "cli", "engine", "router", "sdk", "shards", "testing"))
TraceFunction = Callable[[types.FrameType, str, object], object]
_SHARED = ("/weakref.py", "/_weakrefset.py", "/logging/__init__.py")
"""Parts of Python's library whose state everybody shares: half of what they do would harm others (a log's lock that is held)."""
_ENTRIES: set[types.CodeType] = set()


class TurnInterrupted(BaseException):
    """Raised in a turn that is past a bound; a BaseException so that `except Exception` cannot swallow it.

    The object is reset whether or not it is swallowed; the caller gets the typed error that says why.
    """


def entry(function: types.FunctionType) -> None:
    """The runtime calls the program's code from that function, and takes whatever exception comes out of it."""
    _ENTRIES.add(function.__code__)


def is_ours(frame: types.FrameType) -> bool:
    """Whether the frame is of the runtime's own code."""
    return frame.f_code.co_filename.startswith(_OURS)


def may_raise(frame: types.FrameType | None) -> bool:
    """Whether code of a program runs in `frame`, with nothing of the runtime between it and the function that called it."""
    found = frame
    while found is not None and not is_ours(found):
        file = found.f_code.co_filename
        if file.endswith(_SHARED) or file.startswith("<frozen importlib"):
            return False
        found = found.f_back
    return found is not None and found is not frame and found.f_code in _ENTRIES


def insist(frame: types.FrameType) -> None:
    """The program has swallowed it: raise anew at its next line, which is where it was caught, outside of that `try`.

    Call where `may_raise(frame)`, before raising in it. Traces the program's frames until it is raised, or they return.
    """
    last: types.FrameType = frame

    def trace(inner: types.FrameType, event: str, _argument: object) -> TraceFunction | None:
        if event == "line" and may_raise(inner):
            raise TurnInterrupted  # the interpreter ends the tracing
        if event == "return" and inner is last:
            sys.settrace(None)
        return trace

    found: types.FrameType | None = frame
    while found is not None and not is_ours(found):
        found.f_trace = trace
        last, found = found, found.f_back
    sys.settrace(_no_trace)


def _no_trace(_frame: types.FrameType, _event: str, _argument: object) -> None:
    """Of frames that begin meanwhile: they are not traced."""


def place(frame: types.FrameType | None) -> str:
    """`file:line function` of the innermost code of the program, for the log."""
    found = frame
    while found is not None and is_ours(found):
        found = found.f_back
    if found is None:
        return ""
    return f"{found.f_code.co_filename}:{found.f_lineno} {found.f_code.co_name}"
