"""`perdure reload`: have a running runtime take the program's new code, process by process, without failing a request."""

from __future__ import annotations

import click

from .door import ask
from .readable import to_json
from .session import json_flag


@click.command()
@click.option("--data", metavar="FOLDER", help="data folder of the runtime")
@click.option("--address", help="its address [PERDURE_ADDRESS, else the one runtime of this user]")
@json_flag
def reload(data: str | None, address: str | None, as_json: bool) -> None:
    """Load the program's code and settings anew. A line a process; nothing has changed when the program cannot be imported."""
    for message in ask(data, "reload", address=address):
        if as_json:
            click.echo(to_json(message))
        elif message["type"] == "progress":
            pause = f", paused {message['pause_ms']} ms" if "pause_ms" in message else ""
            click.echo(f"{message['process']}\t{message['stage']} (pid {message['pid']}{pause})")
        else:
            click.echo(f"reloaded in {message['seconds']} s, longest pause {message['pause_ms_max']} ms", err=True)
