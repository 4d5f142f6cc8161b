"""`pyodide.ffi.wrappers`: timers with Python's names."""

from __future__ import annotations

from ..js.timers import clearInterval as clear_interval
from ..js.timers import clearTimeout as clear_timeout
from ..js.timers import setInterval as _set_interval
from ..js.timers import setTimeout as _set_timeout


def set_timeout(callback: object, timeout: int) -> int:
    """Call it in `timeout` milliseconds; the timer's number."""
    return _set_timeout(callback, timeout)


def set_interval(callback: object, interval: int) -> int:
    """Call it every `interval` milliseconds; the timer's number."""
    return _set_interval(callback, interval)


__all__ = ["clear_interval", "clear_timeout", "set_interval", "set_timeout"]
