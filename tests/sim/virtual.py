"""An event loop whose time passes only when nothing else is to be done: sleeps cost nothing, a run depends on its seed alone."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never waits: it moves the loop's time on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None):
        found = super().select(0)
        if not found and timeout is None:
            raise RuntimeError("nothing will ever happen: a task waits for what nobody does")
        if not found:
            self.loop.now_s += timeout or 0.0
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time begins at 0."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
