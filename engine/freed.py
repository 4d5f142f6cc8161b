"""Memory that objects have left behind, given back to the system.

What always holds: nothing depends on it; where the C library cannot do it nothing happens. Python's own allocator keeps what it
has taken while anything in an arena of a MiB is used: what is left of that goes with a new process (decision 013).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Return free pages of the heap to the system. Takes milliseconds; holds no lock of the interpreter. For a thread."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
