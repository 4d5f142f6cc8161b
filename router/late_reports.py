"""The log of a process that hardly ever says anything: what it takes to write lines is loaded with the first one.

What always holds: a line looks like those of all other processes. (The renderer's modules cost 6 MB, a sixth of a keeper.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .logs import Report


def late_reporter(process: str) -> Report:
    """As `logs.reporter`; the first line takes some 50 ms."""
    made: Report | None = None

    def report(level: str, event: str, fields: dict[str, object]) -> None:
        nonlocal made
        if made is None:
            from .logs import configure, reporter

            configure()
            made = reporter(process)
        made(level, event, fields)

    return report


def configure_later() -> None:
    """In place of `logs.configure`."""
