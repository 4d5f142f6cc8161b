"""Tracebacks as a program's author wants them: from the first line of the program on, to the last.

What always holds: of an exception that no line of the program took part in everything is shown, for then it is ours; one
that cannot be shown is named.
"""

from __future__ import annotations

import os
import traceback

from .errors import PerdureError, ProgramBug

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = tuple(
    f"{os.path.join(_ROOT, name)}{os.sep}"
    for name in ("engine", "sdk", "bindings", "router", "shards", "testing", "cli")
)
_UNDER_US = ("msgpack/", "<frozen ")
_LANGUAGE = f"{os.path.dirname(os.path.abspath(traceback.__file__))}{os.sep}"
_INSTALLED = f"{os.sep}site-packages{os.sep}"


def shown(error: BaseException) -> str:
    """As Python prints it, without frames of ours around those of the program; its causes too."""
    try:
        found = traceback.TracebackException.from_exception(error)
        _trim(found, error)
        return "".join(found.format())
    except Exception as failure:  # a class of the program's whose text cannot be made
        return f"{type(error).__name__}: <it cannot be shown: {type(failure).__name__}>\n"


def _trim(found: traceback.TracebackException, error: BaseException) -> None:
    """In place."""
    frames = list(found.stack)
    programs = [number for number, frame in enumerate(frames) if not _is_ours(frame.filename)]
    if programs:
        first, last = programs[0], programs[-1]
        end = last + 1 if isinstance(error, PerdureError) else len(frames)
        found.stack[:] = frames[first:end]
    elif isinstance(error, ProgramBug) or (isinstance(error, PerdureError) and error.remote):
        found.stack[:] = []  # what we say of the program, or what came over the wire: the text says what and where
    for chained, cause in ((found.__cause__, error.__cause__), (found.__context__, error.__context__)):
        if chained is not None and cause is not None:
            _trim(chained, cause)


def _is_ours(path: str) -> bool:
    """Whether a file is perdure's, or what runs or serves it: neither the program's nor a package that it calls."""
    if path.startswith((*_OURS, *_UNDER_US)):
        return True
    return path.startswith(_LANGUAGE) and _INSTALLED not in path
