"""Logs of every process: one line an event on stderr, for people in a terminal, JSON for machines (PERDURE_LOG=json)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TextIO, cast

import structlog

from .log_lines import Lines

Report = Callable[[str, str, dict[str, object]], None]
"""`report(level, event, fields)`."""


def configure() -> None:
    """Set up structlog for this process."""
    as_json = os.environ.get("PERDURE_LOG") == "json"
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True) if as_json else _for_people,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Lines(sys.stderr))),
        cache_logger_on_first_use=True,
    )


def _for_people(logger: object, name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """The time of day, and tracebacks and other long texts on lines of their own, below the event."""
    event["timestamp"] = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    long = [key for key, value in event.items() if isinstance(value, str) and "\n" in value]
    if long:
        event["stack"] = "\n".join(str(event.pop(key)).rstrip() for key in long)
    return event


def reporter(process: str) -> Report:
    """The log of a process, as a plain function."""
    logger = structlog.get_logger().bind(process=process)

    def report(level: str, event: str, fields: dict[str, object]) -> None:
        given = {("object_id" if key == "id" else key): value for key, value in fields.items()}
        getattr(logger, level)(event, **given)

    return report
