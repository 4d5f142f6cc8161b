"""Where code of the program or of the test stands: for people, so the runtime's own frames are left out.

What always holds: nothing here changes what runs; a trace that has no frame of theirs is left as it is.
"""

from __future__ import annotations

import asyncio
import os
from types import CodeType, FrameType, TracebackType
from typing import Any, cast

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_THEIRS = (os.path.join(_OURS, "tests", ""), os.path.join(_OURS, "examples", ""))
_LIBRARY = os.path.dirname(os.path.abspath(asyncio.__file__)) + os.sep


def theirs(code: CodeType) -> bool:
    """Is it neither the runtime's nor asyncio's?"""
    path = os.path.abspath(code.co_filename)
    return path.startswith(_THEIRS) or not path.startswith((_OURS, _LIBRARY))


def begin_at_theirs(error: BaseException) -> BaseException:
    """The error with its traceback from the first frame of theirs on."""
    found: TracebackType | None = error.__traceback__
    while found is not None and not theirs(found.tb_frame.f_code):
        found = found.tb_next
    return error if found is None else error.with_traceback(found)


def stands_at(task: asyncio.Task[Any]) -> str | None:
    """`name (file:line)` of the innermost frame of theirs that a task waits in; None for the runtime's own tasks."""
    at: FrameType | None = None
    awaited = cast("Any", task.get_coro())
    while awaited is not None:
        frame = cast("FrameType | None", getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None))
        if frame is not None and theirs(frame.f_code):
            at = frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    if at is None:
        return None
    return f"{at.f_code.co_name} ({os.path.basename(at.f_code.co_filename)}:{at.f_lineno})"
