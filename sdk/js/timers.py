"""`setTimeout`, `setInterval`, `queueMicrotask`: callbacks that the program asks for.

What always holds: a callback runs as a task of the event that set it: in an object it passes the input gate, may use storage and
may block; the timer keeps the object from hibernating and goes with it (`engine.timers`). What a callback raises is in the log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from typing import cast

from .consoles import complain
from .proxies import call, missing, to_number

_MS_MAX = 2**31 - 1
_numbers = itertools.count(1)
_timers: dict[int, asyncio.TimerHandle | asyncio.Task[None]] = {}
"""By number: the timer that waits, or the callback that runs."""


async def _run(function: object, args: tuple[object, ...]) -> None:
    try:
        result = call(function, *args)
        if hasattr(result, "__await__"):
            await cast("Awaitable[object]", result)
    except Exception as error:
        complain(error)


def _milliseconds(value: object) -> float:
    number = 0 if missing(value) else to_number(value)
    return number if 0 <= number <= _MS_MAX else 0  # JavaScript's timers overflow to "at once", NaN too


def _set(function: object, delay: object, args: tuple[object, ...], again: bool) -> int:
    loop = asyncio.get_running_loop()
    number, seconds = next(_numbers), _milliseconds(delay) / 1000

    def fire() -> None:
        task = loop.create_task(_run(function, args), name="timer")
        _timers[number] = task
        task.add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        if _timers.get(number) is not task:  # cleared by its own callback
            return
        if again and not task.cancelled():
            _timers[number] = loop.call_later(max(seconds, 0.001), fire)
        else:
            del _timers[number]

    _timers[number] = loop.call_later(seconds, fire)
    return number


def setTimeout(function: object, delay: object = 0, *args: object) -> int:
    """Call `function(*args)` in `delay` milliseconds; its number. It may be async."""
    return _set(function, delay, args, again=False)


def setInterval(function: object, delay: object = 0, *args: object) -> int:
    """Call it every `delay` milliseconds, counted from the end of the call before."""
    return _set(function, delay, args, again=True)


def clearTimeout(number: object = None) -> None:
    """Take it back; one that runs goes on. Unknown numbers do nothing."""
    found = _timers.pop(number, None) if isinstance(number, int) else None
    if isinstance(found, asyncio.TimerHandle):
        found.cancel()


clearInterval = clearTimeout


def queueMicrotask(function: object) -> None:
    """Call it as soon as the running code suspends."""
    asyncio.get_running_loop().create_task(_run(function, ()), name="microtask")
