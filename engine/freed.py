"""Memory that objects have left behind, given back to the system.

What always holds: nothing depends on it; where the C library cannot do it nothing happens.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

_TOP_BYTES = 32 << 20
"""Free memory at the end of the heap that stays until `give_back`."""
_STEP_BYTES = 1 << 20
"""By which the heap grows."""
_MAPPED_BYTES = 4 << 20
"""From which size on a block is memory of its own, returned when it is freed."""


def give_back() -> None:
    """Return free pages of the heap to the system. Takes milliseconds; holds no lock of the interpreter. For a thread."""
    trim = _trim()
    if trim is not None:
        trim(0)


def interpreter_settings() -> dict[str, str]:
    """Environment for a Python process that wants to give memory back.

    Python's own allocator takes memory by the MiB, and returns one only when nothing in it is used: a timer or a counter that
    lies there by chance is enough to keep it. With the C library's, `give_back` returns every free page, and calls are some
    percent slower (decision 013). Nothing where that cannot be done. The bounds keep the C library from returning by itself,
    call by call, what the next call needs again.
    """
    if _trim() is None:
        return {}
    return {
        "PYTHONMALLOC": "malloc",
        "MALLOC_TRIM_THRESHOLD_": str(_TOP_BYTES),
        "MALLOC_TOP_PAD_": str(_STEP_BYTES),
        "MALLOC_MMAP_THRESHOLD_": str(_MAPPED_BYTES),
    }


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
