"""Memory that objects have left behind, given back to the system.

What always holds: nothing depends on it; where the C library cannot do it nothing happens.
"""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return free pages of the heap to the system. Takes milliseconds; holds no lock of the interpreter. For a thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
