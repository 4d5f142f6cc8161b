"""`perdure trigger`: run the Worker's `scheduled` by hand and see how it ends."""

from __future__ import annotations

import datetime
import json
import sys
from typing import cast

import click

from ..engine.errors import InvalidArgument, PerdureError, from_wire
from .door import ask
from .terminal import print_error
from .times import show_time


@click.command()
@click.argument("cron", required=False)
@click.option("--at", metavar="TIME", help="`controller.scheduledTime`: ISO time, local unless it says Z [now]")
@click.option("--data", metavar="FOLDER", help="data folder [the runtime of this user that is running]")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
def trigger(cron: str | None, at: str | None, data: str | None, as_json: bool) -> None:
    """Run `scheduled` as if CRON were due. Without CRON: the only one of the configuration, or none."""
    *_, done = ask(data, "trigger", cron=cron, at_ms=None if at is None else _moment_ms(at))
    error = cast("dict[str, object] | None", done["error"])
    if as_json:
        fields = {name: done[name] for name in ("cron", "scheduled_ms", "took_ms")}
        click.echo(json.dumps({"outcome": "exception" if error else "ok", **fields, "error": error}))
    elif error is None:
        click.echo(f"ok\t{done['cron']}\t{show_time(cast('int', done['scheduled_ms']))}\t{done['took_ms']} ms")
    else:
        _explain(from_wire(error))
    if error is not None:
        sys.exit(1)


def _explain(error: PerdureError) -> None:
    """The traceback, if it is the program's, then the error."""
    if error.stack:
        click.echo(error.stack, err=True, nl=False)
    print_error(error)


def _moment_ms(text: str) -> int:
    """Milliseconds since the epoch; also of a time that is yet to come."""
    try:
        return round(datetime.datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(
            f"{text!r} is no time", hint="2026-03-01T12:00 (local time) or 2026-03-01T12:00Z"
        ) from None
