"""What people see: logs and errors on stderr, coloured in a terminal, plain when piped. Stdout carries results only."""

from __future__ import annotations

import logging
import sys

import structlog
from rich.console import Console
from rich.text import Text

from ..engine.errors import PerdureError


def configure_logs() -> None:
    """structlog to stderr, for this process. `PERDURE_LOG=json` is for machines: one JSON object a line."""
    import os

    colours = sys.stderr.isatty()
    as_json = os.environ.get("PERDURE_LOG") == "json"
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=colours)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True) if as_json else _time_of_day,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _time_of_day(
    logger: object, name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    from datetime import datetime

    event["timestamp"] = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    return event


def print_error(error: PerdureError) -> None:
    """`error: …` and, if there is one, `hint: …`."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text("error: ", "bold red") + Text(error.message))
    if error.hint:
        console.print(Text("hint: ", "bold") + Text(error.hint))


def print_ready(url: str, about: dict[str, object]) -> None:
    """One line on stdout, the rest on stderr."""
    print(f"ready {url}", flush=True)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    classes = about.get("classes")
    rows = [
        ("program", str(about.get("program"))),
        ("classes", ", ".join(str(name) for name in classes) if isinstance(classes, list) else ""),
        ("data", str(about.get("data"))),
        ("processes", f"{about.get('shards')} shards, {about.get('gateways')} gateways"),
        ("try", f"curl -X POST {url}{about.get('try', '/counter/a/increment')}"),
        ("stop", "Ctrl-C, or SIGTERM: accepted requests get their answers first"),
    ]
    for name, value in rows:
        console.print(Text(f"  {name:<10}", "bold cyan") + Text(value))
