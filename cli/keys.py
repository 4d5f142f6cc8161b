"""`perdure keys`: CURVE keys for clients that come over tcp://."""

from __future__ import annotations

import click

from ..router.keys import create


@click.group()
def keys() -> None:
    """Keys of clients that enter over tcp://."""


@keys.command("new")
@click.argument("folder")
def new(folder: str) -> None:
    """Make a key pair for the router and one for a client in FOLDER (private files are readable by you only)."""
    for path in create(folder):
        click.echo(path)
